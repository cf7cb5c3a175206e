/*
 * A constant delay is compared by the median. The median of some dozen probes says little of a wide
 * distribution: of one that is 20 ms or 100 ms it may be either. So of those the mean is compared,
 * without the tenth at either end, which noise and rare tails would decide alone, and that of the
 * asked distribution is taken alike. Where that is no delay to speak of, because only few packets
 * are to be late, the share of late ones is compared instead.
 *
 * Two ways add two independent delays: their sum has a distribution of its own.
 *
 * Intervals are of 99 %: order statistics for the median, Winsorized variance for the trimmed mean
 * (Tukey and McLaughlin, Sankhya A 25, 1963).
 */
#include "net_felt.h"

#include <math.h>
#include <stdio.h>

enum {
	STEPS = 64,       /* quantiles that stand for a distribution */
	MIN_EXPECTED = 3, /* late probes, before their number means something */
};

static const int64_t noise_ns = NSEC_PER_MSEC; /* of a busy machine's round trips, each way */
static const double z = 2.576;
static const double trim = 0.1;

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int by_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

bool net_delay_is_wide(const struct net_params *p, const struct delay_table *table)
{
	return table->n || p->delay.jitter_ns || p->delay.reorder.given;
}

/* After one that overtook, gap - 1 cannot, and then each may by chance. */
double net_reorder_share(const struct net_delay *d)
{
	double chance = d->reorder.ppm / 1e6;

	if (!d->reorder.given || chance <= 0)
		return 0;
	return 1 / ((double)MAX_OF(d->reorder.gap, (int64_t)1) - 1 + 1 / chance);
}

/* One way, the q-th quantile of what is not reordered. */
static double quantile(const struct net_params *p, const struct delay_table *table, double q)
{
	if (table->n)
		return (double)delay_table_at(table, (uint32_t)(q * table->n));
	return fmax(0, (double)p->delay.latency_ns + (2 * q - 1) * (double)p->delay.jitter_ns);
}

/* STEPS equally likely delays of one way, those that overtake first. */
static void fill_one_way(const struct net_params *p, const struct delay_table *table, double *ret)
{
	double at_once = net_reorder_share(&p->delay) * STEPS;

	for (int i = 0; i < STEPS; i++) {
		double q = (i + 0.5 - at_once) / (STEPS - at_once);

		ret[i] = q < 0 ? 0 : quantile(p, table, fmin(q, 1 - 0.5 / STEPS));
	}
}

/* Sorted; the caller frees. */
static double *round_trips(const struct net_params *p, const struct delay_table *table, int ways,
			   size_t *ret_n)
{
	double one[STEPS], *all;

	fill_one_way(p, table, one);
	*ret_n = ways == 2 ? STEPS * STEPS : STEPS;
	all = xcalloc(*ret_n, sizeof *all);
	for (size_t i = 0; i < *ret_n; i++)
		all[i] = one[i % STEPS] + (ways == 2 ? one[i / STEPS] : 0);
	qsort(all, *ret_n, sizeof *all, by_value);
	return all;
}

static double trimmed_mean(const double *sorted, size_t n)
{
	size_t cut = (size_t)(trim * (double)n);
	double sum = 0;

	for (size_t i = cut; i < n - cut; i++)
		sum += sorted[i];
	return sum / (double)(n - 2 * cut);
}

/* Of the mean, from samples whose tails are pulled in to where they are cut. Correlated delays vary
 * less from one to the next than in the long run. */
static double standard_error(const double *sorted, size_t n, double correlation)
{
	size_t cut = (size_t)(trim * (double)n);
	double mean = 0, sum = 0;

	for (size_t i = 0; i < n; i++)
		mean += sorted[MIN_OF(MAX_OF(i, cut), n - 1 - cut)] / (double)n;
	for (size_t i = 0; i < n; i++) {
		double off = sorted[MIN_OF(MAX_OF(i, cut), n - 1 - cut)] - mean;

		sum += off * off / (double)(n - 1);
	}
	return sqrt(sum / (double)n) / (1 - 2 * (double)cut / (double)n) *
	       sqrt((1 + correlation) / fmax(1 - correlation, 0.01));
}

/* Student's quantile, by its expansion in 1/df. */
static double student(size_t df)
{
	return z * (1 + (z * z + 1) / (4 * (double)df));
}

static void measure_mean(const struct net_params *p, const int64_t *sorted_ns, size_t n,
			 struct effect_figure *ret)
{
	autofree double *x = xcalloc(n, sizeof *x);
	double half;

	for (size_t i = 0; i < n; i++)
		x[i] = (double)sorted_ns[i];
	ret->value = trimmed_mean(x, n);
	half = student(n - 1) * standard_error(x, n, p->delay.correlation_ppm / 1e6);
	ret->low = ret->value - half;
	ret->high = ret->value + half;
}

