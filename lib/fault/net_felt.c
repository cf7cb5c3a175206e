/*
 * The median of some dozen probes says little of a wide distribution: of one that is 20 ms or 100 ms
 * it may be either. So the delay is asked for that three quarters of the packets exceed; where that
 * is lost in the noise, the one that a quarter or a twentieth exceeds. Half of that delay counts as
 * felt, by at least half of the probes that should: what comes beside it, queues and the probes'
 * own jitter, only makes them later.
 */
#include "net_felt.h"

enum { MIN_EXPECTED = 3 }; /* delayed probes, before their absence means something */

static const int64_t noise_ns = NSEC_PER_MSEC; /* of a busy machine's round trips */

static struct net_asked asked_of_table(const struct delay_table *table)
{
	static const double shares[] = {0.75, 0.25, 0.05};
	struct net_asked a = {0};

	for (size_t i = 0; i < ARRAY_SIZE(shares) && a.delay_ns < noise_ns; i++) {
		a.share = shares[i];
		a.delay_ns = delay_table_at(table, (uint32_t)(table->n * (1 - shares[i])));
	}
	return a;
}

struct net_asked net_asked_delay(const struct net_params *p, const struct delay_table *table)
{
	const struct net_delay *d = &p->delay;
	struct net_asked a = {.delay_ns = d->latency_ns, .share = 1};

	if (table->n)
		a = asked_of_table(table);
	else if (d->jitter_ns)
		a = (struct net_asked){.delay_ns = d->latency_ns - d->jitter_ns / 2, .share = 0.75};
	if (d->reorder.given) /* those that overtake wait for nothing */
		a.share *= 1 - d->reorder.ppm / 1e6;
	return a;
}

enum effect_state net_delay_felt(const struct net_asked *a, int ways, const int64_t *rtt_ns, size_t n,
				 int64_t base_ns)
{
	double expected = a->share * (double)n;
	size_t late = 0;

	for (size_t i = 0; i < n; i++)
		late += 2 * (rtt_ns[i] - base_ns) >= a->delay_ns * ways;
	if (late && (double)late >= expected / 2)
		return EFFECT_MEASURED;
	return expected >= MIN_EXPECTED ? EFFECT_NONE : EFFECT_UNKNOWN;
}
