/*
 * What goes on while the fault is in force: the gate's counters, a lease that ran out,
 * namespaces that vanish, peers whose addresses change, targets that leave.
 */
#include "net.h"
#include "net_probe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

static void emit(const struct fault *f, enum event_type type, const char *name, const char *text,
		 int64_t value)
{
	event_emit(f->env->listener,
		   (struct event){.type = type, .name = name, .text = text, .value = value});
}

static void add_counters(struct gate_counters *sum, const struct gate_counters *n)
{
	for (int s = 0; s < GATE_STAGES; s++) {
		sum->stage[s].seen += n->stage[s].seen;
		sum->stage[s].matched += n->stage[s].matched;
		sum->stage[s].expired += n->stage[s].expired;
	}
	sum->dropped += n->dropped;
}

void net_sum_counters(const struct fault *f, const struct net_site *site,
		      struct gate_counters *ret)
{
	const struct net_state *st = net_state_of(f);
	const struct net_params *p = net_params_of(f);

	net_foreach_port(site, port)
		net_foreach_direction(p, d) {
			struct gate_counters n;

			gate_counters(st->gate, port->slot + (size_t)d, &n);
			add_counters(ret, &n);
		}
}

static void watch_lease(const struct fault *f, struct net_state *st)
{
	struct gate_counters sum = {0};
	uint64_t expired;

	net_foreach_site(st, site)
		net_sum_counters(f, site, &sum);
	/* A packet that meets both stages is counted at each. */
	expired = MAX_OF(sum.stage[GATE_DROP].expired, sum.stage[GATE_DELAY].expired);
	if (expired > st->expired_seen)
		emit(f, EVENT_LEASE_EXPIRED, f->name, "the gate let packets through",
		     (int64_t)(expired - st->expired_seen));
	st->expired_seen = expired;
}

/* A TAP's descriptor holds the namespace just as a socket does. */
static void leave_paths(const struct fault *f, const struct net_site *site)
{
	const struct net_state *st = net_state_of(f);
	const struct net_params *p = net_params_of(f);

	if (!st->engine || !st->injected)
		return;
	net_foreach_port(site, port)
		net_foreach_direction(p, d)
			delay_engine_remove(st->engine, port->device[d].path_id, NULL);
}

static void let_go(const struct fault *f, struct net_site *site)
{
	site->gone = true;
	netlink_close(site->nl);
	site->nl = NULL;
	net_probe_free(site->probe);
	site->probe = NULL;
	net_notices_free(site->notices);
	site->notices = NULL;
}

/* A handle on a dead pod's namespace would keep its addresses answering. */
static void watch_targets(const struct fault *f, struct net_state *st)
{
	net_foreach_site(st, site)
		if (!site->gone && site->target->netns_fd < 0) {
			leave_paths(f, site);
			let_go(f, site);
		}
}

static int take_peers(struct fault *f, struct net_state *st, struct peers *now, struct err *e)
{
	struct peers old;
	autofree char *text = NULL;

	peers_sort(now);
	if (peers_equal(now, &st->peers))
		return 0;
	if (gate_set_peers(st->gate, now, e) < 0)
		return -e->code;
	old = st->peers;
	st->peers = *now;
	*now = old;
	text = xasprintf("peers have %zu addresses now", st->peers.n);
	emit(f, EVENT_CHANGED, f->name, text, (int64_t)st->peers.n);
	return 0;
}

/* A name that has no address any more keeps the one it had. */
static int watch_names(struct fault *f, struct net_state *st, struct err *e)
{
	autopeers now = {0};
	const char *unknown;

	if (!st->names)
		return 0;
	names_get(st->names, &now, &unknown);
	if (unknown)
		return 0;
	peers_done(&now);
	if (net_resolve_peers(f, &now, e) < 0)
		return -e->code;
	return take_peers(f, st, &now, e);
}

static int watch_engine(const struct net_state *st, struct err *e)
{
	struct pollfd p = {.events = POLLIN};

	if (!st->engine)
		return 0;
	p.fd = delay_engine_pidfd(st->engine);
	if (poll(&p, 1, 0) == 1)
		return err_set(e, EOWNERDEAD, "the delay engine's process has died");
	return 0;
}

int net_tick(struct fault *f, struct err *e)
{
	struct net_state *st = net_state_of(f);

	if (!st->injected)
		return 0;
	watch_targets(f, st);
	watch_lease(f, st);
	net_probe_tick(f);
	net_rate_tick(f);
	if (watch_engine(st, e) < 0)
		return -e->code;
	return watch_names(f, st, e);
}

static bool lists_site(const struct target_list *l, const struct net_site *site)
{
	for (size_t i = 0; i < l->n; i++)
		if (netns_same(l->items[i]->netns_id, site->netns_id))
			return true;
	return false;
}

