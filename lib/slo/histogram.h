/*
 * histogram - latencies in buckets of constant relative width
 *
 * Values from 0 to one hour in ns. Below 2048 ns every value has a bucket of its own; above, a
 * bucket is at most 1/1024 of its value wide and stands for its middle, so that what is read back
 * is within 0.049 % (HISTOGRAM_ERROR) of what was recorded. Longer values count in the last
 * bucket. The smallest and largest value, the count and the sum are exact.
 *
 * Owns:   132 KiB, allocated by the first value; a zeroed struct is an empty histogram
 * Source: HdrHistogram, Gil Tene, 2012: log-linear buckets with a power of two of steps
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define HISTOGRAM_ERROR (1.0 / 2048)
#define HISTOGRAM_MAX_NS (3600 * 1000000000LL)

struct histogram {
	uint32_t *counts;
	uint64_t n;
	int64_t min, max; /* exact; of no meaning when n is 0 */
	double sum;
};

void histogram_add(struct histogram *h, int64_t ns); /* negative counts as 0 */
void histogram_add_many(struct histogram *h, int64_t ns, uint64_t n);
void histogram_merge(struct histogram *h, const struct histogram *other);
void histogram_reset(struct histogram *h); /* keeps the memory */
void histogram_done(struct histogram *h);

/* The value of a rank from 1 (smallest) to n; 0 when the histogram is empty. */
int64_t histogram_at_rank(const struct histogram *h, uint64_t rank);
/* The smallest value that a share q of all does not exceed: rank ceil(q * n). */
int64_t histogram_quantile(const struct histogram *h, double q);
uint64_t histogram_rank(uint64_t n, double q);
/* How many values are above ns, to the width of its bucket. */
uint64_t histogram_count_above(const struct histogram *h, int64_t ns);
double histogram_mean(const struct histogram *h); /* NAN when empty */
/* Sum over all values of (value - centre)^2. */
double histogram_sum_sq(const struct histogram *h, double centre);
