/*
 * Is the fault felt, and by as much as was asked for? Two witnesses must agree: the gate's counters
 * say what it did to the packets that met it, and probes whose packets match it say what came of it.
 * Counters alone prove a loss, which the gate itself decides, but never a delay; and what another
 * device adds, or lets by, only probes see.
 *
 * All targets are taken together, for one alone rarely has enough probes; each alone can contradict.
 */
#include "../base/units.h"
#include "net.h"
#include "net_felt.h"
#include "net_probe.h"

#include <math.h>
#include <stdio.h>

enum {
	MIN_EVENTS = 5, /* lost, duplicated, ... packets expected: fewer are chance */
	MIN_CUT = 5,    /* packets that met a partition */
};

/* What probes and gates have seen, at one site or at all of them. */
struct felt {
	struct net_probe_result probes; /* its samples are owned */
	struct gate_counters gate;
	uint64_t matched;
	uint64_t own; /* of those, the probes' packets, at most */
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

/* One target's probe may go to another's, whose gate meets it as well. */
static uint64_t own_packets(const struct fault *f, const struct net_probe *probe)
{
	const struct net_params *p = net_params_of(f);
	uint64_t out, in;

	net_probe_packets(probe, &out, &in);
	if (net_state_of(f)->n_sites > 1)
		return 2 * (out + in);
	return (net_egress(p) ? out : 0) + (net_ingress(p) ? in : 0);
}

static void gather_site(const struct fault *f, const struct net_site *site, struct felt *t)
{
	net_sum_counters(f, site, &t->gate);
	if (site->probe) {
		net_probe_read(site->probe);
		t->own += own_packets(f, site->probe);
		gather_probe(t, site->probe, 2 * longest_delay(f) + NSEC_PER_SEC);
	}
	t->matched = MAX_OF(t->gate.stage[GATE_DROP].matched, t->gate.stage[GATE_DELAY].matched);
}

static void gather(const struct fault *f, struct felt *t)
{
	net_foreach_site(net_state_of(f), site)
		gather_site(f, site, t);
}

/* Figures ------------------------------------------------------------------------------------- */

static struct effect_figure percent(const struct fault *f, const char *name, double asked_ppm)
{
	return (struct effect_figure){.name = name, .unit = EFFECT_PERCENT, .asked = asked_ppm / 1e4,
				      .tolerance = net_params_of(f)->common.tolerance};
}

static int ways(const struct net_params *p)
{
	return net_egress(p) + net_ingress(p);
}

/* Of packets, one way: of round trips that have ways of them. */
static double round_trip_ppm(const struct net_params *p, double ppm)
{
	return 1e6 * (1 - pow(1 - ppm / 1e6, ways(p)));
}

/* Of correlated events fewer are independent of each other. */
static void measure_share(struct effect_figure *g, double hits, double n, uint32_t correlation_ppm)
{
	double rho = fmin(correlation_ppm / 1e6, 0.99), independent = (1 - rho) / (1 + rho);

	if (n * g->asked / 100 < MIN_EVENTS)
		snprintf(g->why, sizeof g->why, "%.0f packets are too few to tell", n);
	if (n <= 0)
		return;
	effect_share(g, fmin(hits, n) * independent, n * independent);
	g->samples = (uint64_t)n;
}

static struct effect_figure delay_figure(const struct fault *f, struct felt *t)
{
	const struct net_params *p = net_params_of(f);
	struct effect_figure g;

	net_felt_delay(p, &net_state_of(f)->table, ways(p), t->probes.added_ns, t->probes.n_added, &g);
	g.tolerance = p->common.tolerance;
	return g;
}

/* Where each packet has another delay, the engine's sum over all of them is compared, once probes have
 * shown that there is a delay; they can still contradict. */
static bool engine_figure(const struct fault *f, const struct felt *t, struct effect_figure *ret)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	struct delay_counters c = {0};

	if (!st->engine || t->probes.n_added < NET_MIN_PROBES || !net_delay_is_wide(p, &st->table))
		return false;
	delay_engine_counters(st->engine, DELAY_ALL, &c);
	if (!c.packets)
		return false;
	net_felt_mean(p, &st->table, (double)(c.delay_sum_ns + c.late_sum_ns) / (double)c.packets, c.packets,
		      ret);
	ret->tolerance = p->common.tolerance;
	return true;
}

static struct effect_figure loss_figure(const struct fault *f, const struct felt *t)
{
	const struct net_params *p = net_params_of(f);
	struct effect_figure g = percent(f, "packets lost", p->loss.ppm);

	measure_share(&g, (double)t->gate.dropped, (double)t->gate.stage[GATE_DROP].matched,
		      p->loss.correlation_ppm);
	return g;
}

