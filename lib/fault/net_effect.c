/*
 * Is the fault felt? Two witnesses must agree: the gate's counters say that packets met it, and
 * probes whose packets match it say what that did to them. Counters alone prove a loss, which the
 * gate itself decides, but never a delay.
 *
 * A probe is compared with the control that was sent beside it and that this fault alone let pass:
 * a fault that begins or ends on the same target meanwhile changes both alike.
 */
#include "../base/clock.h"
#include "../base/units.h"
#include "net.h"
#include "net_felt.h"
#include "net_probe.h"

#include <linux/neighbour.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>

enum {
	PROBED_SITES = 4,    /* of many targets, this many are probed */
	BASELINE_PROBES = 4, /* each, before the fault; the first pays for ARP */
	MIN_PROBES = 4,      /* fewer prove nothing */
	MIN_LOSSES = 10,     /* expected, before their absence means something */
};

static const int64_t baseline_wait_ns = 300 * NSEC_PER_MSEC;

static bool can_probe(const struct net_params *p)
{
	return p->protocol != NET_UDP;
}

static bool wants_tcp(const struct net_params *p)
{
	return p->protocol == NET_TCP;
}

/* In reach of the fault: covered by a peer, if there are peers. Fills in the port to probe. */
static bool matches(const struct net_state *st, const struct net_params *p, struct peer *d)
{
	if (!net_has_peers(p))
		return !wants_tcp(p);
	for (size_t i = 0; i < st->peers.n; i++) {
		if (!peer_covers(&st->peers.items[i], d))
			continue;
		d->port = st->peers.items[i].port;
		return d->port || !wants_tcp(p);
	}
	return false;
}

struct candidates {
	const struct net_state *st;
	const struct net_params *params;
	struct net_probe *probe;
};

static void add_candidate(struct candidates *c, const void *addr, int len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct peer d = {.prefix = 128};

	if (len == 4)
		memcpy(d.addr, mapped, sizeof mapped);
	memcpy(d.addr + 16 - len, addr, (size_t)len);
	/* Multicast, and link-local addresses, which need a device to be reached. */
	if ((len == 16 && (d.addr[0] == 0xff || (d.addr[0] == 0xfe && d.addr[1] == 0x80))) ||
	    (len == 4 && d.addr[12] >= 224))
		return;
	if (matches(c->st, c->params, &d))
		net_probe_add(c->probe, &d);
}

static int add_attr(const struct nlmsghdr *h, size_t header, int type, struct candidates *c)
{
	struct nlattr *a = nlmsg_find_attr((struct nlmsghdr *)h, (int)header, type);

	if (a && (nla_len(a) == 4 || nla_len(a) == 16))
		add_candidate(c, nla_data(a), nla_len(a));
	return 0;
}

/* Gateways, and hosts with a route of their own: behind a tunnel nobody is a neighbour. IPv6 has
 * such routes for the namespace's own addresses, too, made by the kernel. */
static int add_route(const struct nlmsghdr *h, void *data)
{
	const struct rtmsg *r = nlmsg_data(h);
	bool host = r->rtm_dst_len == (r->rtm_family == AF_INET ? 32 : 128);

	if (r->rtm_type != RTN_UNICAST)
		return 0;
	if (host && (r->rtm_family == AF_INET || r->rtm_protocol != RTPROT_KERNEL))
		add_attr(h, sizeof *r, RTA_DST, data);
	return add_attr(h, sizeof *r, RTA_GATEWAY, data);
}

static int add_neighbour(const struct nlmsghdr *h, void *data)
{
	const struct ndmsg *n = nlmsg_data(h);

	if (n->ndm_state & (NUD_NOARP | NUD_FAILED | NUD_INCOMPLETE))
		return 0;
	return add_attr(h, sizeof *n, NDA_DST, data);
}

static void add_hosts(const struct fault *f, struct candidates *c)
{
	const struct vantage *v = f->env->vantage;

	for (size_t i = 0; v && i < v->hosts.n; i++) {
		autofree char *first = xstrdup(v->hosts.items[i].value);
		struct peer p;

		first[strcspn(first, ", ")] = '\0';
		if (peer_parse_address(first, &p, NULL) == 0 && matches(c->st, c->params, &p))
			net_probe_add(c->probe, &p);
	}
}

/* NULL when there is nobody to ask. */
static struct net_probe *new_probe(const struct fault *f, const struct net_site *site)
{
	const struct rtmsg route = {0};
	const struct ndmsg neighbour = {0};
	struct candidates c = {
		.st = net_state_of(f),
		.params = net_params_of(f),
		.probe = net_probe_new(f->env->broker, site->target->netns_fd),
	};

