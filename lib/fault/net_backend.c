/*
 * What carries a delay here. A capability is known by adding the thing in a scratch namespace and
 * reading it back: a module that is absent, a trimmed kernel and a missing privilege all answer
 * the same question.
 */
#include "net.h"

#include "../base/clock.h"
#include "../kernel/broker.h"
#include "../kernel/netem.h"

#include <errno.h>
#include <stdio.h>

enum { PROBE_IFINDEX = GATE_IFINDEX_BASE | 1, PROBE_PEER };

/* One request; what went wrong first is kept for doctor and refusals. */
static bool try(struct netlink *nl, struct net_kernel *k, const char *what, struct nl_msg *msg)
{
	struct err e = {0};

	if (netlink_talk(nl, msg, what, &e) == 0)
		return true;
	if (!k->why[0])
		snprintf(k->why, sizeof k->why, "%s", e.text);
	return false;
}

static struct nl_msg *probe_tbf(void)
{
	const struct tc_tbf tbf = {
		.rate_Bps = 125000, .limit_bytes = 65536, .burst_bytes = 16384};

	return tc_msg_tbf(PROBE_IFINDEX, TC_H_ROOT, NET_HANDLE_LIMIT,
			  NLM_F_CREATE | NLM_F_REPLACE, &tbf);
}

static struct nl_msg *probe_pair(void)
{
	const struct link_pair pair = {
		.name = {"probe0", "probe1"},
		.index = {PROBE_IFINDEX, PROBE_PEER},
		.address = {2, 'b', 'r', 'u', 'n', 't'},
		.mtu = 1500,
	};

	return link_msg_add_pair(&pair);
}

static void try_netem(struct netlink *nl, struct net_kernel *k)
{
	const struct netem n = {
		.delay_ns = 10 * NSEC_PER_MSEC, .limit_packets = 1000, .seed = 1};
	struct netem_state back;

	if (!try(nl, k, "add qdisc netem",
		 netem_msg(PROBE_IFINDEX, TC_H_ROOT, NET_HANDLE_ROOT, NLM_F_CREATE, &n)))
		return;
	if (netem_read(nl, PROBE_IFINDEX, NET_HANDLE_ROOT, &back, NULL) < 0)
		return;
	k->netem = back.found && back.delay_ns == n.delay_ns;
	k->netem_seed = back.seeded;
}

static void try_gate(struct netlink *nl, struct net_kernel *k)
{
	const struct gate_config c = {.n_slots = 1};
	autoptr(gate) g = NULL;
	struct err e = {0};

	if (gate_load(&c, &g, &e) < 0) {
		snprintf(k->why, sizeof k->why, "%s", e.text);
		return;
	}
	k->gate = try(nl, k, "add qdisc clsact", tc_msg_add_clsact(PROBE_IFINDEX)) &&
		  try(nl, k, "add BPF filter with mirred",
		      tc_msg_add_bpf(&(struct tc_bpf){
			      .ifindex = PROBE_IFINDEX,
			      .pref = NET_PREF_DELAY,
			      .handle = 1,
			      .prog_fd = gate_program(g, GATE_DELAY, false)->fd,
			      .name = "brunt:probe",
			      .redirect_ifindex = PROBE_IFINDEX,
		      }));
}

static void try_tun(struct broker *b, int netns, struct net_kernel *k)
{
	autofd int fd = broker_tap(b, netns, "brunt-probe", NULL);

	k->tun = fd >= 0;
}

const struct net_kernel *net_kernel(struct broker *b)
{
	static struct net_kernel k;
	autofd int netns = -1;
	autoptr(netlink) nl = NULL;
	struct err e = {0};

	if (k.tried)
		return &k;
	k.tried = true;
	netns = broker_scratch(b, &e);
	if (netns < 0 || netlink_open(b, netns, NETLINK_ROUTE, &nl, &e) < 0) {
		snprintf(k.why, sizeof k.why, "%s", e.text);
		return &k;
	}
	try_tun(b, netns, &k);
	k.pair = try(nl, &k, "add veth pair", probe_pair());
	if (!k.pair)
		return &k;
	try_netem(nl, &k);
	k.tbf = try(nl, &k, "add qdisc tbf", probe_tbf());
	try_gate(nl, &k);
	return &k;
}

static int choose_delay(const struct fault *f, const struct net_kernel *k,
			enum net_backend *ret, struct err *e)
{
	const char *wanted = f->env->net_backend ? f->env->net_backend : "auto";

	if (streq(wanted, "netem") && !k->netem) {
		err_set(e, EOPNOTSUPP, "this kernel has no netem (%s)", k->why);
		return err_hint(e, "load the modules sch_netem and veth, or use --net-backend "
				   "engine");
	}
	*ret = k->netem && !streq(wanted, "engine") ? NET_BACKEND_NETEM : NET_BACKEND_ENGINE;
	if (*ret == NET_BACKEND_ENGINE && !k->tun) {
		err_set(e, EOPNOTSUPP, "this kernel has neither netem (%s) nor TAP devices",
			k->why);
		return err_hint(e, "load the modules sch_netem and veth, or tun");
	}
	return 0;
}

int net_choose_backend(const struct fault *f, enum net_backend *ret, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	const struct net_kernel *k;

	*ret = NET_BACKEND_NONE;
	if (!net_delays(p) && !net_limits(p))
		return 0;
	k = net_kernel(f->env->broker);
	if (net_limits(p) && !k->tbf) {
		err_set(e, EOPNOTSUPP, "this kernel cannot limit a rate (%s)", k->why);
		return err_hint(e, "load the modules veth and sch_tbf");
	}
	if (net_delays(p))
		return choose_delay(f, k, ret, e);
	*ret = NET_BACKEND_PAIR;
	return 0;
}

