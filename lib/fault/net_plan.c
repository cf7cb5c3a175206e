/*
 * plan: which devices of which namespaces the fault will touch, what carries it, and every reason
 * not to, before anything is touched. Reads the kernel's state and changes nothing.
 */
#include "net.h"
#include "net_probe.h"

#include "../base/units.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <stdio.h>

static const int64_t names_interval_ns = 5 * NSEC_PER_SEC;

static int refuse_host(const struct fault *f, const struct target *t, struct err *e)
{
	if (!t->host_network || f->env->allow_host_network)
		return 0;
	err_set(e, EPERM, "%s/%s uses the host's own network", t->ns, t->name);
	return err_hint(e, "choose targets with a network namespace of their own, or allow it with "
			   "--allow-host-network");
}

/* A second target in the same namespace joins the first one's site. */
static bool join_site(struct net_state *st, const struct target *t)
{
	net_foreach_site(st, site) {
		autofree char *id = NULL, *joined = NULL;

		if (!netns_same(site->netns_id, t->netns_id))
			continue;
		id = target_id(t);
		joined = xasprintf("%s+%s", site->id, id);
		free(site->id);
		site->id = take(joined);
		return true;
	}
	return false;
}

/* Names and indices of the delay devices, free in this namespace. The index alone makes the name
 * unique, the run's part tells people whose it is. */
static void name_devices(const struct fault *f, struct net_state *st, struct net_site *site,
			 const struct links *links)
{
	uint64_t start = rng_mix(rng_stream(st->filter_name));
	unsigned n = 0;

	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++) {
			struct net_device *dev = &port->device[d];
			unsigned low;

			if (!net_has_pair(st) && !net_has_direction(net_params_of(f), d))
				continue;
			do
				low = (unsigned)(start + n++) & ~GATE_IFINDEX_MASK;
			while (link_by_index(links, (int)(GATE_IFINDEX_BASE | low)));
			dev->ifindex = (int)(GATE_IFINDEX_BASE | low);
			snprintf(dev->name, sizeof dev->name, "brunt%04x%04x",
				 (unsigned)(start >> 32) & 0xffff, low);
		}
}

static int look_at(const struct fault *f, struct net_state *st, struct net_site *site,
		   struct err *e)
{
	autolinks links = {0};

	if (link_list(site->nl, &links, e) < 0 || net_find_ports(f, site, &links, e) < 0)
		return -e->code;
	net_foreach_port(site, port) {
		if (net_preflight(f, site, port, e) < 0)
			return err_wrap(e, "%s in %s", port->name, site->id);
		port->handle = st->filter_handle;
		if (net_makes_clsact(port))
			port->handle |= NET_HANDLE_CLSACT |
					(port->no_queue ? NET_HANDLE_NO_QUEUE : 0);
	}
	if (st->backend != NET_BACKEND_NONE)
		name_devices(f, st, site, &links);
	return 0;
}

static int add_site(const struct fault *f, struct net_state *st, struct target *t, struct err *e)
{
	struct net_site *site;

	if (refuse_host(f, t, e) < 0)
		return -e->code;
	if (t->netns_fd < 0)
		return err_set(e, ENOENT, "%s/%s has no network namespace", t->ns, t->name);
	if (join_site(st, t))
		return 0;
	site = array_push(st->sites, st->n_sites);
	site->target = target_ref(t);
	site->id = target_id(t);
	site->netns_id = t->netns_id;
	if (netlink_open(f->env->broker, t->netns_fd, NETLINK_ROUTE, &site->nl, e) < 0)
		return err_wrap(e, "%s", site->id);
	site->netns_id.cookie = netns_cookie(netlink_fd(site->nl));
	return look_at(f, st, site, e);
}

static void name_fault(const struct fault *f, struct net_state *st)
{
	snprintf(st->filter_name, sizeof st->filter_name, NET_NAME_RUN "%.48s", f->env->run_id,
		 f->name);
	/* Two faults of a run may share a preference; their handles tell them apart. */
	st->filter_handle = (uint32_t)(rng_stream(st->filter_name) & 0x0fffffff) | 1;
	st->group = GATE_IFINDEX_BASE | (st->filter_handle & ~GATE_IFINDEX_MASK);
}

static void name_backend(const struct fault *f, struct net_state *st)
{
	const struct net_params *p = net_params_of(f);
	static const char *const names[] = {
		[NET_BACKEND_NONE] = "gate",
		[NET_BACKEND_PAIR] = "gate, veth pair",
		[NET_BACKEND_NETEM] = "gate, veth pair with netem",
		[NET_BACKEND_ENGINE] = "gate, TAP with delay engine",
	};

	snprintf(st->backend_text, sizeof st->backend_text, "%s%s", names[st->backend],
		 net_limits(p) ? ", TBF" : "");
}

