/*
 * What would hide the gate, or be hidden by it. A fault that could not be kept apart from somebody
 * else's settings is refused with the name of what is in the way.
 *
 *   legacy `ingress` qdisc  excludes clsact: the gate can share it for received packets only
 *   filters before ours     may end the classification before the gate sees a packet
 *   TCX programs            run before clsact and may end it for good
 *
 * What comes after the gate, filters and nftables' netdev hooks, sees every packet when it has come
 * back from its delay device.
 */
#include "net.h"

#include "../kernel/bpf.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <stdio.h>

const char *const net_hook_names[NET_DIRECTIONS] = {"egress", "ingress"};

static bool is_brunts(const struct tc_filter *f)
{
	return strncmp(f->name, NET_NAME_PREFIX, strlen(NET_NAME_PREFIX)) == 0;
}

bool net_is_this_runs(const struct fault *f, const struct tc_filter *filter)
{
	autofree char *prefix = xasprintf(NET_NAME_RUN, f->env->run_id);

	return strncmp(filter->name, prefix, strlen(prefix)) == 0;
}

/* A clsact that another fault of this run made goes with the last of them, whoever that is. */
static int find_clsact(const struct fault *f, struct net_site *site, struct net_port *port,
		       struct err *e)
{
	for (int ingress = 0; ingress < 2; ingress++) {
		autofilters found = {0};

		if (tc_filters_list(site->nl, port->ifindex, TC_PARENT(ingress), &found, e) < 0)
			return -e->code;
		for (size_t i = 0; i < found.n; i++) {
			if (!net_is_this_runs(f, &found.items[i]))
				continue;
			port->clsact_ours |= !!(found.items[i].handle & NET_HANDLE_CLSACT);
			port->no_queue |= !!(found.items[i].handle & NET_HANDLE_NO_QUEUE);
		}
	}
	port->clsact_there = !port->clsact_ours;
	return 0;
}

static int check_qdiscs(const struct fault *f, struct net_site *site, struct net_port *port,
			struct err *e)
{
	autoqdiscs qdiscs = {0};

	if (tc_qdiscs_list(site->nl, port->ifindex, &qdiscs, e) < 0)
		return -e->code;
	if (tc_qdisc_find(&qdiscs, port->ifindex, "clsact") && find_clsact(f, site, port, e) < 0)
		return -e->code;
	port->legacy_ingress = tc_qdisc_find(&qdiscs, port->ifindex, "ingress");
	if (!port->legacy_ingress || !net_egress(net_params_of(f)))
		return 0;
	err_set(e, EBUSY,
		"carries a legacy \"ingress\" qdisc, which excludes the clsact qdisc that the gate "
		"needs for packets sent");
	return err_hint(e, "use direction: from, or replace that qdisc by clsact (tc qdisc add dev "
			   "%s clsact), which takes the same ingress filters", port->name);
}

const char *net_describe_filter(const struct tc_filter *f, char *buf, size_t len)
{
	snprintf(buf, len, "%s filter at pref %u handle %#x%s%s%s", f->kind, f->pref, f->handle,
		 f->name[0] ? " (" : "", f->name, f->name[0] ? ")" : "");
	return buf;
}

static int check_filter(const struct fault *f, const struct tc_filter *filter, int last_pref,
			int direction, struct err *e)
{
	char text[224];

	if (net_is_this_runs(f, filter))
		return 0;
	if (is_brunts(filter))
		return err_set(e, EBUSY, "is held by another run (%s)", filter->name);
	if (filter->pref > last_pref || filter->chain)
		return 0;
	err_set(e, EBUSY, "the %s at %s comes before the gate and may hide packets from it",
		net_describe_filter(filter, text, sizeof text), net_hook_names[direction]);
	return err_hint(e, "move that filter to a preference above %d", last_pref);
}

static int check_filters(const struct fault *f, struct net_site *site, struct net_port *port,
			 int direction, struct err *e)
{
	const struct net_state *st = net_state_of(f);
	int last = st->backend == NET_BACKEND_NONE ? NET_PREF_DROP : net_pref(f, GATE_CLEAR);
	autofilters filters = {0};

	if (!port->clsact_there && !port->clsact_ours && !port->legacy_ingress)
		return 0;
	if (tc_filters_list(site->nl, port->ifindex, TC_PARENT(direction == NET_IN), &filters,
			    e) < 0)
		return -e->code;
	for (size_t i = 0; i < filters.n; i++)
		if (check_filter(f, &filters.items[i], last, direction, e) < 0)
			return -e->code;
	return 0;
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
		id, *name ? " (" : "", name, *name ? ")" : "", net_hook_names[direction]);
	return err_hint(e, "detach it for the time of the fault; bpftool prog show id %d tells whose "
			   "it is", id);
}

/* A veth's frames begin with an Ethernet header; what has none needs a TUN. */
static int check_kind(const struct fault *f, const struct net_port *port, struct err *e)
{
	if (port->ethernet || !net_has_pair(net_state_of(f)))
		return 0;
	err_set(e, EOPNOTSUPP, "has no Ethernet header, which the veth pair that carries this fault "
		"needs");
	return err_hint(e, "name another device, or use --net-backend engine for a delay");
}

int net_preflight(const struct fault *f, struct net_site *site, struct net_port *port,
		  struct err *e)
{
	const struct net_params *p = net_params_of(f);

	if (check_kind(f, port, e) < 0 || check_qdiscs(f, site, port, e) < 0)
		return -e->code;
	net_foreach_direction(p, d)
		if (check_filters(f, site, port, d, e) < 0 || check_tcx(f, site, port, d, e) < 0)
			return -e->code;
	return 0;
}

static int count_this_runs(const struct fault *f, const struct net_site *site,
			   const struct net_port *port, size_t *ret, struct err *e)
{
	*ret = 0;
	for (int ingress = 0; ingress < 2; ingress++) {
		autofilters filters = {0};

		if (tc_filters_list(site->nl, port->ifindex, TC_PARENT(ingress), &filters, e) < 0)
			return -e->code;
		for (size_t i = 0; i < filters.n; i++)
			*ret += net_is_this_runs(f, &filters.items[i]);
	}
	return 0;
}

/*
 * The plan is as old as the baseline is long. A clsact qdisc that came since is another fault's of
 * this run, which leaves it to whoever ends last, or somebody else's, whom it must outlive.
 */
int net_preflight_again(const struct fault *f, struct net_site *site, struct net_port *port,
			struct err *e)
{
	bool was_there = port->clsact_there;
	size_t ours;

	if (net_preflight(f, site, port, e) < 0)
		return -e->code;
	if (was_there || !port->clsact_there)
		return 0;
	if (count_this_runs(f, site, port, &ours, e) < 0)
		return -e->code;
	port->clsact_there = ours == 0;
	return 0;
}
