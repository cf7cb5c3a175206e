/*
 * Readings are few (some a second) and their range is anybody's, so they are kept and sorted;
 * latencies are many and of a known range, so they are counted in a histogram.
 */
#include "stats.h"

#include "interval.h"

#include <math.h>

/* Above it, a mean of the answers says nothing of the service. */
#define MEAN_FAILED_SHARE 0.01

enum { NEEDED = 30, NEEDED_ALL = 300 };

static bool reads_values(enum sample_type type)
{
	return type == SAMPLE_VALUE;
}

void stats_add(struct stats *st, const struct sample *s, double before)
{
	if (s->type == SAMPLE_RATIO) {
		st->bad += s->bad;
		st->total += s->total;
		return;
	}
	*(s->ok ? &st->ok : &st->failed) += MAX_OF(s->n, (uint64_t)1);
	st->unsent += s->unsent;
	if (s->type == SAMPLE_LATENCY && s->ok)
		histogram_add_many(&st->latency, s->latency_ns, MAX_OF(s->n, (uint64_t)1));
	if (s->type != SAMPLE_VALUE || !s->ok)
		return;
	*array_push(st->values, st->n_values) = s->value;
	if (!isnan(before))
		st->increase += s->value - before;
}

void stats_copy(struct stats *dst, const struct stats *src)
{
	dst->ok = src->ok;
	dst->failed = src->failed;
	dst->unsent = src->unsent;
	histogram_merge(&dst->latency, &src->latency);
}

void stats_reset(struct stats *st)
{
	struct histogram h = st->latency;

	histogram_reset(&h);
	free(st->values);
	*st = (struct stats){.latency = h};
}

