/*
 * A file of some kilobytes can hold millions of delays, compressed, and most of them equal: they
 * are merged whenever their number has doubled. A table has 16384 steps, so half a million bins are
 * finer than anything that is made of them.
 */
#include "delay_bins.h"

#include "../base/clock.h"
#include "../base/mem.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { BINS_MAX = 1 << 20, BINS_FEW = 1 << 16 };

static const double longest_ns = 3600.0 * NSEC_PER_SEC; /* as of a latency that is written out */

static int by_delay(const void *a, const void *b)
{
	const struct delay_bin *x = a, *y = b;

	return (x->delay_ns > y->delay_ns) - (x->delay_ns < y->delay_ns);
}

static uint64_t sum_of(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void delay_bins_merge(struct delay_bins *b)
{
	size_t n = 0;

	if (b->n)
		qsort(b->items, b->n, sizeof *b->items, by_delay);
	for (size_t i = 0; i < b->n; i++) {
		if (n && b->items[n - 1].delay_ns == b->items[i].delay_ns)
			b->items[n - 1].count = sum_of(b->items[n - 1].count, b->items[i].count);
		else
			b->items[n++] = b->items[i];
	}
	b->n = b->merged = n;
}

/* Each pair becomes one, where the most of it was. */
static void coarsen(struct delay_bins *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n; i += 2) {
		struct delay_bin one = b->items[i];

		if (i + 1 < b->n && b->items[i + 1].count > one.count)
			one.delay_ns = b->items[i + 1].delay_ns;
		if (i + 1 < b->n)
			one.count = sum_of(one.count, b->items[i + 1].count);
		b->items[n++] = one;
	}
	b->n = b->merged = n;
}

static void keep_bounded(struct delay_bins *b)
{
	if (b->n < BINS_FEW || b->n < 2 * b->merged)
		return;
	delay_bins_merge(b);
	while (b->n > BINS_MAX / 2)
		coarsen(b);
}

int delay_bins_add(struct delay_bins *b, double delay_ns, uint64_t count, struct err *e)
{
	if (!(delay_ns >= 0 && delay_ns <= longest_ns))
		return err_set(e, EINVAL, "a delay of %g ns is out of range (0 to 1 h)", delay_ns);
	*array_push(b->items, b->n) = (struct delay_bin){llround(delay_ns), count};
	keep_bounded(b);
	return 0;
}