/* What its devices hold must come back while the filters that take the tokens off still stand. */
static int revert_site(struct fault *f, const struct net_site *site, struct err *e)
{
	const struct net_state *st = net_state_of(f);

	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			gate_close_slot(st->gate, port->slot + (size_t)d);
	leave_paths(f, site);
	for (size_t i = 0; i < f->undo.n; i++) {
		struct undo_result r = {0};

		if (!netns_same(f->undo.items[i].netns_id, site->netns_id))
			continue;
		net_revert_open_gate(&f->undo.items[i], f->env->broker, &r);
		if (r.outcome == UNDO_FAILED)
			return err_set(e, EIO, "%s: %s", site->id, r.text);
	}
	return 0;
}

int net_retarget(struct fault *f, const struct target_list *now, struct err *e)
{
	struct net_state *st = net_state_of(f);
	autopeers peers = {0};

	watch_targets(f, st);
	net_foreach_site(st, site) {
		if (site->gone || lists_site(now, site))
			continue;
		if (revert_site(f, site, e) < 0)
			return -e->code;
		let_go(f, site);
		emit(f, EVENT_CHANGED, site->id, "no longer a target", 0);
	}
	if (!net_has_peers(net_params_of(f)))
		return 0;
	if (net_resolve_peers(f, &peers, e) < 0)
		return -e->code;
	return take_peers(f, st, &peers, e);
}

void net_off(struct fault *f)
{
	struct net_state *st = net_state_of(f);

	if (st && st->gate)
		gate_close(st->gate);
	/* Or what it holds would be lost with the TAPs. */
	if (st && st->engine)
		delay_engine_flush(st->engine, NULL);
}

static json_t *site_to_json(const struct fault *f, const struct net_site *site)
{
	const struct net_state *st = net_state_of(f);
	const struct net_params *p = net_params_of(f);
	json_t *list = json_array();

	net_foreach_port(site, port)
		net_foreach_direction(p, d) {
			struct gate_counters n;
			int stage = net_drops(p) ? GATE_DROP : GATE_DELAY;

			gate_counters(st->gate, port->slot + (size_t)d, &n);
			json_array_append_new(
				list,
				json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "device", port->name,
					  "direction", d == NET_IN ? "from" : "to", "seen",
					  (json_int_t)n.stage[stage].seen, "matched",
					  (json_int_t)n.stage[stage].matched, "lost",
					  (json_int_t)n.dropped, "leaseExpired",
					  (json_int_t)n.stage[stage].expired));
		}
	return json_pack("{s:s, s:b, s:o}", "target", site->id, "gone", site->gone, "gates", list);
}

static json_t *engine_to_json(const struct net_state *st)
{
	struct delay_counters n;
	int64_t packets;

	delay_engine_counters(st->engine, DELAY_ALL, &n);
	packets = n.packets ? (int64_t)n.packets : 1;
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "packets",
			 (json_int_t)n.packets, "delivered", (json_int_t)n.delivered, "reordered",
			 (json_int_t)n.reordered, "duplicated", (json_int_t)n.duplicated,
			 "corrupted", (json_int_t)n.corrupted, "droppedAtLimit",
			 (json_int_t)n.dropped_limit, "meanDelayNs",
			 (json_int_t)((int64_t)n.delay_sum_ns / packets), "meanLateNs",
			 (json_int_t)((int64_t)n.late_sum_ns / packets), "maxLateNs",
			 (json_int_t)n.late_max_ns);
}

/* Targets at which nothing was seen and nothing went wrong are only counted. */
static json_t *sites_to_json(const struct fault *f, size_t *ret_idle)
{
	const struct net_state *st = net_state_of(f);
	json_t *sites = json_array();

	*ret_idle = 0;
	if (!st->gate)
		return sites;
	net_foreach_site(st, site) {
		struct gate_counters n = {0};

		net_sum_counters(f, site, &n);
		if (!n.stage[GATE_DROP].seen && !n.stage[GATE_DELAY].seen && !site->gone)
			++*ret_idle;
		else
			json_array_append_new(sites, site_to_json(f, site));
	}
	return sites;
}

int net_report(struct fault *f, json_t **ret, struct err *e)
{
	struct net_state *st = net_state_of(f);
	size_t idle;
	json_t *sites = sites_to_json(f, &idle), *notes = json_array();
	char what[96];

	(void)e;
	net_describe(net_params_of(f), what, sizeof what);
	if (!st->seeded)
		json_array_append_new(notes, json_string("netem's part is not replayable by seed "
							 "before Linux 6.7"));
	if (net_drops(net_params_of(f)))
		json_array_append_new(notes, json_string("losses count packets as the stack hands "
							 "them over: a GSO packet is one"));
	if (st->engine)
		json_array_append_new(notes, json_string("mark, priority and socket of delayed "
							 "packets are lost on the way"));
	if (net_has_pair(st))
		json_array_append_new(notes, json_string("the priority of packets that went through "
							 "the veth pair is lost on the way"));
	*ret = json_pack("{s:s, s:s, s:I, s:o, s:I, s:o}", "requested", what, "backend",
			 st->backend_text, "peers", (json_int_t)st->peers.n, "targets", sites,
			 "idleTargets", (json_int_t)idle, "notes", notes);
	if (st->engine)
		json_object_set_new(*ret, "engine", engine_to_json(st));
	return 0;
}