void stats_done(struct stats *st)
{
	histogram_done(&st->latency);
	free(st->values);
	*st = (struct stats){0};
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double *sorted_values(const struct stats *st)
{
	double *v = xcalloc(st->n_values, sizeof *v);

	if (st->n_values)
		memcpy(v, st->values, st->n_values * sizeof *v);
	qsort(v, st->n_values, sizeof *v, by_value);
	return v;
}

static double mean_of(const double *v, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += v[i];
	return n ? sum / (double)n : NAN;
}

/* The sample of a rank from 1 to n: requests that failed come after every answer. */
static double at_rank(const struct stats *st, bool values, const double *sorted, uint64_t rank)
{
	if (values)
		return sorted[rank - 1];
	return rank > st->latency.n ? INFINITY : (double)histogram_at_rank(&st->latency, rank);
}

static uint64_t n_measured(const struct stats *st, bool values)
{
	return values ? st->n_values : st->latency.n + st->failed;
}

static double quantile_value(const struct stats *st, bool values, double q)
{
	uint64_t n = n_measured(st, values);
	autofree double *sorted = values ? sorted_values(st) : NULL;

	return n ? at_rank(st, values, sorted, histogram_rank(n, q)) : NAN;
}

static double max_value(const struct stats *st, bool values)
{
	double max = NAN;

	if (!values && st->failed)
		return INFINITY;
	if (!values)
		return st->latency.n ? (double)st->latency.max : NAN;
	for (size_t i = 0; i < st->n_values; i++)
		max = fmax(max, st->values[i]);
	return max;
}

static double mean_latency(const struct stats *st)
{
	uint64_t n = n_measured(st, false);

	return (double)st->failed > MEAN_FAILED_SHARE * (double)n ? INFINITY
								  : histogram_mean(&st->latency);
}

/* Requests, readings or, for a ratio, its total: what success, rate and count are about. */
static double n_events(const struct stats *st, enum sample_type type)
{
	return type == SAMPLE_RATIO ? st->total : (double)(st->ok + st->failed);
}

static double share_of(const struct stats *st, enum sample_type type, enum objective_stat stat)
{
	double n = n_events(st, type);
	double bad = type == SAMPLE_RATIO ? st->bad : (double)st->failed;

	if (n <= 0)
		return NAN;
	return stat == STAT_RATIO ? bad / n : 1 - bad / n;
}

static double plain_value(const struct stats *st, enum sample_type type, const struct objective *o,
			  int64_t length_ns)
{
	bool values = reads_values(type);
	double amount = values ? st->increase : n_events(st, type);

	switch (o->stat) {
	case STAT_QUANTILE:
		return quantile_value(st, values, o->quantile);
	case STAT_MEAN:
		return values ? mean_of(st->values, st->n_values) : mean_latency(st);
	case STAT_MAX:
		return max_value(st, values);
	case STAT_RATIO:
	case STAT_SUCCESS:
		return share_of(st, type, o->stat);
	case STAT_RATE:
		if (type == SAMPLE_LATENCY)
			amount = (double)st->ok;
		return length_ns > 0 ? amount * NSEC_PER_SEC / (double)length_ns : NAN;
	case STAT_COUNT:
		return values && !st->n_values ? NAN : amount;
	case STAT_VALUE:
		return st->n_values ? st->values[st->n_values - 1] : NAN;
	}
	return NAN;
}

/* Readings are in seconds, objectives on them in ns when they were written with a unit of time. */
static double scale_of(enum sample_type type, const struct objective *o)
{
	return reads_values(type) && o->dim == DIM_TIME ? NSEC_PER_SEC : 1;
}

double stats_value(const struct stats *st, enum sample_type type, const struct objective *o,
		   int64_t length_ns)
{
	return plain_value(st, type, o, length_ns) * scale_of(type, o);
}

static void quantile_interval(const struct stats *st, bool values, double q, struct estimate *ret)
{
	autofree double *sorted = values ? sorted_values(st) : NULL;
	uint64_t n = n_measured(st, values), low, high;

	if (!n)
		return;
	interval_ranks(n, q, &low, &high);
	ret->low = low ? at_rank(st, values, sorted, low) : -INFINITY;
	ret->high = high <= n ? at_rank(st, values, sorted, high) : INFINITY;
}

/* Of Student's distribution, 97.5 %: at most a fifth too wide from 1 degree of freedom on. */
static double student(uint64_t freedom)
{
	double f = (double)freedom;

	return 1.96 + 2.4 / f + 8.4 / (f * f);
}

/* The histogram's rounding is far below its width. */
static void mean_interval(const struct stats *st, bool values, struct estimate *ret)
{
	uint64_t n = values ? st->n_values : st->latency.n;
	double sum_sq, half;

	if (isinf(ret->value))
		return;
	if (n < 2) {
		ret->low = -INFINITY;
		ret->high = INFINITY;
		return;
	}
	sum_sq = values ? 0 : histogram_sum_sq(&st->latency, ret->value);
	for (size_t i = 0; values && i < n; i++)
		sum_sq += (st->values[i] - ret->value) * (st->values[i] - ret->value);
	half = student(n - 1) * sqrt(sum_sq / (double)(n - 1) / (double)n);
	ret->low = ret->value - half;
	ret->high = ret->value + half;
}

static void share_interval(const struct stats *st, enum sample_type type, enum objective_stat stat,
			   struct estimate *ret)
{
	double n = n_events(st, type);
	double bad = type == SAMPLE_RATIO ? st->bad : (double)st->failed;

	/* A cost per request is no share: both counters are anybody's. */
	if (n <= 0 || bad > n || bad < 0)
		return;
	interval_share(stat == STAT_RATIO ? bad : n - bad, n, &ret->low, &ret->high);
}

/* The share that must not be exceeded: of failures for "success >= T", of successes for "<= T". */
static double spare_share(const struct objective *o)
{
	bool at_least = o->op == OP_GE || o->op == OP_GT;

	if (o->relative)
		return o->op == OP_WITHIN ? o->bound : fabs(1 - o->bound);
	if (o->op == OP_EQ)
		return fmin(o->bound, 1 - o->bound);
	return at_least ? 1 - o->bound : o->bound;
}

static uint64_t share_needed(const struct objective *o)
{
	double spare = spare_share(o);
	uint64_t n;

	/* A cost per request is no share. */
	if (o->stat == STAT_RATIO && !o->relative && o->bound >= 1)
		return NEEDED;
	if (spare <= 1e-9)
		return NEEDED_ALL;
	/* A hair less: 3 / (1 - 0.999) is 3000.0000000000027 in binary. */
	n = (uint64_t)ceil(fmin(3 / spare, 1e12) - 1e-6);
	return o->relative ? MAX_OF(n, (uint64_t)NEEDED) : n;
}

uint64_t stats_needed(const struct objective *o, enum sample_type type)
{
	switch (o->stat) {
	case STAT_QUANTILE:
		return interval_samples_needed(o->quantile);
	case STAT_MEAN:
	case STAT_MAX:
		return NEEDED;
	case STAT_RATE:
		return reads_values(type) ? 1 : NEEDED;
	case STAT_RATIO:
	case STAT_SUCCESS:
		return share_needed(o);
	default:
		return 1;
	}
}

/* "success >= 100%" and "ratio <= 0%" are about the number of failures: none. */
static bool is_none_failed(const struct stats *st, enum sample_type type, const struct objective *o)
{
	return !o->relative && spare_share(o) <= 1e-9 &&
	       (type == SAMPLE_RATIO ? st->bad <= 0 : st->failed == 0);
}

void stats_estimate(const struct stats *st, enum sample_type type, const struct objective *o,
		    int64_t length_ns, struct estimate *ret)
{
	bool values = reads_values(type);
	double scale = scale_of(type, o);

	*ret = (struct estimate){.low = NAN, .high = NAN, .needed = stats_needed(o, type)};
	ret->value = plain_value(st, type, o, length_ns);
	ret->samples = (uint64_t)n_events(st, type);
	if (o->stat == STAT_QUANTILE || o->stat == STAT_MEAN || o->stat == STAT_MAX)
		ret->samples = n_measured(st, values);
	if (o->stat == STAT_QUANTILE)
		quantile_interval(st, values, o->quantile, ret);
	else if (o->stat == STAT_MEAN)
		mean_interval(st, values, ret);
	else if ((o->stat == STAT_RATIO || o->stat == STAT_SUCCESS) && !is_none_failed(st, type, o))
		share_interval(st, type, o->stat, ret);
	ret->value *= scale;
	ret->low *= scale;
	ret->high *= scale;
}

static void add_quantiles(json_t *o, const struct stats *st, bool values)
{
	static const double quantiles[] = {0.5, 0.9, 0.95, 0.99, 0.999};
	uint64_t n = n_measured(st, values);
	autofree double *sorted = values ? sorted_values(st) : NULL;

	for (size_t i = 0; n && i < ARRAY_SIZE(quantiles); i++) {
		double v = at_rank(st, values, sorted, histogram_rank(n, quantiles[i]));
		char name[24];

		snprintf(name, sizeof name, "p%g%s", quantiles[i] * 100, values ? "" : "_ns");
		json_object_set_new(o, name, isinf(v)	? json_null()
					     : values ? json_real(v)
						      : json_integer((json_int_t)v));
	}
}

json_t *stats_json(const struct stats *st, enum sample_type type)
{
	json_t *o = json_object();

	if (type == SAMPLE_RATIO) {
		json_object_set_new(o, "bad", json_real(st->bad));
		json_object_set_new(o, "total", json_real(st->total));
		return o;
	}
	json_object_set_new(o, "ok", json_integer((json_int_t)st->ok));
	json_object_set_new(o, "failed", json_integer((json_int_t)st->failed));
	if (st->unsent)
		json_object_set_new(o, "unsent", json_integer((json_int_t)st->unsent));
	add_quantiles(o, st, reads_values(type));
	if (type == SAMPLE_LATENCY && st->latency.n) {
		json_object_set_new(o, "min_ns", json_integer(st->latency.min));
		json_object_set_new(o, "mean_ns", json_real(histogram_mean(&st->latency)));
		json_object_set_new(o, "max_ns", json_integer(st->latency.max));
	}
	if (type == SAMPLE_VALUE && st->n_values) {
		json_object_set_new(o, "mean", json_real(mean_of(st->values, st->n_values)));
		json_object_set_new(o, "max", json_real(max_value(st, true)));
		json_object_set_new(o, "last", json_real(st->values[st->n_values - 1]));
		json_object_set_new(o, "increase", json_real(st->increase));
	}
	return o;
}
