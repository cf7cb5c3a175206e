/*
 * Does the token bucket let pass what was asked for? Only while more wants through than may: then
 * what passes is the rate. That is so from one look to the next when packets wait at both and some
 * were made to in between; and when more passed than the rate and a full bucket allow. A bucket that
 * drops has a full queue, which must pass or wait: where it did neither, the bucket lets nothing
 * through.
 */
#include "../base/clock.h"
#include "net.h"

#include <stdio.h>

enum {
	LOOKED_SITES = 16,      /* of many targets, at so many */
	QUANTUM_MAX = 64 << 10, /* the largest packet that leaves at once */
};

static const int64_t full_min_ns = 200 * NSEC_PER_MSEC;

static uint64_t asked_Bps(const struct net_params *p)
{
	return p->action == NET_BANDWIDTH ? p->bandwidth.rate_Bps : p->rate.rate_Bps;
}

/* In one burst, beyond the rate. */
static uint64_t burst_of(const struct net_params *p)
{
	return MAX_OF((uint64_t)net_limit(p).burst_bytes, (uint64_t)1514);
}

static bool drops_all(const struct net_params *p, const struct net_passed *was,
		      const struct tc_qdisc *now)
{
	uint64_t left = now->bytes - was->bytes + now->backlog_bytes;

	return now->drops != was->drops && left < net_limit(p).limit_bytes / 10;
}

static bool was_full(const struct net_params *p, const struct net_passed *was,
		     const struct tc_qdisc *now, int64_t ns)
{
	uint64_t passed = now->bytes - was->bytes;
	double most = (double)asked_Bps(p) * (double)ns / NSEC_PER_SEC + (double)burst_of(p) + QUANTUM_MAX;
	bool refused = now->overlimits + now->drops != was->refused;

	return (refused && was->waiting && now->backlog_packets) || drops_all(p, was, now) ||
	       (double)passed > most;
}

static void look(const struct net_params *p, struct net_passed *w, const struct tc_qdisc *q,
		 int64_t now_ns)
{
	if (w->looked_ns && q->bytes >= w->bytes) {
		bool full = was_full(p, w, q, now_ns - w->looked_ns);

		w->refused_sum += q->overlimits + q->drops - w->refused;
		w->runs += full && !w->full;
		w->full = full;
		if (full) {
			w->full_ns += now_ns - w->looked_ns;
			w->full_bytes += q->bytes - w->bytes;
		}
	}
	w->looked_ns = now_ns;
	w->bytes = q->bytes;
	w->refused = q->overlimits + q->drops;
	w->drops = q->drops;
	w->waiting = q->backlog_packets > 0;
}

static struct net_passed *passed_at(struct net_site *site, int ifindex)
{
	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			if (ifindex && port->device[d].ifindex == ifindex)
				return &port->device[d].passed;
	return NULL;
}

void net_rate_tick(struct fault *f)
{
	const struct net_params *p = net_params_of(f);
	size_t n = 0;

	net_foreach_site(net_state_of(f), site) {
		int64_t now_ns = clock_now_ns();
		autoqdiscs q = {0};

		if (!net_limits(p) || n++ == LOOKED_SITES)
			return;
		if (!site->nl || tc_qdiscs_list(site->nl, 0, &q, NULL) < 0)
			continue;
		now_ns += (clock_now_ns() - now_ns) / 2;
		for (size_t i = 0; i < q.n; i++) {
			struct net_passed *w = passed_at(site, q.items[i].ifindex);

			if (w && q.items[i].handle == NET_HANDLE_LIMIT)
				look(p, w, &q.items[i], now_ns);
		}
	}
}

static struct effect_figure figure_of(const struct net_params *p, const struct net_passed *w)
{
	double s = (double)w->full_ns / NSEC_PER_SEC;
	uint64_t quantum = MIN_OF(burst_of(p), (uint64_t)QUANTUM_MAX);
	/* A packet or a burst at either end of each time that it was full. */
	double margin = w->full_bytes ? (double)(w->runs * quantum) : 0;

	return (struct effect_figure){
		.name = "rate",
		.unit = EFFECT_BYTES_PER_S,
		.asked = (double)asked_Bps(p),
		.value = (double)w->full_bytes / s,
		.low = MAX_OF((double)w->full_bytes - margin, 0.0) / s,
		.high = ((double)w->full_bytes + margin) / s,
		.tolerance = p->common.tolerance,
		.limit = true,
	};
}

static void say(struct effect *ret, const char *text)
{
	size_t n = strlen(ret->measured);

	snprintf(ret->measured + n, sizeof ret->measured - n, "%s%s", n ? "; " : "", text);
}

static void say_rate(struct effect *ret, const struct effect_figure *g, uint64_t refused)
{
	char value[40], asked[40], text[160];

	if (g->why[0])
		snprintf(text, sizeof text, "%llu packets had to wait or were lost at the limit; %s",
			 (unsigned long long)refused, g->why);
	else
		snprintf(text, sizeof text,
			 "%s of %s passed; %llu packets had to wait or were lost at the limit",
			 effect_number(g->unit, g->value, value, sizeof value),
			 effect_number(g->unit, g->asked, asked, sizeof asked), (unsigned long long)refused);
	say(ret, text);
}

void net_rate_feel(const struct fault *f, struct effect *ret)
{
	const struct net_params *p = net_params_of(f);
	struct effect_figure g = {.name = "rate", .unit = EFFECT_BYTES_PER_S,
				  .asked = (double)asked_Bps(p), .limit = true};
	const struct net_passed *fullest = NULL;
	uint64_t refused = 0;

	net_foreach_site(net_state_of(f), site)
		net_foreach_port(site, port)
			for (int d = NET_OUT; d < NET_DIRECTIONS; d++) {
				const struct net_passed *w = &port->device[d].passed;

				refused += w->refused_sum;
				if (w->full_ns < full_min_ns)
					continue;
				g = figure_of(p, w);
				effect_add(ret, &g);
				if (!fullest || w->full_ns > fullest->full_ns)
					fullest = w;
			}
	if (fullest) {
		g = figure_of(p, fullest);
	} else {
		snprintf(g.why, sizeof g.why, "the traffic did not fill the rate long enough to tell it");
		effect_add(ret, &g);
	}
	say_rate(ret, &g, refused);
}
