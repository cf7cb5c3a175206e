#include "ttsp.h"

#include <string.h>

static struct ttsp causes[TTSP_CAUSES];
static _Atomic size_t n_causes;

static size_t bucket_of(uint64_t ns)
{
	unsigned octave;
	size_t i;

	if (ns < 16)
		return ns;
	octave = 63 - (unsigned)__builtin_clzll(ns);
	i = (octave - 3) * 16 + ((ns >> (octave - 4)) & 15);
	return i < TTSP_BUCKETS ? i : TTSP_BUCKETS - 1;
}

static int64_t upper_edge(size_t i)
{
	if (i < 16)
		return (int64_t)i;
	return (int64_t)((16 + i % 16 + 1) << (i / 16 - 1)) - 1;
}

static struct ttsp *of_cause(const char *cause)
{
	size_t n = atomic_load_explicit(&n_causes, memory_order_relaxed);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(causes[i].cause, cause))
			return &causes[i];
	if (n == TTSP_CAUSES)
		return &causes[n - 1];
	causes[n].cause = cause;
	/* release: pairs with ttsp_all() */
	atomic_store_explicit(&n_causes, n + 1, memory_order_release);
	return &causes[n];
}

void ttsp_note(struct ttsp *t, int64_t ns, uint32_t last)
{
	uint64_t max = atomic_load_explicit(&t->max_ns, memory_order_relaxed);

	atomic_fetch_add_explicit(&t->bucket[bucket_of((uint64_t)ns)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->sum_ns, (uint64_t)ns, memory_order_relaxed);
	while ((uint64_t)ns > max)
		if (atomic_compare_exchange_weak_explicit(&t->max_ns, &max, (uint64_t)ns,
							  memory_order_relaxed, memory_order_relaxed)) {
			atomic_store_explicit(&t->last_of_max, last, memory_order_relaxed);
			return;
		}
}

void ttsp_add(const char *cause, int64_t ns, uint32_t last)
{
	ttsp_note(of_cause(cause), ns, last);
}

const struct ttsp *ttsp_all(size_t *ret_n)
{
	*ret_n = atomic_load_explicit(&n_causes, memory_order_acquire);
	return causes;
}

int64_t ttsp_quantile(const struct ttsp *t, double q)
{
	uint64_t count = atomic_load_explicit(&t->count, memory_order_relaxed), seen = 0;
	uint64_t want = (uint64_t)(q * (double)count + 0.999999);

	for (size_t i = 0; count && i < TTSP_BUCKETS; i++) {
		seen += atomic_load_explicit(&t->bucket[i], memory_order_relaxed);
		if (seen >= want)
			return upper_edge(i);
	}
	return 0;
}

uint64_t ttsp_below(const struct ttsp *t, int64_t ns)
{
	uint64_t n = 0;

	for (size_t i = 0; i < TTSP_BUCKETS && upper_edge(i) < ns; i++)
		n += atomic_load_explicit(&t->bucket[i], memory_order_relaxed);
	return n;
}