	for (size_t i = 0; i < c.st->peers.n; i++) {
		const struct peer *p = &c.st->peers.items[i];

		if (p->prefix == 128 && (p->port || !wants_tcp(c.params)))
			net_probe_add(c.probe, p);
	}
	netlink_ask(site->nl, netlink_request(RTM_GETROUTE, NLM_F_DUMP, &route, sizeof route),
		    "list routes", add_route, &c, NULL);
	netlink_ask(site->nl,
		    netlink_request(RTM_GETNEIGH, NLM_F_DUMP, &neighbour, sizeof neighbour),
		    "list neighbours", add_neighbour, &c, NULL);
	add_hosts(f, &c);
	if (net_probe_has_destination(c.probe))
		return c.probe;
	net_probe_free(c.probe);
	return NULL;
}

void net_probe_start(struct fault *f)
{
	struct net_state *st = net_state_of(f);
	size_t n = 0;

	if (!can_probe(net_params_of(f)))
		return;
	net_foreach_site(st, site) {
		if (n++ == PROBED_SITES)
			return;
		site->probe = new_probe(f, site);
		for (int i = 0; site->probe && i < BASELINE_PROBES; i++)
			net_probe_send(site->probe);
	}
}

static size_t unanswered(struct net_state *st)
{
	size_t n = 0;

	net_foreach_site(st, site) {
		if (!site->probe)
			continue;
		net_probe_read(site->probe);
		n += !net_probe_answered(site->probe);
	}
	return n;
}

/* From here on the probe's controls are let pass. */
static void settle(const struct net_state *st, const struct net_site *site)
{
	if (net_probe_is_settled(site->probe) || !net_probe_settle(site->probe))
		return;
	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			gate_exempt(st->gate, port->slot + (size_t)d, net_probe_flow(site->probe));
}

/* The answers came while the journal was written, except where nobody answers, or late because of
 * another fault: those probes settle when they do. */
void net_probe_baseline_done(struct fault *f)
{
	struct net_state *st = net_state_of(f);
	int64_t end = clock_now_ns() + baseline_wait_ns;

	while (unanswered(st) && clock_now_ns() < end)
		poll(NULL, 0, 5);
	net_foreach_site(st, site)
		if (site->probe)
			settle(st, site);
}

void net_probe_tick(struct fault *f)
{
	struct net_state *st = net_state_of(f);

	net_foreach_site(st, site)
		if (site->probe) {
			net_probe_read(site->probe);
			settle(st, site);
			net_probe_send(site->probe);
		}
}

/* All probed sites taken together. */
struct felt {
	struct net_probe_result probes; /* its samples are owned */
	struct gate_counters gate;
	uint64_t matched;
	uint64_t overlimits;
};

static void felt_done(struct felt *t)
{
	free(t->probes.added_ns);
}

static int64_t longest_delay(const struct fault *f)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);

	if (!net_wants(p, NET_DELAY, p->delay.given))
		return 0;
	return st->table.n ? delay_table_at(&st->table, st->table.n - 1)
			   : p->delay.latency_ns + p->delay.jitter_ns;
}

static void gather_probe(struct felt *t, const struct net_probe *probe, int64_t patience_ns)
{
	struct net_probe_result now = net_probe_now(probe, patience_ns), *sum = &t->probes;

	for (int kind = 0; kind < NET_PROBE_KINDS; kind++) {
		sum->count[kind].sent += now.count[kind].sent;
		sum->count[kind].answered += now.count[kind].answered;
		sum->count[kind].duplicates += now.count[kind].duplicates;
	}
	for (size_t i = 0; i < now.n_added; i++)
		*array_push(sum->added_ns, sum->n_added) = now.added_ns[i];
}

static bool is_device_of(const struct net_site *site, int ifindex)
{
	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			if (port->device[d].ifindex == ifindex)
				return true;
	return false;
}

static void gather_limits(const struct fault *f, struct net_site *site, struct felt *t)
{
	autoqdiscs q = {0};

	if (!net_limits(net_params_of(f)) || !site->nl ||
	    tc_qdiscs_list(site->nl, 0, &q, NULL) < 0)
		return;
	for (size_t i = 0; i < q.n; i++)
		if (q.items[i].handle == NET_HANDLE_LIMIT && is_device_of(site, q.items[i].ifindex))
			t->overlimits += q.items[i].overlimits + q.items[i].drops;
}

static void gather(const struct fault *f, struct felt *t)
{
	int64_t patience = 2 * longest_delay(f) + NSEC_PER_SEC;

	net_foreach_site(net_state_of(f), site) {
		net_sum_counters(f, site, &t->gate);
		gather_limits(f, site, t);
		if (!site->probe)
			continue;
		net_probe_read(site->probe);
		gather_probe(t, site->probe, patience);
	}
	t->matched = MAX_OF(t->gate.stage[GATE_DROP].matched, t->gate.stage[GATE_DELAY].matched);
}

static void add_text(struct effect *ret, const char *fmt, ...) format_like(2, 3);

static void add_text(struct effect *ret, const char *fmt, ...)
{
	size_t n = strlen(ret->measured), len = sizeof ret->measured;
	va_list ap;

	if (n && n + 2 < len) {
		strcpy(ret->measured + n, "; ");
		n += 2;
	}
	va_start(ap, fmt);
	vsnprintf(ret->measured + n, len - n, fmt, ap);
	va_end(ap);
}

