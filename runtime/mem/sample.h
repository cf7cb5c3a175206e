/*
 * sample - a sample of the objects, and where they were made; private to runtime/
 *
 * Sample points are a Poisson process over the bytes that runs claim, one in rate bytes on average: an
 * object with a point in it is sampled. Since the process has no memory, it may be drawn anew at any
 * point of its way. A P's countdown (cache.sample_in) goes over the runs that it claims, and a point in
 * a run cuts it: the sampled cell, and what follows it, are the slow path's. The fast path knows nothing.
 *
 * An object of b bytes is sampled with probability 1 - exp(-b / rate), so that each sample stands for
 * the inverse of that: whoever reports scales, by the rate that was in force.
 *
 * Threads: sites and records are guarded by a lock of sample.c; readers of sites follow what is linked
 * Source:  Go's runtime/mprof.go and malloc.go; github.com/google/pprof, profile.proto
 */
#pragma once

#include "heap.h"

enum { SAMPLES_MAX = 1 << 22 }; /* of objects alive */

#define SAMPLE_RATE INT64_C(524288) /* bytes, from the start */

/* Objects of one size, made in one place under one rate. */
struct heap_site {
	_Atomic uint64_t allocs; /* sampled */
	size_t bytes;
	int64_t rate;
	/* Of the escape report (escape.h): how many of the sampled were seen so. */
	_Atomic uint32_t died, kept_in_frame, outlived, stored;
	uint32_t number; /* from 0, in the order of heap_site_next() */
	uint32_t n;
	uintptr_t pcs[];
};

/* Bytes from here to the next sample point; INT64_MAX: sampling is off. */
int64_t sample_draw(int64_t rate);
extern _Atomic int64_t heap_sample_rate; /* 0: off */
static inline int64_t sample_rate(void)
{
	/* relaxed: a P takes it up with its next run */
	return atomic_load_explicit(&heap_sample_rate, memory_order_relaxed);
}
/* The countdown begins anew when the rate has changed. */
void sample_restart(struct cache *c);
/* The object of b at addr, just made by the caller's caller, is sampled. */
void sample_note(const struct cache *c, struct block *b, uintptr_t addr, size_t bytes);
/* Before a block with sampled set is swept: marks are those of the cycle, and of finalisers. */
void sample_sweep(struct block *b);
void sample_reset(void); /* a runtime has ended: every object is gone */
size_t sample_own_bytes(void);

struct heap_site *heap_site_next(struct heap_site *after);
/* Of every site before n_sites: adds to alive[] its sampled objects that the last collection kept. What
 * was made since is not among them: much of that is garbage already. */
void heap_sites_alive(uint64_t *alive, size_t n_sites);
uint64_t heap_samples_lost(void); /* for want of room */

/* The caller's P claimed bytes: where the sample point lies in them; negative: in none of them. */
static inline int64_t sample_point(struct cache *c, size_t bytes)
{
	int64_t at;

	if (__builtin_expect(c->sample_rate != sample_rate(), 0))
		sample_restart(c);
	at = c->sample_in;
	if (__builtin_expect(at >= (int64_t)bytes, 1)) {
		c->sample_in = at - (int64_t)bytes;
		return -1;
	}
	c->sample_in = sample_draw(c->sample_rate);
	return at;
}