static uint64_t unanswered(const struct felt *t, int kind)
{
	return t->probes.count[kind].sent -
	       MIN_OF(t->probes.count[kind].answered, t->probes.count[kind].sent);
}

/* More than happened to the controls. A handshake repeats what was lost, and tells nothing. */
static bool lost_round_trips(const struct fault *f, const struct felt *t, double asked_ppm,
			     struct effect_figure *ret)
{
	const struct net_params *p = net_params_of(f);
	uint64_t sent = t->probes.count[NET_PROBE_CONTROL].sent,
		 without = unanswered(t, NET_PROBE_CONTROL);

	*ret = percent(f, "probes lost", round_trip_ppm(p, asked_ppm));
	if (p->protocol == NET_TCP || !sent || without * 5 > sent)
		return false;
	measure_share(ret, fmax(0, (double)unanswered(t, NET_PROBE_FELT) - (double)without),
		      (double)t->probes.count[NET_PROBE_FELT].sent, p->loss.correlation_ppm);
	return true;
}

/* Either all of it, or it is none: of what the gate met, and of the probes, which may go by it. */
static struct effect_figure partition_figure(const struct fault *f, const struct felt *t, bool probes)
{
	struct effect_figure g = percent(f, probes ? "probes without an answer" : "packets lost", 1e6);
	double n = (double)(probes ? t->probes.count[NET_PROBE_FELT].sent
				   : t->gate.stage[GATE_DROP].matched);
	double lost = (double)(probes ? unanswered(t, NET_PROBE_FELT) : t->gate.dropped);

	if (!tolerance_given(&g.tolerance))
		g.tolerance = (struct tolerance){0.99, 1.01};
	measure_share(&g, lost, n, 0);
	if (!g.why[0] && n < MIN_CUT)
		snprintf(g.why, sizeof g.why, "%.0f packets are too few to tell", n);
	return g;
}

static struct effect_figure duplicate_figure(const struct fault *f, const struct felt *t)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	struct effect_figure g = percent(f, "packets duplicated", p->duplicate.ppm);
	struct delay_counters c = {0};

	if (st->engine) {
		delay_engine_counters(st->engine, DELAY_ALL, &c);
		measure_share(&g, (double)c.duplicated, (double)c.packets, p->duplicate.correlation_ppm);
		return g;
	}
	g = percent(f, "probes duplicated", round_trip_ppm(p, p->duplicate.ppm));
	g.at_least = ways(p) == 2; /* a duplicate's answer may be duplicated again */
	measure_share(&g,
		      fmax(0, (double)t->probes.count[NET_PROBE_FELT].duplicates -
				      (double)t->probes.count[NET_PROBE_CONTROL].duplicates),
		      (double)t->probes.count[NET_PROBE_FELT].answered, p->duplicate.correlation_ppm);
	return g;
}

static struct effect_figure corrupt_figure(const struct fault *f, const struct felt *t)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	struct effect_figure g = percent(f, "packets damaged", p->corrupt.ppm);
	struct delay_counters c = {0};

	if (st->engine) {
		delay_engine_counters(st->engine, DELAY_ALL, &c);
		measure_share(&g, (double)c.corrupted, (double)c.packets, p->corrupt.correlation_ppm);
		return g;
	}
	if (!lost_round_trips(f, t, 1e6 * (1 - (1 - p->corrupt.ppm / 1e6) *
						      (net_drops(p) ? 1 - p->loss.ppm / 1e6 : 1)), &g))
		snprintf(g.why, sizeof g.why, "no probe could tell it");
	g.name = "probes lost to damage";
	return g;
}

static struct effect_figure reorder_figure(const struct fault *f, const struct felt *t)
{
	const struct net_params *p = net_params_of(f);
	const struct net_state *st = net_state_of(f);
	struct effect_figure g = percent(f, "packets that overtook", 1e6 * net_reorder_share(&p->delay));
	struct delay_counters c = {0};

	if (st->engine) {
		delay_engine_counters(st->engine, DELAY_ALL, &c);
		measure_share(&g, (double)c.overtook, (double)c.packets, p->delay.reorder.correlation_ppm);
		return g;
	}
	net_felt_reorder(p, ways(p), t->probes.added_ns, t->probes.n_added, &g);
	g.tolerance = p->common.tolerance;
	if (st->table.n || p->delay.jitter_ns)
		g.witness = true; /* an early one may have had a short delay */
	return g;
}

/* Words, and parts ---------------------------------------------------------------------------- */

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

