/*
 * latency - how long coroutines that could run waited for a P, as a histogram (Go's
 *           /sched/latencies:seconds)
 *
 * A switch takes about as long as reading the clock once, so only some are measured. A P chooses,
 * with equal odds for each, one in 2^shift of the coroutines that leave it or are new; the chosen one
 * is measured when it can run again, and counts 2^shift times. The distances between choices are
 * geometric, so no pattern in the work is in step with them. shift follows the work: a P that
 * switches now and then measures every one, a busy one about every 100 us.
 *
 * The choice falls where the scheduler looks around anyway (look_in), so that what is not chosen
 * pays for one word in a test that tracing needs too.
 *
 * Units:   nanoseconds
 * Threads: a P's part belongs to the thread that holds it; any may read the buckets
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LATENCY_BUCKETS = 26 }; /* up to 1.024 us, each twice the one before, up to 17 s, and beyond */

struct p;
struct rt_co;

struct latency {
	_Atomic uint64_t bucket[LATENCY_BUCKETS], sum_ns; /* weighted */
	/* Leaves, and new coroutines, until the next choice, and 2^shift when that was drawn (0: 1). */
	int32_t in, new_in;
	uint32_t weight, new_weight;
	uint32_t shift, draws;
	int64_t last_ns; /* when one was measured last */
};

/* co leaves p (NULL: it has lost it), towards the scheduler's loop. waits: it is not runnable. */
void latency_leave(struct p *p, struct rt_co *co, bool waits);
/* Made with p, when new_in has run out. */
void latency_new(struct p *p, struct rt_co *co) __attribute__((cold));
/* A chosen one becomes runnable; begins to run on p. */
void latency_ready(struct rt_co *co);
void latency_start(struct p *p, struct rt_co *co);
/* Before p looks for work: sets look_in to turn switches at most. now 0: unknown */
void latency_look(struct p *p, int32_t turn, int64_t now);

int64_t latency_bound(unsigned bucket); /* upper edge; INT64_MAX: the last one */
/* Of all Ps. */
struct latency_sum {
	uint64_t bucket[LATENCY_BUCKETS], sum_ns;
};
void latency_read(struct latency_sum *ret);
/* The upper edge of the bucket that holds quantile q of 0..1; 0 without samples. */
int64_t latency_quantile(const struct latency_sum *s, double q);
