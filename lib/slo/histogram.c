/*
 * The bucket of a value is its 11 leading bits and the number of bits cut off below them: one
 * count-leading-zeros and a shift. t-digest and DDSketch were weighed: both are smaller, but their
 * error depends on the data or on a logarithm per value, and 132 KiB a window is cheap.
 */
#include "histogram.h"

#include "../base/mem.h"

#include <math.h>

enum {
	STEPS_BITS = 10,
	STEPS = 1 << STEPS_BITS,
	SHIFTS = 32, /* 2047 << 31 ns is more than an hour */
	BUCKETS = STEPS * (SHIFTS + 1),
};

_Static_assert(2047LL << (SHIFTS - 1) > HISTOGRAM_MAX_NS, "an hour has a bucket");

static unsigned bucket_of(int64_t ns)
{
	uint64_t v = ns < 0 ? 0 : ns > HISTOGRAM_MAX_NS ? HISTOGRAM_MAX_NS : (uint64_t)ns;
	unsigned shift;

	if (v < 2 * STEPS)
		return (unsigned)v;
	shift = 63 - STEPS_BITS - (unsigned)__builtin_clzll(v);
	return shift * STEPS + (unsigned)(v >> shift);
}

static int64_t middle_of(unsigned bucket)
{
	unsigned shift;

	if (bucket < 2 * STEPS)
		return bucket;
	shift = bucket / STEPS - 1;
	return ((int64_t)(bucket % STEPS + STEPS) << shift) + (1LL << shift) / 2;
}

void histogram_add(struct histogram *h, int64_t ns)
{
	histogram_add_many(h, ns, 1);
}

void histogram_add_many(struct histogram *h, int64_t ns, uint64_t n)
{
	uint32_t *count;

	if (!n)
		return;
	ns = MAX_OF(ns, (int64_t)0);
	if (!h->counts)
		h->counts = xcalloc(BUCKETS, sizeof *h->counts);
	count = &h->counts[bucket_of(ns)];
	n = MIN_OF(n, (uint64_t)(UINT32_MAX - *count)); /* full: it loses weight, and n stays their sum */
	*count += (uint32_t)n;
	h->min = h->n ? MIN_OF(h->min, ns) : ns;
	h->max = h->n ? MAX_OF(h->max, ns) : ns;
	h->sum += (double)ns * (double)n;
	h->n += n;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
	if (!other->n)
		return;
	if (!h->counts)
		h->counts = xcalloc(BUCKETS, sizeof *h->counts);
	for (unsigned i = 0; i < BUCKETS; i++)
		h->counts[i] += other->counts[i];
	h->min = h->n ? MIN_OF(h->min, other->min) : other->min;
	h->max = h->n ? MAX_OF(h->max, other->max) : other->max;
	h->sum += other->sum;
	h->n += other->n;
}

void histogram_reset(struct histogram *h)
{
	uint32_t *counts = h->counts;

	if (counts && h->n)
		memset(counts, 0, BUCKETS * sizeof *counts);
	*h = (struct histogram){.counts = counts};
}

void histogram_done(struct histogram *h)
{
	free(h->counts);
	*h = (struct histogram){0};
}

int64_t histogram_at_rank(const struct histogram *h, uint64_t rank)
{
	uint64_t seen = 0;

	if (!h->n || rank <= 1)
		return h->n ? h->min : 0;
	if (rank >= h->n)
		return h->max;
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += h->counts[i];
		if (seen >= rank) {
			int64_t v = MAX_OF(middle_of(i), h->min);

			return MIN_OF(v, h->max);
		}
	}
	return h->max;
}

uint64_t histogram_rank(uint64_t n, double q)
{
	/* 0.07 * 100 is a hair above 7; its rank is 7 nevertheless. */
	double rank = ceil(q * (double)n - 1e-9 * (double)n);

	return rank < 1 ? 1 : rank > (double)n ? n : (uint64_t)rank;
}

int64_t histogram_quantile(const struct histogram *h, double q)
{
	return histogram_at_rank(h, histogram_rank(h->n, q));
}

uint64_t histogram_count_above(const struct histogram *h, int64_t ns)
{
	uint64_t above = 0;

	if (!h->n || ns >= h->max)
		return 0;
	for (unsigned i = bucket_of(ns) + 1; i < BUCKETS; i++)
		above += h->counts[i];
	return above;
}

double histogram_mean(const struct histogram *h)
{
	return h->n ? h->sum / (double)h->n : NAN;
}

double histogram_sum_sq(const struct histogram *h, double centre)
{
	double sum = 0;

	for (unsigned i = 0; h->n && i < BUCKETS; i++) {
		double d = (double)middle_of(i) - centre;

		sum += h->counts[i] * d * d;
	}
	return sum;
}
