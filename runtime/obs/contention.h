/*
 * contention - where coroutines waited for each other (block) and who made them wait (mutex)
 *
 * Threads: recording: the scheduler's hooks, on a coroutine's stack. Pages: coroutines
 * Source:  sampling and its correction as in Go's runtime/mprof.go
 */
#pragma once

#include "obs.h"
#include "out.h"

/* debug 0: gzipped profile.proto with contentions/count and delay/nanoseconds; else text. */
void block_profile(struct out *o, int debug);
void mutex_profile(struct out *o, int debug);

/* What was recorded, for the pages: a copy, largest delay first; freed by the caller. */
struct contention {
	double count, delay_ns;
	uint32_t n;
	uintptr_t pcs[];
};
enum contention_kind { CONTENTION_BLOCK, CONTENTION_MUTEX, CONTENTION_KINDS };
struct contention *contention_next(enum contention_kind kind, struct contention *after);
uint64_t contention_lost(enum contention_kind kind); /* for want of room */
int contention_mutex_fraction(void);
