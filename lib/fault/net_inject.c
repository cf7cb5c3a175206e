/*
 * prepare and inject. Everything a site needs travels in one system call: device, its qdiscs,
 * clsact, filters. The gate is inert until all sites are done and read back; then one store puts
 * the fault in force everywhere at the same moment. With the delay engine the store is the
 * engine's, which renews the lease itself.
 */
#include "net.h"

#include "../kernel/netem.h"
#include "../kernel/netdump.h"
#include "net_record.h"

#include <errno.h>
#include <stdio.h>

static const int64_t default_lease_ns = 2 * NSEC_PER_SEC;

int net_snapshot(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	net_foreach_site(net_state_of(f), site)
		if (netns_same(site->netns_id, t->netns_id))
			return netdump(site->nl, ret, e);
	return err_set(e, ENOENT, "%s/%s is no target of this fault", t->ns, t->name);
}

static uint32_t protocol_bits(const struct net_params *p)
{
	static const uint32_t bits[] = {
		[NET_ANY] = 0, [NET_TCP] = GATE_TCP, [NET_UDP] = GATE_UDP, [NET_ICMP] = GATE_ICMP};

	return bits[p->protocol];
}

static int load_gate(const struct fault *f, struct net_state *st, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	const struct gate_config c = {
		.n_slots = st->n_slots,
		.seed = f->env->seed,
		.stream = rng_stream(f->name),
		.loss_ppm = p->action == NET_PARTITION ? 1000000 : net_drops(p) ? p->loss.ppm : 0,
		.correlation_ppm = p->action == NET_PARTITION ? 0 : p->loss.correlation_ppm,
		.protocols = protocol_bits(p),
		.peers_only = net_has_peers(p),
		.order = f->order,
		.hard_end_ns = f->env->hard_end_ns,
	};

	if (gate_load(&c, &st->gate, e) < 0)
		return -e->code;
	if (!c.peers_only)
		return 0;
	peers_done(&st->peers);
	if (net_resolve_peers(f, &st->peers, e) < 0)
		return -e->code;
	return gate_set_peers(st->gate, &st->peers, e);
}

static void add_undo(struct fault *f, const struct net_site *site)
{
	struct undo *u = array_push(f->undo.items, f->undo.n);
	autorecord r = {0};

	net_record_of(f, site, &r);
	u->fault = xstrdup(f->name);
	u->target = target_id(site->target);
	u->driver = f->driver;
	undo_set_json(u, net_record_to_json(&r));
	u->netns_id = site->netns_id;
	u->netns_fd = site->target->netns_fd;
}

int net_prepare(struct fault *f, struct err *e)
{
	struct net_state *st = net_state_of(f);

	if (load_gate(f, st, e) < 0)
		return -e->code;
	if (net_has_pair(st) &&
	    return_path_load((uint16_t)(GATE_TOKEN + f->order), &st->back, e) < 0)
		return -e->code;
	net_foreach_site(st, site)
		net_foreach_port(site, port)
			if (net_preflight_again(f, site, port, e) < 0)
				return err_wrap(e, "%s in %s", port->name, site->id);
	net_foreach_site(st, site)
		add_undo(f, site);
	net_probe_start(f);
	return 0;
}

/* Up as the last: no packet meets a half-made device. */
static void batch_pair(const struct net_state *st, const struct net_port *port,
		       struct netlink_batch *b)
{
	const struct net_device *out = &port->device[NET_OUT], *in = &port->device[NET_IN];
	struct link_pair pair = {
		.name = {out->name, in->name},
		.index = {out->ifindex, in->ifindex},
		.mtu = port->mtu,
		.group = st->group,
	};

	/* Received packets are "for this host" at the pair exactly when they were at the port. */
	memcpy(pair.address, port->address, sizeof pair.address);
	netlink_batch_add(b, link_msg_add_pair(&pair), 0, "add devices %s, %s", out->name, in->name);
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++) {
		const struct net_device *dev = &port->device[d];

		netlink_batch_add(b, link_msg_set_alias(dev->ifindex, st->filter_name), 0,
				  "name device %s", dev->name);
		netlink_batch_add(b, link_msg_no_ipv6(dev->ifindex), EAFNOSUPPORT,
				  "%s: no IPv6 address", dev->name);
		return_path_attach(st->back,
				   &(struct return_device){dev->ifindex, dev->name, port->ifindex,
							   .to_ingress = d == NET_OUT},
				   b);
	}
}

static void batch_up(const struct net_port *port, struct netlink_batch *b)
{
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
		netlink_batch_add(b, link_msg_up(port->device[d].ifindex), 0, "%s: set link up",
				  port->device[d].name);
}

static void batch_filter(const struct fault *f, const struct net_port *port, int d, int stage,
			 struct netlink_batch *b)
{
	const struct net_state *st = net_state_of(f);
	const struct tc_bpf filter = {
		.ifindex = port->ifindex,
		.ingress = d == NET_IN,
		.pref = (uint16_t)net_pref(f, stage),
		.handle = port->handle,
		.prog_fd = gate_program(st->gate, stage, d == NET_IN)->fd,
		.name = st->filter_name,
		.class_id = (uint32_t)port->slot + (uint32_t)d,
		.redirect_ifindex = stage == GATE_DELAY ? port->device[d].ifindex : 0,
	};

	netlink_batch_add(b, tc_msg_add_bpf(&filter), 0, "%s: add BPF filter at %s", port->name,
			  d == NET_IN ? "ingress" : "egress");
}

static void batch_port(const struct fault *f, const struct net_port *port,
		       struct netlink_batch *b)
{
	const struct net_params *p = net_params_of(f);

