#include "netem.h"

#include <linux/pkt_sched.h>

/* Newer than Debian 12's headers: linux/pkt_sched.h of 6.7. */
enum { NETEM_PRNG_SEED = 14 };

/* The scheduler's clock runs in units of 64 ns; saturates. */
static uint32_t ticks(int64_t ns)
{
	return ns >> 6 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns >> 6);
}

static uint32_t fraction(uint32_t ppm)
{
	return (uint32_t)(((uint64_t)ppm * UINT32_MAX + 500000) / 1000000);
}

static void put_correlations(struct nl_msg *msg, const struct netem *n)
{
	const struct tc_netem_corr corr = {
		.delay_corr = fraction(n->delay_correlation_ppm),
		.dup_corr = fraction(n->duplicate_correlation_ppm),
	};
	const struct tc_netem_reorder reorder = {
		.probability = fraction(n->reorder_ppm),
		.correlation = fraction(n->reorder_correlation_ppm),
	};
	const struct tc_netem_corrupt corrupt = {
		.probability = fraction(n->corrupt_ppm),
		.correlation = fraction(n->corrupt_correlation_ppm),
	};

	nla_put(msg, TCA_NETEM_CORR, sizeof corr, &corr);
	if (n->reorder_ppm)
		nla_put(msg, TCA_NETEM_REORDER, sizeof reorder, &reorder);
	if (n->corrupt_ppm)
		nla_put(msg, TCA_NETEM_CORRUPT, sizeof corrupt, &corrupt);
}

static void put_rate(struct nl_msg *msg, uint64_t Bps)
{
	const struct tc_netem_rate rate = {
		.rate = Bps > UINT32_MAX ? UINT32_MAX : (uint32_t)Bps};

	nla_put(msg, TCA_NETEM_RATE, sizeof rate, &rate);
	if (Bps > UINT32_MAX)
		nla_put_u64(msg, TCA_NETEM_RATE64, Bps);
}

struct nl_msg *netem_msg(int ifindex, uint32_t parent, uint32_t handle, int flags,
			 const struct netem *n)
{
	const struct tcmsg t = {
		.tcm_ifindex = ifindex, .tcm_parent = parent, .tcm_handle = handle};
	const struct tc_netem_qopt opt = {
		.latency = ticks(n->delay_ns),
		.jitter = ticks(n->jitter_ns),
		.limit = n->limit_packets,
		.duplicate = fraction(n->duplicate_ppm),
		.gap = n->reorder_ppm && !n->gap ? 1 : n->gap,
	};
	struct nl_msg *msg = netlink_request(RTM_NEWQDISC, flags, &t, sizeof t);
	struct nlattr *options;

	/* A full table alone is 32 KiB; the default message is one page. */
	nlmsg_expand(msg, NETLINK_MESSAGE_MAX / 4);
	nla_put_string(msg, TCA_KIND, "netem");
	options = nla_nest_start(msg, TCA_OPTIONS);
	nlmsg_append(msg, (void *)&opt, sizeof opt, NLMSG_ALIGNTO);
	nla_put_u64(msg, TCA_NETEM_LATENCY64, (uint64_t)n->delay_ns);
	nla_put_u64(msg, TCA_NETEM_JITTER64, (uint64_t)n->jitter_ns);
	put_correlations(msg, n);
	if (n->rate_Bps)
		put_rate(msg, n->rate_Bps);
	if (n->table)
		nla_put(msg, TCA_NETEM_DELAY_DIST, (int)(n->n_table * sizeof *n->table), n->table);
	if (n->seed)
		nla_put_u64(msg, NETEM_PRNG_SEED, n->seed);
	nla_nest_end(msg, options);
	return msg;
}

struct reading {
	struct netem_state *state;
	int ifindex;
	uint32_t handle;
};

static int read_netem(const struct nlmsghdr *h, void *data)
{
	enum { LAST = NETEM_PRNG_SEED };
	const struct tcmsg *t = nlmsg_data(h);
	struct nlattr *tb[TCA_MAX + 1], *opt[LAST + 1];
	const struct tc_netem_qopt *q;
	struct reading *r = data;
	int len;

	if (h->nlmsg_type != RTM_NEWQDISC || t->tcm_ifindex != r->ifindex ||
	    t->tcm_handle != r->handle ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof *t, tb, TCA_MAX, NULL) < 0 ||
	    !tb[TCA_KIND] || !streq(nla_data(tb[TCA_KIND]), "netem") || !tb[TCA_OPTIONS])
		return 0;
	len = nla_len(tb[TCA_OPTIONS]) - (int)NLMSG_ALIGN(sizeof *q);
	q = nla_data(tb[TCA_OPTIONS]);
	if (len < 0 || nla_parse(opt, LAST, (struct nlattr *)((char *)q + NLMSG_ALIGN(sizeof *q)),
				 len, NULL) < 0)
		return 0;
	*r->state = (struct netem_state){.found = true, .limit_packets = q->limit};
	if (opt[TCA_NETEM_LATENCY64])
		r->state->delay_ns = (int64_t)nla_get_u64(opt[TCA_NETEM_LATENCY64]);
	if (opt[TCA_NETEM_JITTER64])
		r->state->jitter_ns = (int64_t)nla_get_u64(opt[TCA_NETEM_JITTER64]);
	r->state->seeded = opt[NETEM_PRNG_SEED];
	return 0;
}

int netem_read(struct netlink *nl, int ifindex, uint32_t handle, struct netem_state *ret,
	       struct err *e)
{
	const struct tcmsg t = {.tcm_ifindex = ifindex};
	struct reading r = {.state = ret, .ifindex = ifindex, .handle = handle};

	*ret = (struct netem_state){0};
	return netlink_ask(nl, netlink_request(RTM_GETQDISC, NLM_F_DUMP, &t, sizeof t),
			   "read netem back", read_netem, &r, e);
}