static void measure_median(const int64_t *sorted_ns, size_t n, struct effect_figure *ret)
{
	double middle = (double)n / 2, half = z * sqrt((double)n) / 2;
	size_t low = (size_t)fmax(middle - half, 0), high = (size_t)fmin(middle + half, (double)(n - 1));

	ret->value = (double)sorted_ns[n / 2];
	ret->low = (double)sorted_ns[low];
	ret->high = (double)sorted_ns[high];
}

/* The share of round trips that are late by half of what the latest twentieth are to be. */
static void measure_tail(const double *asked, size_t n_asked, const int64_t *added_ns, size_t n,
			 struct effect_figure *ret)
{
	double from = asked[n_asked - 1 - n_asked / 20] / 2;
	size_t expected = 0, late = 0;

	for (size_t i = 0; i < n_asked; i++)
		expected += asked[i] >= from;
	for (size_t i = 0; i < n; i++)
		late += (double)added_ns[i] >= from;
	*ret = (struct effect_figure){
		.name = "late round trips",
		.unit = EFFECT_PERCENT,
		.asked = 100 * (double)expected / (double)n_asked,
	};
	effect_share(ret, (double)late, (double)n);
	if (ret->asked / 100 * (double)n < MIN_EXPECTED)
		snprintf(ret->why, sizeof ret->why, "%zu probes are too few for it", n);
}

static void too_few(struct effect_figure *ret, size_t n)
{
	snprintf(ret->why, sizeof ret->why, "%zu probes and their controls were answered", n);
}

void net_felt_delay(const struct net_params *p, const struct delay_table *table, int ways,
		    int64_t *added_ns, size_t n, struct effect_figure *ret)
{
	bool constant = !net_delay_is_wide(p, table);
	size_t n_asked;
	autofree double *asked = round_trips(p, table, ways, &n_asked);

	*ret = (struct effect_figure){
		.name = constant ? "round trip" : "mean round trip",
		.unit = EFFECT_NS,
		.asked = trimmed_mean(asked, n_asked),
		.samples = n,
		.slack = (double)(noise_ns * ways),
		/* A packet may wait behind others for a rate, or for its place. */
		.at_least = net_limits(p) || (!constant && p->delay.order == NET_ORDER_KEEP),
	};
	if (n < NET_MIN_PROBES) {
		too_few(ret, n);
		return;
	}
	qsort(added_ns, n, sizeof *added_ns, by_ns);
	if (ret->asked < (double)noise_ns && asked[n_asked - 1 - n_asked / 20] >= (double)noise_ns)
		measure_tail(asked, n_asked, added_ns, n, ret);
	else if (constant)
		measure_median(added_ns, n, ret);
	else
		measure_mean(p, added_ns, n, ret);
}

/* All of the asked distribution, tails included: n is of thousands. */
void net_felt_mean(const struct net_params *p, const struct delay_table *table, double mean_ns, uint64_t n,
		   struct effect_figure *ret)
{
	enum { FINE = 4096 };
	double at_once = net_reorder_share(&p->delay), mean = 0, square = 0, half;
	double rho = fmin(p->delay.correlation_ppm / 1e6, 0.99);

	for (int i = 0; i < FINE; i++) {
		double ns = quantile(p, table, (i + 0.5) / FINE), share = (1 - at_once) / FINE;

		mean += ns * share;
		square += ns * ns * share;
	}
	half = z * sqrt(fmax(square - mean * mean, 0) / (double)MAX_OF(n, (uint64_t)1) * (1 + rho) /
			(1 - rho));
	*ret = (struct effect_figure){
		.name = "mean delay of all packets",
		.unit = EFFECT_NS,
		.asked = mean,
		.value = mean_ns,
		.low = mean_ns - half,
		.high = mean_ns + half,
		.samples = n,
		.slack = (double)noise_ns,
		.at_least = p->delay.order == NET_ORDER_KEEP,
	};
}

void net_felt_reorder(const struct net_params *p, int ways, const int64_t *added_ns, size_t n,
		      struct effect_figure *ret)
{
	double share = net_reorder_share(&p->delay), from = (double)p->delay.latency_ns * (ways - 0.5);
	size_t early = 0;

	for (size_t i = 0; i < n; i++)
		early += (double)added_ns[i] < from;
	*ret = (struct effect_figure){.name = "packets that overtook", .unit = EFFECT_PERCENT,
				      .asked = 100 * (1 - pow(1 - share, ways))};
	if (n < NET_MIN_PROBES)
		too_few(ret, n);
	else
		effect_share(ret, (double)early, (double)n);
	if (!ret->why[0] && ret->asked / 100 * (double)n < MIN_EXPECTED)
		snprintf(ret->why, sizeof ret->why, "%zu probes are too few for it", n);
}
