/*
 * delay_rig NETNS DEVICE to|from TAP [KEY=VALUE]... - one delay engine behind a gate, held by hand
 *
 * For tests: puts the gate and the engine on one device, prints "ready PID IFINDEX" (of the engine
 * and its TAP) and obeys lines on standard input:
 *
 *   counters    prints them as one JSON object
 *   set K=V...  changes the parameters
 *   off         the panic switch: closes the gate
 *   remove      the path leaves
 *   flush       delivers what is held
 *   sweep NAME ALIAS  removes a TAP as recovery does
 *   stop        the engine is stopped
 *
 * Keys: delay_ns jitter_ns correlation_ppm reorder_ppm duplicate_ppm corrupt_ppm order_keep seed
 * limit_packets lease_ns hard_end_ns (from now) q50_ns q95_ns q99_ns (a table)
 */
#include "base/clock.h"
#include "base/mem.h"
#include "fault/bpf/gate_map.h"
#include "fault/delay_engine.h"
#include "gate.skel.h"
#include "kernel/broker.h"
#include "kernel/netlink.h"
#include "kernel/netns.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_mirred.h>
#include <stdio.h>

static struct delay_table table;
static struct delay_quantile quantiles[3];
static size_t n_quantiles;

struct rig {
	struct broker *broker;
	struct netlink *nl;
	struct gate_bpf *gate;
	struct delay_params params;
	struct delay_lease lease;
	int64_t hard_end_ns;
	struct delay_engine *engine;
	uint32_t path;
	int netns_fd, ifindex, tap_ifindex;
	enum delay_direction direction;
};

static void fail(const struct err *e)
{
	fprintf(stderr, "delay_rig: %s\n", e->text);
	exit(1);
}

static void add_quantile(uint32_t q_ppm, int64_t ns, struct rig *rig)
{
	struct err e = {0};

	quantiles[n_quantiles++] = (struct delay_quantile){q_ppm, ns};
	if (delay_table_from_quantiles(quantiles, n_quantiles, &table, &e) < 0)
		fail(&e);
	rig->params.table = &table;
}

static void set_key(struct rig *rig, char *arg)
{
	char *value = strchr(arg, '=');
	struct delay_params *p = &rig->params;
	long long n;

	if (!value)
		exit(2);
	*value++ = '\0';
	n = strtoll(value, NULL, 0);
	if (streq(arg, "delay_ns"))
		p->delay_ns = n;
	else if (streq(arg, "jitter_ns"))
		p->jitter_ns = n;
	else if (streq(arg, "correlation_ppm"))
		p->correlation_ppm = n;
	else if (streq(arg, "reorder_ppm"))
		p->reorder_ppm = n;
	else if (streq(arg, "duplicate_ppm"))
		p->duplicate_ppm = n;
	else if (streq(arg, "corrupt_ppm"))
		p->corrupt_ppm = n;
	else if (streq(arg, "order_keep"))
		p->order_keep = n;
	else if (streq(arg, "seed"))
		p->seed = n;
	else if (streq(arg, "limit_packets"))
		p->limit_packets = n;
	else if (streq(arg, "lease_ns"))
		rig->lease.lease_ns = n;
	else if (streq(arg, "hard_end_ns"))
		rig->hard_end_ns = n;
	else if (streq(arg, "q50_ns"))
		add_quantile(500000, n, rig);
	else if (streq(arg, "q95_ns"))
		add_quantile(950000, n, rig);
	else if (streq(arg, "q99_ns"))
		add_quantile(990000, n, rig);
	else
		exit(2);
}

static int take_index(const struct nlmsghdr *h, void *data)
{
	const struct ifinfomsg *ifi = nlmsg_data((struct nlmsghdr *)h);

	*(int *)data = ifi->ifi_index;
	return 0;
}

static int find_device(struct netlink *nl, const char *name, struct err *e)
{
	struct ifinfomsg ifi = {0};
	struct nl_msg *msg = netlink_request(RTM_GETLINK, 0, &ifi, sizeof ifi);
	int ifindex = 0;

	nla_put_string(msg, IFLA_IFNAME, name);
	if (netlink_ask(nl, msg, name, take_index, &ifindex, e) < 0)
		fail(e);
	return ifindex;
}

static void close_gate(struct rig *rig, bool closed)
{
	struct gate_control c;
	uint32_t zero = 0;
	int fd = bpf_map__fd(rig->gate->maps.gate_control);

	bpf_map_lookup_elem(fd, &zero, &c);
	c.closed = closed;
	c.hard_end_ns = clock_now_ns() + rig->hard_end_ns;
	bpf_map_update_elem(fd, &zero, &c, 0);
}

static void put_redirect(struct nl_msg *msg, int ifindex)
{
	struct tc_mirred m = {.action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = ifindex};
	struct nlattr *actions = nla_nest_start(msg, TCA_BPF_ACT), *first, *options;

	first = nla_nest_start(msg, 1);
	nla_put_string(msg, TCA_ACT_KIND, "mirred");
	options = nla_nest_start(msg, TCA_ACT_OPTIONS | NLA_F_NESTED);
	nla_put(msg, TCA_MIRRED_PARMS, sizeof m, &m);
	nla_nest_end(msg, options);
	nla_nest_end(msg, first);
	nla_nest_end(msg, actions);
}

