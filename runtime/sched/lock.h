/*
 * lock - the runtime's own mutex, for threads: held for tens of instructions, never across a park
 *
 * While a thread holds one it is neither stopped nor preempted (m->locks).
 * Threads: any, foreign ones included
 * Source:  the three-state futex mutex of Drepper, "Futexes Are Tricky", 2011
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

struct lock {
	_Atomic uint32_t word; /* 0 free, 1 held, 2 held and somebody sleeps */
};

static inline void lock_get(struct lock *l); /* in sched.h: they count in the thread's M */
static inline void lock_put(struct lock *l);
void lock_wait(struct lock *l); /* takes one that was found held */
/* The guard word of a public struct of rt.h is such a lock. */
#define lock_of(guard) ((struct lock *)(guard))

/* Waits while *word == value, at most ns (< 0: for ever); may return early. */
void futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t ns);
void futex_wake(_Atomic uint32_t *word, int n);