/* "RTT +101 ms (p50 of 38 probes, asked +100 ms)" */
static void say_delay(struct felt *t, const struct effect_figure *g, struct effect *ret)
{
	char text[40], asked[40], mean[64] = "";
	int64_t added;

	if (t->probes.n_added < NET_MIN_PROBES) {
		add_answers(t, ret);
		return;
	}
	added = net_probe_quantile(t->probes.added_ns, t->probes.n_added, 0.5);
	if (g->unit == EFFECT_NS && (double)added != g->value)
		snprintf(mean, sizeof mean, "; mean %s",
			 effect_number(g->unit, g->value, text, sizeof text));
	effect_number(g->unit, g->asked, asked, sizeof asked);
	effect_number(EFFECT_NS, (double)added, text, sizeof text);
	add_text(ret, "RTT %s%s (p50 of %zu probes%s, asked %s%s)", added < 0 ? "" : "+", text,
		 t->probes.n_added, mean, g->unit == EFFECT_NS ? "+" : "late ", asked);
}

static void say_loss(const struct fault *f, const struct felt *t, struct effect *ret)
{
	uint64_t met = t->gate.stage[GATE_DROP].matched;

	add_text(ret, "%.3g %% of %llu packets lost",
		 met ? 100.0 * (double)t->gate.dropped / (double)met : 0, (unsigned long long)met);
	if (net_params_of(f)->action == NET_PARTITION && t->probes.count[NET_PROBE_FELT].sent)
		add_answers(t, ret);
}

static void say_share(const struct effect_figure *g, struct effect *ret)
{
	if (g->why[0])
		add_text(ret, "%s: %s", g->name, g->why);
	else
		add_text(ret, "%.3g %% of %llu %s", g->value, (unsigned long long)g->samples, g->name);
}

static void feel_loss(const struct fault *f, const struct felt *t, struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	struct effect_figure g;

	say_loss(f, t, ret);
	if (p->action == NET_PARTITION) {
		g = partition_figure(f, t, t->probes.count[NET_PROBE_FELT].sent >= MIN_CUT);
		effect_add(ret, &g);
		return;
	}
	g = loss_figure(f, t);
	effect_add(ret, &g);
	if (p->corrupt.ppm || !lost_round_trips(f, t, p->loss.ppm, &g))
		return;
	g.witness = true;
	effect_add(ret, &g);
}

static void feel(const struct fault *f, struct felt *t, struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	struct effect_figure g, all;

	if (net_wants(p, NET_DELAY, p->delay.given)) {
		g = delay_figure(f, t);
		say_delay(t, &g, ret);
		g.witness = engine_figure(f, t, &all);
		if (g.witness)
			effect_add(ret, &all);
		effect_add(ret, &g);
	}
	if (net_wants(p, NET_DELAY, p->delay.given) && net_reorder_share(&p->delay) > 0) {
		g = reorder_figure(f, t);
		say_share(&g, ret);
		effect_add(ret, &g);
	}
	if (net_drops(p))
		feel_loss(f, t, ret);
	if (net_wants(p, NET_DUPLICATE, p->duplicate.ppm)) {
		g = duplicate_figure(f, t);
		say_share(&g, ret);
		effect_add(ret, &g);
	}
	if (net_wants(p, NET_CORRUPT, p->corrupt.ppm)) {
		g = corrupt_figure(f, t);
		say_share(&g, ret);
		effect_add(ret, &g);
	}
	if (net_limits(p))
		net_rate_feel(f, ret);
}

static void add_witness(struct effect *ret, struct effect_figure g)
{
	g.witness = true;
	if (effect_compare(&g) != EFFECT_MEASURED && effect_compare(&g) != EFFECT_UNKNOWN)
		effect_add(ret, &g);
}

/* Where one target of many has another delay or loss, the others do not hide it. */
static void feel_site(const struct fault *f, const struct net_site *site, struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	struct felt t = {0};

	gather_site(f, site, &t);
	if (net_wants(p, NET_DELAY, p->delay.given))
		add_witness(ret, delay_figure(f, &t));
	if (p->action == NET_PARTITION && t.probes.count[NET_PROBE_FELT].sent)
		add_witness(ret, partition_figure(f, &t, true));
	else if (net_drops(p) && p->action != NET_PARTITION)
		add_witness(ret, loss_figure(f, &t));
	felt_done(&t);
}

int net_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct net_params *p = net_params_of(f);
	struct net_state *st = net_state_of(f);
	struct felt t = {0};

	(void)e;
	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	net_describe(p, ret->requested, sizeof ret->requested);
	if (!st->injected)
		return 0;
	gather(f, &t);
	feel(f, &t, ret);
	for (size_t i = 0; st->n_sites > 1 && i < st->n_sites; i++)
		feel_site(f, &st->sites[i], ret);
	ret->only_probes = t.matched && t.matched <= t.own;
	if (!t.matched)
		add_text(ret, "no packet met the gate");
	else if (ret->only_probes)
		add_text(ret, "no packet but brunt's probes met the gate");
	felt_done(&t);
	return 0;
}