static void attach_gate(struct rig *rig, struct err *e)
{
	struct tcmsg qdisc = {.tcm_ifindex = rig->ifindex, .tcm_parent = TC_H_CLSACT,
			      .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0)};
	bool in = rig->direction == DELAY_FROM;
	struct tcmsg filter = {
		.tcm_ifindex = rig->ifindex,
		.tcm_parent = TC_H_MAKE(TC_H_CLSACT, in ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS),
		.tcm_info = TC_H_MAKE(1 << 16, htons(ETH_P_ALL)),
	};
	struct nl_msg *msg = netlink_request(RTM_NEWQDISC, NLM_F_CREATE, &qdisc, sizeof qdisc);
	struct nlattr *options;
	autobatch b = {0};

	nla_put_string(msg, TCA_KIND, "clsact");
	netlink_batch_add(&b, msg, 0, "clsact");
	msg = netlink_request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &filter, sizeof filter);
	nla_put_string(msg, TCA_KIND, "bpf");
	options = nla_nest_start(msg, TCA_OPTIONS);
	nla_put_u32(msg, TCA_BPF_FD, bpf_program__fd(in ? rig->gate->progs.gate_delay_in
							: rig->gate->progs.gate_delay_out));
	nla_put_string(msg, TCA_BPF_NAME, "gate");
	put_redirect(msg, rig->tap_ifindex);
	nla_nest_end(msg, options);
	netlink_batch_add(&b, msg, 0, "gate");
	if (netlink_batch_run(rig->nl, &b, e) < 0)
		fail(e);
}

static void start(struct rig *rig, char **argv, struct err *e)
{
	struct delay_path path = {.tap_name = argv[4], .tap_alias = "delay_rig", .stream = 1};

	rig->netns_fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	rig->gate = gate_bpf__open_and_load();
	if (rig->netns_fd < 0 || !rig->gate) {
		err_errno(e, errno, "%s", argv[1]);
		fail(e);
	}
	rig->lease.map_fd = bpf_map__fd(rig->gate->maps.gate_control);
	close_gate(rig, false);
	if (broker_start(&rig->broker, e) < 0 ||
	    netlink_open(rig->broker, rig->netns_fd, NETLINK_ROUTE, &rig->nl, e) < 0 ||
	    delay_engine_start(&rig->params, &rig->lease, GATE_TOKEN, &rig->engine, e) < 0)
		fail(e);
	rig->ifindex = find_device(rig->nl, argv[2], e);
	rig->direction = streq(argv[3], "from") ? DELAY_FROM : DELAY_TO;
	path.netns_fd = rig->netns_fd;
	path.nl = rig->nl;
	path.ifindex = rig->ifindex;
	path.direction = rig->direction;
	if (delay_engine_add(rig->engine, rig->broker, &path, &rig->path, &rig->tap_ifindex, e) < 0)
		fail(e);
	attach_gate(rig, e);
	printf("ready %d %d\n", delay_engine_pid(rig->engine), rig->tap_ifindex);
}

static void print_counters(const struct rig *rig)
{
	struct delay_counters c;

	delay_engine_counters(rig->engine, DELAY_ALL, &c);
#define FIELD(name) printf("\"" #name "\": %llu, ", (unsigned long long)c.name)
	printf("{");
	FIELD(packets);
	FIELD(bytes);
	FIELD(delivered);
	FIELD(queued);
	FIELD(queued_max);
	FIELD(dropped_limit);
	FIELD(dropped_write);
	FIELD(reordered);
	FIELD(duplicated);
	FIELD(corrupted);
	FIELD(delay_sum_ns);
	FIELD(late_sum_ns);
	printf("\"late_max_ns\": %llu}\n", (unsigned long long)c.late_max_ns);
#undef FIELD
}

static void obey(struct rig *rig, char *line, struct err *e)
{
	char *word = strtok(line, " \n"), *key;
	int r = 0;

	if (!word)
		return;
	if (streq(word, "counters")) {
		print_counters(rig);
		return;
	}
	while (streq(word, "set") && (key = strtok(NULL, " \n")))
		set_key(rig, key);
	if (streq(word, "set"))
		r = delay_engine_set(rig->engine, &rig->params, e);
	else if (streq(word, "remove"))
		r = delay_engine_remove(rig->engine, rig->path, e);
	else if (streq(word, "off"))
		close_gate(rig, true);
	else if (streq(word, "flush"))
		r = delay_engine_flush(rig->engine, e);
	else if (streq(word, "sweep") && (key = strtok(NULL, " \n")))
		r = delay_tap_remove(rig->nl, key, strtok(NULL, " \n"), e);
	else if (streq(word, "stop"))
		delay_engine_stop(take(rig->engine));
	printf("%s\n", r < 0 ? e->text : "ok");
}

int main(int argc, char **argv)
{
	struct rig rig = {.hard_end_ns = 600 * NSEC_PER_SEC};
	struct err e = {0};
	char line[1024];

	if (argc < 5)
		return 2;
	for (int i = 5; i < argc; i++)
		set_key(&rig, argv[i]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	start(&rig, argv, &e);
	while (fgets(line, sizeof line, stdin))
		obey(&rig, line, &e);
	delay_engine_stop(rig.engine);
	broker_stop(rig.broker);
	netlink_close(rig.nl);
	gate_bpf__destroy(rig.gate);
	return 0;
}
