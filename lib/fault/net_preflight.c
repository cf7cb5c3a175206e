/*
 * What would hide the gate, or be hidden by it. A fault that could not be kept apart from somebody
 * else's settings is refused with the name of what is in the way.
 *
 *   legacy `ingress` qdisc  excludes clsact: the gate can share it for received packets only
 *   filters before ours     may end the classification before the gate sees a packet
 *   TCX programs            run before clsact and may end it for good
 *   later ingress filters,  are skipped by the kernel for packets that return from an IFB: a
 *   netdev hooks            fault must not open somebody's firewall
 */
#include "net.h"

#include "../kernel/bpf.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>

static const char *const hook_names[] = {"egress", "ingress"};

static bool is_brunts(const struct tc_filter *f)
{
	return strncmp(f->name, NET_NAME_PREFIX, strlen(NET_NAME_PREFIX)) == 0;
}

static bool is_this_runs(const struct fault *f, const struct tc_filter *filter)
{
	autofree char *prefix = xasprintf(NET_NAME_RUN, f->env->run_id);

	return strncmp(filter->name, prefix, strlen(prefix)) == 0;
}

static int check_qdiscs(const struct fault *f, struct net_site *site, struct net_port *port,
			struct err *e)
{
	autoqdiscs qdiscs = {0};

	if (tc_qdiscs_list(site->nl, port->ifindex, &qdiscs, e) < 0)
		return -e->code;
	port->clsact_there = tc_qdisc_find(&qdiscs, port->ifindex, "clsact");
	port->legacy_ingress = tc_qdisc_find(&qdiscs, port->ifindex, "ingress");
	if (!port->legacy_ingress || !net_egress(net_params_of(f)))
		return 0;
	err_set(e, EBUSY,
		"carries a legacy \"ingress\" qdisc, which excludes the clsact qdisc that the gate "
		"needs for packets sent");
	return err_hint(e, "use direction: from, or replace that qdisc by clsact (tc qdisc add dev "
			   "%s clsact), which takes the same ingress filters", port->name);
}

static const char *describe_filter(const struct tc_filter *f, char *buf, size_t len)
{
	snprintf(buf, len, "%s filter at pref %u handle %#x%s%s%s", f->kind, f->pref, f->handle,
		 f->name[0] ? " (" : "", f->name, f->name[0] ? ")" : "");
	return buf;
}

static int check_filter(const struct fault *f, const struct tc_filter *filter, int last_pref,
			int direction, struct err *e)
{
	char text[224];

	if (is_this_runs(f, filter))
		return 0;
	if (is_brunts(filter))
		return err_set(e, EBUSY, "is held by another run (%s)", filter->name);
	if (filter->pref > last_pref || filter->chain)
		return 0;
	err_set(e, EBUSY, "the %s at %s comes before the gate and may hide packets from it",
		describe_filter(filter, text, sizeof text), hook_names[direction]);
	return err_hint(e, "move that filter to a preference above %d", last_pref);
}

static int check_later(const struct net_state *st, const struct fault *f,
		       const struct tc_filters *filters, struct err *e)
{
	char text[224];

	if (st->backend != NET_BACKEND_IFB && st->backend != NET_BACKEND_NETEM)
		return 0;
	for (size_t i = 0; i < filters->n; i++) {
		const struct tc_filter *later = &filters->items[i];

		if (is_this_runs(f, later))
			continue;
		err_set(e, EBUSY,
			"packets received through an IFB would skip the %s at ingress",
			describe_filter(later, text, sizeof text));
		return err_hint(e, "use direction: to, or --net-backend engine for a delay");
	}
	return 0;
}

static int check_filters(const struct fault *f, struct net_site *site, struct net_port *port,
			 int direction, struct err *e)
{
	const struct net_state *st = net_state_of(f);
	int last = st->backend == NET_BACKEND_NONE ? NET_PREF_DROP : NET_PREF_DELAY;
	autofilters filters = {0};

	if (!port->clsact_there && !port->legacy_ingress)
		return 0;
	if (tc_filters_list(site->nl, port->ifindex, TC_PARENT(direction == NET_IN), &filters,
			    e) < 0)
		return -e->code;
	for (size_t i = 0; i < filters.n; i++)
		if (check_filter(f, &filters.items[i], last, direction, e) < 0)
			return -e->code;
	return direction == NET_IN ? check_later(st, f, &filters, e) : 0;
}

