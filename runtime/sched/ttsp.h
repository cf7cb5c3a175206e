/*
 * ttsp - time to safepoint: how long stops of the world had to wait, a histogram per cause
 *
 * Units: nanoseconds. Buckets are log-linear, 16 to an octave: an error of at most 6.25 %.
 * Threads: one writer (the stopper), any reader
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { TTSP_CAUSES = 16, TTSP_BUCKETS = 16 * 40 };

struct ttsp {
	const char *cause;
	_Atomic uint64_t count, sum_ns, max_ns;
	_Atomic uint32_t last_of_max; /* id + 1 of the P that came last then; 0: nobody had to come */
	_Atomic uint32_t bucket[TTSP_BUCKETS];
};

/* cause must stay. */
void ttsp_add(const char *cause, int64_t ns, uint32_t last);
/* One more in any histogram of this form. any */
void ttsp_note(struct ttsp *t, int64_t ns, uint32_t last);
/* All causes so far; *ret_n of them. */
const struct ttsp *ttsp_all(size_t *ret_n);
/* How many samples were below ns, to the width of a bucket. */
uint64_t ttsp_below(const struct ttsp *t, int64_t ns);
/* The upper edge of the bucket that holds quantile q of 0..1; 0 without samples. */
int64_t ttsp_quantile(const struct ttsp *t, double q);