static void add_answers(const struct felt *t, struct effect *ret)
{
	add_text(ret, "%llu of %llu probes answered",
		 (unsigned long long)t->probes.count[NET_PROBE_FELT].answered,
		 (unsigned long long)t->probes.count[NET_PROBE_FELT].sent);
}

static enum effect_state feel_delay(const struct fault *f, struct felt *t, struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	struct net_asked asked = net_asked_delay(p, &net_state_of(f)->table);
	char text[UNITS_TEXT_MAX];
	int64_t added;

	if (t->probes.n_added < MIN_PROBES) {
		add_answers(t, ret);
		return EFFECT_UNKNOWN;
	}
	added = net_probe_quantile(t->probes.added_ns, t->probes.n_added, 0.5);
	add_text(ret, "RTT %s%s (p50 of %zu probes)", added < 0 ? "-" : "+",
		 units_duration(added < 0 ? -added : added, text), t->probes.n_added);
	return !t->matched ? EFFECT_NONE
			   : net_delay_felt(&asked, net_egress(p) + net_ingress(p), t->probes.added_ns,
					    t->probes.n_added, 0);
}

static enum effect_state feel_loss(const struct fault *f, const struct felt *t,
				   struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	double chance = p->action == NET_PARTITION ? 1 : p->loss.ppm / 1e6;
	uint64_t met = t->gate.stage[GATE_DROP].matched;

	add_text(ret, "%.3g %% of %llu packets lost", met ? 100.0 * (double)t->gate.dropped /
								  (double)met : 0,
		 (unsigned long long)met);
	if (p->action == NET_PARTITION && t->probes.count[NET_PROBE_FELT].sent)
		add_answers(t, ret);
	if (t->gate.dropped)
		return EFFECT_MEASURED;
	return (double)met * chance >= MIN_LOSSES ? EFFECT_NONE : EFFECT_UNKNOWN;
}

/* More than what happened to the controls, and more than chance would make of it. */
static uint64_t excess(uint64_t probes, uint64_t controls)
{
	double more = (double)probes - (double)controls;

	return more > 3 * sqrt(2 * (double)controls) ? (uint64_t)more : 0;
}

static uint64_t unanswered_probes(const struct felt *t, int kind)
{
	return t->probes.count[kind].sent -
	       MIN_OF(t->probes.count[kind].answered, t->probes.count[kind].sent);
}

/* Duplicates and damage: the engine counts them; netem does not, but probes see them. */
static enum effect_state feel_damage(const struct fault *f, const struct felt *t,
				     struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	bool dup = net_wants(p, NET_DUPLICATE, p->duplicate.ppm);
	uint64_t n = dup ? excess(t->probes.count[NET_PROBE_FELT].duplicates,
				  t->probes.count[NET_PROBE_CONTROL].duplicates)
			 : excess(unanswered_probes(t, NET_PROBE_FELT),
				  unanswered_probes(t, NET_PROBE_CONTROL));
	struct delay_counters c = {0};

	if (st->engine) {
		delay_engine_counters(st->engine, DELAY_ALL, &c);
		n = dup ? c.duplicated : c.corrupted;
	}
	add_text(ret, "%llu %s %s", (unsigned long long)n, st->engine ? "packets" : "probes",
		 dup ? "duplicated" : st->engine ? "damaged" : "lost to damage");
	return n ? EFFECT_MEASURED : EFFECT_UNKNOWN;
}

static enum effect_state feel_limit(const struct felt *t, struct effect *ret)
{
	add_text(ret, "%llu packets had to wait or were lost at the limit",
		 (unsigned long long)t->overlimits);
	return t->overlimits ? EFFECT_MEASURED : EFFECT_UNKNOWN;
}

/* A part that was looked for in vain outweighs one that was found. */
static void combine(struct effect *ret, enum effect_state part)
{
	if (ret->state == EFFECT_NONE || part == EFFECT_NONE)
		ret->state = EFFECT_NONE;
	else if (part == EFFECT_MEASURED)
		ret->state = EFFECT_MEASURED;
}

int net_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	struct felt t = {0};

	(void)e;
	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	net_describe(p, ret->requested, sizeof ret->requested);
	if (!net_state_of(f)->injected)
		return 0;
	gather(f, &t);
	if (net_wants(p, NET_DELAY, p->delay.given))
		combine(ret, feel_delay(f, &t, ret));
	if (net_drops(p))
		combine(ret, feel_loss(f, &t, ret));
	if (net_wants(p, NET_DUPLICATE, p->duplicate.ppm) ||
	    net_wants(p, NET_CORRUPT, p->corrupt.ppm))
		combine(ret, feel_damage(f, &t, ret));
	if (net_limits(p))
		combine(ret, feel_limit(&t, ret));
	if (!t.matched)
		add_text(ret, "no packet met the gate");
	felt_done(&t);
	return 0;
}