static int check_tcx(const struct fault *f, struct net_site *site, struct net_port *port,
		     int direction, struct err *e)
{
	int id = broker_first_tcx(f->env->broker, site->target->netns_fd, port->ifindex,
				  direction == NET_IN, e);
	char name[16];

	if (id <= 0)
		return id;
	bpf_program_name((uint32_t)id, name);
	err_set(e, EBUSY, "TCX program %d%s%s%s at %s comes before the gate and may hide packets",
		id, *name ? " (" : "", name, *name ? ")" : "", hook_names[direction]);
	return err_hint(e, "detach it for the time of the fault; bpftool prog show id %d tells whose "
			   "it is", id);
}

/* nftables chains at a device's ingress hook run after tc, and not at all for an IFB's packets. */
struct netdev_chain {
	const char *device;
	char table[32], chain[32]; /* the first one found at the device */
};

/* A hook names one device, or a list of them. */
static bool is_at(struct nlattr *hook, const char *device)
{
	struct nlattr *one = nla_find(nla_data(hook), nla_len(hook), NFTA_HOOK_DEV), *a;
	struct nlattr *list = nla_find(nla_data(hook), nla_len(hook), NFTA_HOOK_DEVS);
	int rem;

	if (one && streq(nla_data(one), device))
		return true;
	if (list)
		nla_for_each_nested(a, list, rem)
			if (nla_type(a) == NFTA_DEVICE_NAME && streq(nla_data(a), device))
				return true;
	return !one && !list;
}

static int find_netdev_chain(const struct nlmsghdr *h, void *data)
{
	struct nlmsghdr *msg = (struct nlmsghdr *)h;
	struct nlattr *hook = nlmsg_find_attr(msg, sizeof(struct nfgenmsg), NFTA_CHAIN_HOOK);
	struct nlattr *table = nlmsg_find_attr(msg, sizeof(struct nfgenmsg), NFTA_CHAIN_TABLE);
	struct nlattr *name = nlmsg_find_attr(msg, sizeof(struct nfgenmsg), NFTA_CHAIN_NAME);
	struct nlattr *number =
		hook ? nla_find(nla_data(hook), nla_len(hook), NFTA_HOOK_HOOKNUM) : NULL;
	struct netdev_chain *c = data;

	if (!number || nla_get_u32(number) != htonl(NF_NETDEV_INGRESS) || !is_at(hook, c->device))
		return 0;
	snprintf(c->table, sizeof c->table, "%s", table ? (char *)nla_data(table) : "?");
	snprintf(c->chain, sizeof c->chain, "%s", name ? (char *)nla_data(name) : "?");
	return 0;
}

static int check_netdev_hooks(const struct fault *f, struct net_site *site,
			      const struct net_port *port, struct err *e)
{
	const struct net_state *st = net_state_of(f);
	const struct nfgenmsg g = {.nfgen_family = NFPROTO_NETDEV};
	struct netdev_chain c = {.device = port->name};
	autoptr(netlink) nl = NULL;
	int r;

	if (st->backend != NET_BACKEND_IFB && st->backend != NET_BACKEND_NETEM)
		return 0;
	/* A kernel without netfilter has no such hooks. */
	if (netlink_open(f->env->broker, site->target->netns_fd, NETLINK_NETFILTER, &nl, NULL) < 0)
		return 0;
	r = netlink_ask(nl,
			netlink_request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP,
					&g, sizeof g),
			"list nftables chains", find_netdev_chain, &c, e);
	if (r == -EAGAIN)
		return check_netdev_hooks(f, site, port, e);
	if (r < 0 || !*c.chain)
		return r == -EINVAL || r == -EOPNOTSUPP ? 0 : r;
	err_set(e, EBUSY,
		"packets received through an IFB would skip the nftables chain netdev %s %s",
		c.table, c.chain);
	return err_hint(e, "use direction: to, or --net-backend engine for a delay");
}

int net_preflight(const struct fault *f, struct net_site *site, struct net_port *port,
		  struct err *e)
{
	const struct net_params *p = net_params_of(f);

	if (check_qdiscs(f, site, port, e) < 0)
		return -e->code;
	net_foreach_direction(p, d)
		if (check_filters(f, site, port, d, e) < 0 || check_tcx(f, site, port, d, e) < 0)
			return -e->code;
	return net_ingress(p) ? check_netdev_hooks(f, site, port, e) : 0;
}