	if (net_has_pair(net_state_of(f)))
		batch_pair(net_state_of(f), port, b);
	net_foreach_direction(p, d)
		if (*port->device[d].name)
			net_batch_qdiscs(f, port, d, b);
	if (net_has_pair(net_state_of(f)))
		batch_up(port, b);
	/* Another fault of this run may have made it meanwhile. */
	if (net_makes_clsact(port))
		netlink_batch_add(b, tc_msg_add_clsact(port->ifindex), EEXIST,
				  "%s: add qdisc clsact", port->name);
	net_foreach_direction(p, d) {
		if (net_drops(p))
			batch_filter(f, port, d, GATE_DROP, b);
		if (!*port->device[d].name)
			continue;
		batch_filter(f, port, d, GATE_CLEAR, b);
		batch_filter(f, port, d, GATE_DELAY, b);
	}
}

static int add_paths(struct fault *f, struct net_site *site, struct net_port *port, struct err *e)
{
	struct net_state *st = net_state_of(f);
	const struct net_params *p = net_params_of(f);

	net_foreach_direction(p, d) {
		struct net_device *dev = &port->device[d];
		const struct delay_path path = {
			.netns_fd = site->target->netns_fd,
			.nl = site->nl,
			.ifindex = port->ifindex,
			.direction = d == NET_IN ? DELAY_FROM : DELAY_TO,
			.tap_name = dev->name,
			.tap_alias = st->filter_name,
			.group = st->group,
			.stream = rng_stream(f->name) + port->slot + (size_t)d,
		};

		if (delay_engine_add(st->engine, f->env->broker, &path, &dev->path_id,
				     &dev->ifindex, e) < 0)
			return -e->code;
	}
	return 0;
}

static int inject_site(struct fault *f, struct net_site *site, struct err *e)
{
	const struct net_state *st = net_state_of(f);
	autobatch b = {0};

	net_foreach_port(site, port) {
		if (st->engine && add_paths(f, site, port, e) < 0)
			return -e->code;
		batch_port(f, port, &b);
	}
	return netlink_batch_run(site->nl, &b, e);
}

static bool is_there(const struct tc_filters *l, const struct net_record_filter *want,
		     const char *name)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct tc_filter *f = &l->items[i];

		if (f->pref == want->pref && f->handle == want->handle && streq(f->name, name) &&
		    memcmp(f->tag, want->tag, sizeof f->tag) == 0)
			return true;
	}
	return false;
}

/* The kernel's own dump must show each filter of this port. */
static int read_filters(struct net_site *site, const struct net_record_port *p, const char *name,
			struct err *e)
{
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++) {
		autofilters found = {0};
		bool asked = false;

		for (size_t i = 0; i < p->n_filters; i++) {
			if (p->filters[i].ingress != (d == NET_IN))
				continue;
			if (!asked && tc_filters_list(site->nl, p->ifindex, TC_PARENT(d == NET_IN),
						      &found, e) < 0)
				return -e->code;
			asked = true;
			if (!is_there(&found, &p->filters[i], name))
				return err_set(e, ENOENT, "%s: the filter just added at %s is not "
							  "in the kernel's list", p->name,
					       d == NET_IN ? "ingress" : "egress");
		}
	}
	return 0;
}

static int read_qdiscs(const struct fault *f, struct net_site *site, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	autoqdiscs found = {0};

	if (st->backend == NET_BACKEND_NONE)
		return 0;
	if (tc_qdiscs_list(site->nl, 0, &found, e) < 0)
		return -e->code;
	net_foreach_port(site, port)
		net_foreach_direction(p, d) {
			const struct net_device *dev = &port->device[d];

			if (net_limits(p) && !tc_qdisc_find(&found, dev->ifindex, "tbf"))
				return err_set(e, ENOENT, "%s: no tbf after adding it", dev->name);
			if (st->backend == NET_BACKEND_NETEM &&
			    !tc_qdisc_find(&found, dev->ifindex, "netem"))
				return err_set(e, ENOENT, "%s: no netem after adding it",
					       dev->name);
		}
	return 0;
}

static int read_back(const struct fault *f, struct net_site *site, struct err *e)
{
	autorecord r = {0};

	net_record_of(f, site, &r);
	for (size_t i = 0; i < r.n_ports; i++)
		if (read_filters(site, &r.ports[i], r.name, e) < 0)
			return -e->code;
	return read_qdiscs(f, site, e) < 0 ? -e->code : net_keep_as_set(f, site, e);
}

static int64_t lease_ns(const struct fault *f)
{
	return f->env->lease_ns ? f->env->lease_ns : default_lease_ns;
}

static int start_engine(struct fault *f, struct net_state *st, struct err *e)
{
	const struct delay_lease lease = {
		.map_fd = gate_control_fd(st->gate),
		.offset = offsetof(struct gate_control, lease_ns),
		.clock_shift_ns = gate_clock_shift(st->gate),
	};
	struct delay_params p;

	int r;

	net_delay_params(f, &p);
	r = delay_engine_start(&p, &lease, (uint16_t)(GATE_TOKEN + f->order), &st->engine, e);
	if (r == 0 && f->env->started)
		f->env->started(f->env->data, delay_engine_pidfd(st->engine));
	return r;
}

int net_inject(struct fault *f, struct err *e)
{
	struct net_state *st = net_state_of(f);

	net_probe_baseline_done(f);
	if (st->backend == NET_BACKEND_ENGINE && start_engine(f, st, e) < 0)
		return -e->code;
	net_foreach_site(st, site)
		if (inject_site(f, site, e) < 0)
			return err_wrap(e, "%s", site->id);
	net_foreach_site(st, site)
		if (read_back(f, site, e) < 0)
			return err_wrap(e, "%s", site->id);
	if (!st->engine && gate_arm(st->gate, lease_ns(f), e) < 0)
		return -e->code;
	st->injected = true;
	return 0;
}
