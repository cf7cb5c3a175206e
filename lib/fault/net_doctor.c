/*
 * doctor: the driver itself puts each action on a device of a scratch namespace, reads it back from
 * the kernel, and takes it out again; the dump after must equal the dump before. What works here
 * works in a run, and a refusal is the one that a run would give.
 */
#include "../base/clock.h"
#include "../kernel/broker.h"
#include "../kernel/netns.h"
#include "net.h"

#include <errno.h>
#include <stdio.h>

#define DEVICE "trial"
#define GATE_FIX "needs CONFIG_BPF_SYSCALL, NET_CLS_BPF, NET_SCH_INGRESS, NET_ACT_MIRRED; root or CAP_BPF"
#define RATE_FIX "modprobe veth; modprobe sch_tbf"
#define DELAY_FIX "modprobe sch_netem, or modprobe tun for brunt's own engine"

static const char tried[] = "added, read back and removed";

static const struct trial {
	const char *name, *backend;
	bool needed;
	const char *fix;
	struct net_params params;
} trials[] = {
	{"partition", "auto", true, GATE_FIX, {.action = NET_PARTITION}},
	{"loss", "auto", true, GATE_FIX,
	 {.action = NET_LOSS, .loss = {.given = true, .ppm = 200000}}},
	{"delay", "auto", true, DELAY_FIX,
	 {.action = NET_DELAY, .delay = {.given = true, .latency_ns = NSEC_PER_MSEC}}},
	{"delay by netem", "netem", false, "modprobe sch_netem; modprobe veth",
	 {.action = NET_DELAY, .delay = {.given = true, .latency_ns = NSEC_PER_MSEC}}},
	{"delay by brunt's engine", "engine", false,
	 "modprobe tun, and give access to /dev/net/tun",
	 {.action = NET_DELAY, .delay = {.given = true, .latency_ns = NSEC_PER_MSEC}}},
	{"reorder", "auto", true, DELAY_FIX,
	 {.action = NET_DELAY,
	  .delay = {.given = true, .latency_ns = NSEC_PER_MSEC,
		    .reorder = {.given = true, .ppm = 500000, .gap = 1}}}},
	{"duplicate", "auto", true, DELAY_FIX,
	 {.action = NET_DUPLICATE, .duplicate = {.given = true, .ppm = 100000}}},
	{"corrupt", "auto", true, DELAY_FIX,
	 {.action = NET_CORRUPT, .corrupt = {.given = true, .ppm = 100000}}},
	{"rate", "auto", true, RATE_FIX,
	 {.action = NET_RATE, .rate = {.given = true, .rate_Bps = 125000}}},
	{"bandwidth", "auto", true, RATE_FIX,
	 {.action = NET_BANDWIDTH,
	  .bandwidth = {.given = true, .rate_Bps = 125000, .limit_bytes = 65536,
			.buffer_bytes = 16384}}},
};

static void done(struct fault *f)
{
	net_release(f);
	undo_list_done(&f->undo);
	target_list_done(&f->targets);
}

/* Reverts, and compares; there is one target, so one record. */
static int take_out(struct fault *f, const struct target *t, const char *before, struct err *e)
{
	struct undo_result result = {0};
	autostr after = {0};

	net_off(f);
	if (net_revert(f->undo.items, f->undo.n, f->env->broker, &result, e) < 0)
		return -e->code;
	if (result.outcome != UNDO_REVERTED)
		return err_set(e, EBUSY, "not taken out again: %s", result.text);
	if (net_snapshot(f, t, &after, e) < 0)
		return -e->code;
	return streq(before, after.s) ? 0 : err_set(e, EBUSY, "something is left after the revert");
}

static int put_in_and_take_out(struct fault *f, struct target *t, struct err *e)
{
	struct strlist ops = {0};
	autostr before = {0};
	struct err later = {0};
	int r = net_plan(f, &ops, e);

	strlist_done(&ops);
	if (r == 0)
		r = net_snapshot(f, t, &before, e);
	if (r == 0)
		r = net_prepare(f, e);
	if (r < 0)
		return r;
	r = net_inject(f, e);
	if (take_out(f, t, before.s, &later) < 0 && r == 0) {
		*e = later;
		r = -e->code;
	}
	return r;
}

static int try_trial(const struct trial *trial, struct broker *b, struct target *t, struct err *e)
{
	const struct fault_env env = {
		.run_id = "doctor",
		.seed = 1,
		.broker = b,
		.net_backend = trial->backend,
		.hard_end_ns = clock_now_ns() + 60 * NSEC_PER_SEC,
	};
	struct net_params p = trial->params;
	struct fault f = {.driver = &net_chaos, .params = &p, .name = trial->name, .env = &env};
	int r;

	p.device = (char *)DEVICE;
	p.direction = NET_BOTH;
	target_list_add(&f.targets, t);
	r = put_in_and_take_out(&f, t, e);
	done(&f);
	return r;
}

/* A namespace with one device to try things on, which the descriptor may hold. */
static int make_scratch(struct broker *b, struct target *t, int *ret_device, struct err *e)
{
	const struct link_pair pair = {
		.name = {DEVICE, DEVICE "1"},
		.index = {100, 101},
		.address = {2, 0, 0, 0, 0, 1},
		.mtu = 1500,
	};
	autoptr(netlink) nl = NULL;

	t->netns_fd = broker_scratch(b, e);
	if (t->netns_fd < 0 || netns_identity(t->netns_fd, &t->netns_id, e) < 0)
		return -e->code;
	*ret_device = broker_tap(b, t->netns_fd, DEVICE, NULL);
	if (*ret_device >= 0)
		return 0;
	if (netlink_open(b, t->netns_fd, NETLINK_ROUTE, &nl, e) < 0)
		return -e->code;
	return netlink_talk(nl, link_msg_add_pair(&pair), "add a device to try things on", e);
}

static void add_row(struct capability_list *ret, const struct trial *trial, struct broker *b, int r,
		    const struct err *why)
{
	autofree char *detail = NULL;
	const char *replay = "";

	if (r == 0 && streq(trial->backend, "netem"))
		replay = net_kernel(b)->netem_seed ? "; replays by seed"
						   : "; not replayable before Linux 6.7";
	detail = r == 0 ? xasprintf("%s%s", tried, replay) : xstrdup(why->text);
	capability_add(ret, "NetworkChaos", trial->name, trial->needed, r == 0, detail,
		       why->hint[0] ? why->hint : trial->fix);
}

int net_doctor(struct broker *broker, struct capability_list *ret, struct err *e)
{
	autoptr(target) t = target_new("scratch", "doctor");
	struct err scratch = {0};
	autofd int device = -1;
	int r = make_scratch(broker, t, &device, &scratch);

	(void)e;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		struct err why = scratch;
		int ok = r < 0 ? r : try_trial(&trials[i], broker, t, &why);

		add_row(ret, &trials[i], broker, ok, &why);
	}
	return 0;
}