static int start_names(const struct fault *f, struct net_state *st, struct err *e)
{
	const struct strlist *list = &net_params_of(f)->external_targets;
	autoptr(names) names = names_new(f->env->vantage ? &f->env->vantage->hosts : NULL);
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++) {
		autofree char *name = NULL;
		struct peer peer;

		if (peer_parse(list->items[i], &peer, &name, e) < 0)
			return -e->code;
		if (!name)
			continue;
		names_add(names, name, peer.port);
		n++;
	}
	if (!n)
		return 0;
	if (names_start(names, names_interval_ns, e) < 0)
		return -e->code;
	st->names = take(names);
	return 0;
}

static void describe_port(const struct fault *f, const struct net_site *site,
			  const struct net_port *port, struct strlist *ops)
{
	static const char *const hooks[] = {"egress", "ingress"};
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	autofree char *where = xasprintf("%s in %s", port->name, site->id);

#define OP(fmt, ...)                                                                               \
	do {                                                                                       \
		autofree char *op_ = xasprintf("%s: " fmt, where, ##__VA_ARGS__);                  \
		strlist_add(ops, op_);                                                             \
	} while (0)
	if (net_makes_clsact(port))
		OP("add qdisc clsact");
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
		if (*port->device[d].name)
			OP("add device %s (%s)", port->device[d].name, st->backend_text);
	net_foreach_direction(p, d) {
		if (net_drops(p))
			OP("add BPF filter at %s, pref %d handle %#x, direct action",
			   hooks[d], NET_PREF_DROP, port->handle);
		if (!*port->device[d].name)
			continue;
		OP("add BPF filter at %s, pref %d handle %#x, redirect to %s", hooks[d],
		   net_pref(f, GATE_DELAY), port->handle, port->device[d].name);
		OP("add BPF filter at %s, pref %d handle %#x, for what comes back", hooks[d],
		   net_pref(f, GATE_CLEAR), port->handle);
	}
#undef OP
}

static void describe(const struct fault *f, const struct peers *peers, struct strlist *ops)
{
	const struct net_state *st = net_state_of(f);
	char what[96], text[PEER_TEXT_MAX];

	net_describe(net_params_of(f), what, sizeof what);
	net_foreach_site(st, site) {
		autofree char *first = xasprintf("%s: %s; loopback is untouched", site->id, what);

		strlist_add(ops, first);
		net_foreach_port(site, port)
			describe_port(f, site, port, ops);
		for (size_t i = 0; i < site->left_out.n; i++) {
			autofree char *op = xasprintf("%s: %s", site->id, site->left_out.items[i]);

			strlist_add(ops, op);
		}
	}
	for (size_t i = 0; i < peers->n; i++) {
		autofree char *op = xasprintf("only traffic with %s",
					      peer_text(&peers->items[i], text));

		strlist_add(ops, op);
	}
}

int net_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	struct net_state *st = f->state = xcalloc(1, sizeof *st);
	autopeers peers = {0};

	name_fault(f, st);
	if (net_refuse(p, e) < 0)
		return -e->code;
	if (net_delay_table(p, &st->table, e) < 0 || net_choose_backend(f, &st->backend, e) < 0 ||
	    start_names(f, st, e) < 0)
		return -e->code;
	if (st->backend != NET_BACKEND_NONE && f->order >= GATE_ORDERS) {
		err_set(e, E2BIG, "is number %u of the network faults that overlap in time; a packet "
			"can pass %d", f->order + 1, GATE_ORDERS);
		return err_hint(e, "let some end before others begin, or merge some by action: netem");
	}
	st->seeded = st->backend != NET_BACKEND_NETEM || net_kernel(f->env->broker)->netem_seed;
	name_backend(f, st);
	f->backend = st->backend_text;
	for (size_t i = 0; i < f->targets.n; i++)
		if (add_site(f, st, f->targets.items[i], e) < 0)
			return -e->code;
	if (net_has_peers(p) && net_resolve_peers(f, &peers, e) < 0)
		return -e->code;
	describe(f, &peers, ops);
	return 0;
}

void net_release(struct fault *f)
{
	struct net_state *st = net_state_of(f);

	if (!st)
		return;
	delay_engine_stop(st->engine);
	return_path_free(st->back);
	gate_free(st->gate);
	names_free(st->names);
	peers_done(&st->peers);
	net_foreach_site(st, site) {
		net_probe_free(site->probe);
		netlink_close(site->nl);
		target_unref(site->target);
		free(site->ports);
		strlist_done(&site->left_out);
		strlist_done(&site->as_set);
		net_notices_free(site->notices);
		free(site->id);
	}
	free(st->sites);
	free(st);
	f->state = NULL;
}
