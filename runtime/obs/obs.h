/*
 * obs - what the scheduler calls so that it can be observed, and what the profiles share
 *
 * Threads: hooks are called by the scheduler where they are declared to be; with everything off each
 *          costs one load and one predictable branch
 */
#pragma once

#include "../sched/sched.h"

/* Of functions that look at what others change without a lock: what they tell is a moment's truth. */
#define OBS_RACY __attribute__((no_sanitize("thread")))

/* What is on: a bit each, so that a hook has one word to look at. */
enum obs_bit {
	OBS_BLOCK = 1,
	OBS_MUTEX = 2,
	OBS_TRACE = 4,
	OBS_CPU = 8,
};
extern _Atomic uint32_t obs_on; /* alone on its line: everybody reads it */
void obs_set(enum obs_bit bit, bool on);

/* relaxed: an event that races with the switch may be missed or taken */
static inline bool obs_is_on(uint32_t bits)
{
	return __builtin_expect(atomic_load_explicit(&obs_on, memory_order_relaxed) & bits, 0);
}

/* Whether anything is on, or also is not 0: one test for a path that has a slow way. */
static inline bool obs_any_on(uint32_t also)
{
	return __builtin_expect(atomic_load_explicit(&obs_on, memory_order_relaxed) | also, 0);
}

/* A moment of the last half second, kept by the monitor: good for "waits since" where reading the
 * clock would cost more than the work. */
extern _Atomic int64_t obs_coarse_ns;

/* thread.c: a thread's first and last act; new_thread() by who makes it. */
void obs_thread_made(struct m *m);
void obs_thread_begins(struct m *m);
void obs_thread_ends(struct m *m);
/* sysmon.c, each round; returns when it wants to be called again, RT_FOREVER: it does not care. */
int64_t obs_tick(int64_t now);
/* boot: reads RT_DEBUG. */
void obs_begin(void);

/* co_park(), before and after; r says why. */
static inline void obs_parks(struct rt_co *self)
{
	self->waits_since = obs_is_on(OBS_BLOCK)
		? now_ns() : atomic_load_explicit(&obs_coarse_ns, memory_order_relaxed);
}
void obs_blocked(struct rt_co *self, enum wait_reason r);
static inline void obs_parked(struct rt_co *self, enum wait_reason r)
{
	if (obs_is_on(OBS_BLOCK))
		obs_blocked(self, r);
}

/* Whoever unlocks a mutex for one that waits: since when that one does. */
void obs_contended(int64_t waits_since);
static inline void obs_unlocks_for(int64_t waits_since)
{
	if (obs_is_on(OBS_MUTEX))
		obs_contended(waits_since);
}

/* What the scheduler does, for trace.h: by a thread that cannot be preempted here. */
enum trace_kind {
	TRACE_NOTHING,
	TRACE_CREATE,     /* co; arg: its first function */
	TRACE_NAME,       /* co; arg: its name */
	TRACE_START,      /* co runs */
	TRACE_PARK,       /* co waits; arg: enum wait_reason */
	TRACE_YIELD,
	TRACE_PREEMPT,
	TRACE_SYSCALL,    /* co leaves its P for a system call; TRACE_START when it is back */
	TRACE_EXIT,
	TRACE_READY,      /* co is made runnable */
	TRACE_STEAL,      /* co is taken from another queue; arg: id of that P */
	TRACE_STOP_WORLD, /* asked for; arg: why */
	TRACE_STOPPED,    /* everybody stands still */
	TRACE_GO_ON,
	TRACE_KINDS,
};
void trace_emit(enum trace_kind kind, uint64_t co, uint64_t arg);
static inline void obs_trace(enum trace_kind kind, uint64_t co, uint64_t arg)
{
	if (obs_is_on(OBS_TRACE))
		trace_emit(kind, co, arg);
}

/* fn(arg) where its stack is deep and its time is nobody's: on a system stack, without the P when a
 * coroutine calls. For all that allocates, looks up symbols or compresses. */
void obs_work(void (*fn)(void *arg), void *arg);