/*
 * A bucket that does not starve between two timer ticks of a kernel with HZ=100, and a queue of
 * 50 ms beyond it, as a router's interface would have.
 */
struct tc_tbf net_limit(const struct net_params *p)
{
	enum { MIN_BURST = 16 << 10, MIN_QUEUE = 64 << 10 };
	const struct net_bandwidth *b = &p->bandwidth;
	uint64_t rate = p->rate.rate_Bps;

	if (p->action == NET_BANDWIDTH)
		return (struct tc_tbf){
			.rate_Bps = b->rate_Bps,
			.peak_Bps = b->peak_Bps,
			.limit_bytes = (uint32_t)b->limit_bytes,
			.burst_bytes = (uint32_t)b->buffer_bytes,
			.peak_burst_bytes = (uint32_t)b->min_burst_bytes,
		};
	return (struct tc_tbf){
		.rate_Bps = rate,
		.burst_bytes = (uint32_t)MIN_OF(MAX_OF(rate / 100, (uint64_t)MIN_BURST),
						(uint64_t)UINT32_MAX / 2),
		.limit_bytes = (uint32_t)MIN_OF(MAX_OF(rate / 20, (uint64_t)MIN_QUEUE),
						(uint64_t)UINT32_MAX / 2),
	};
}

void net_delay_params(const struct fault *f, struct delay_params *ret)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	const struct net_delay *d = &p->delay;

	*ret = (struct delay_params){.seed = f->env->seed};
	if (net_wants(p, NET_DELAY, d->given)) {
		ret->delay_ns = d->latency_ns;
		ret->jitter_ns = d->jitter_ns;
		ret->correlation_ppm = d->correlation_ppm;
		ret->table = st->table.n ? &st->table : NULL;
		ret->reorder_ppm = d->reorder.ppm;
		ret->reorder_correlation_ppm = d->reorder.correlation_ppm;
		ret->reorder_gap = (uint32_t)d->reorder.gap;
		ret->order_keep = d->order == NET_ORDER_KEEP;
	}
	if (net_wants(p, NET_DUPLICATE, p->duplicate.given)) {
		ret->duplicate_ppm = p->duplicate.ppm;
		ret->duplicate_correlation_ppm = p->duplicate.correlation_ppm;
	}
	if (net_wants(p, NET_CORRUPT, p->corrupt.given)) {
		ret->corrupt_ppm = p->corrupt.ppm;
		ret->corrupt_correlation_ppm = p->corrupt.correlation_ppm;
	}
}

static uint64_t seed_of(const struct fault *f, const struct net_port *port, int direction)
{
	uint64_t seed = rng_at(f->env->seed, rng_stream(f->name), port->slot + (size_t)direction);

	return seed ? seed : 1;
}

/* With a rate netem never sends a packet before the one ahead of it; this one is beyond reach. */
static const uint64_t fifo_rate_Bps = 125000000000;

static struct netem netem_of(const struct fault *f, const struct net_port *port, int direction)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	const struct net_delay *d = &p->delay;
	uint64_t rate = net_limits(p) ? net_limit(p).rate_Bps : 0;
	struct netem n = {.seed = seed_of(f, port, direction)};
	struct delay_params dp;

	if (net_wants(p, NET_DELAY, d->given)) {
		n.delay_ns = st->table.n ? st->table.mean_ns : d->latency_ns;
		n.jitter_ns = st->table.n ? st->table.spread_ns : d->jitter_ns;
		n.table = st->table.n ? st->table.t : NULL;
		n.n_table = st->table.n;
		n.delay_correlation_ppm = d->correlation_ppm;
		n.reorder_ppm = d->reorder.ppm;
		n.reorder_correlation_ppm = d->reorder.correlation_ppm;
		n.gap = (uint32_t)d->reorder.gap;
		if (d->order == NET_ORDER_KEEP)
			n.rate_Bps = fifo_rate_Bps;
	}
	if (net_wants(p, NET_DUPLICATE, p->duplicate.given)) {
		n.duplicate_ppm = p->duplicate.ppm;
		n.duplicate_correlation_ppm = p->duplicate.correlation_ppm;
	}
	if (net_wants(p, NET_CORRUPT, p->corrupt.given)) {
		n.corrupt_ppm = p->corrupt.ppm;
		n.corrupt_correlation_ppm = p->corrupt.correlation_ppm;
	}
	net_delay_params(f, &dp);
	n.limit_packets = (uint32_t)MIN_OF(delay_limit_packets(&dp, rate), (uint64_t)INT32_MAX);
	return n;
}

void net_batch_qdiscs(const struct fault *f, const struct net_port *port, int direction,
		      struct netlink_batch *b)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	const struct net_device *dev = &port->device[direction];
	uint32_t parent = TC_H_ROOT;

	if (st->backend == NET_BACKEND_NETEM && net_delays(p)) {
		const struct netem n = netem_of(f, port, direction);

		netlink_batch_add(b,
				  netem_msg(dev->ifindex, TC_H_ROOT, NET_HANDLE_ROOT,
					    NLM_F_CREATE | NLM_F_REPLACE, &n),
				  0, "%s: add qdisc netem", dev->name);
		parent = NET_HANDLE_ROOT | 1;
	}
	if (net_limits(p)) {
		const struct tc_tbf tbf = net_limit(p);

		netlink_batch_add(b,
				  tc_msg_tbf(dev->ifindex, parent, NET_HANDLE_LIMIT,
					     NLM_F_CREATE | NLM_F_REPLACE, &tbf),
				  0, "%s: add qdisc tbf", dev->name);
	}
}
