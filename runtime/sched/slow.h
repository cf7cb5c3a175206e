/*
 * slow - system calls that take longer, as on a slow disk or a busy kernel; private to runtime/
 *
 * Delayed, each before it begins: what stands between rt_enter_syscall and rt_exit_syscall (files, names,
 * whatever rt_blocking runs), and each try on a descriptor that the netpoller has: read, write, accept,
 * connect, the look of rt_wait_fd, close. A read that has to wait tries again when there is something, and
 * that try is delayed too. Not delayed: the scheduler's own calls (epoll, futexes, timers, memory), and
 * the time that is spent waiting for others.
 *
 * Nobody holds a P meanwhile: the former sleep in the kernel, in state syscall; the latter have no thread
 * either, they park as sleepers.
 *
 * Threads: slow_set and slow_clear one thread, which sets only what was cleared; the rest any
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct slow {
	int64_t latency_ns, jitter_ns; /* of a call: from latency - jitter to latency + jitter */
	int64_t share_ppm;             /* of the calls */
};

void slow_set(const struct slow *s);
void slow_clear(void); /* delays under way end within 20 ms */

/* Since the start of the process: calls whose delay is over, and what their delays took. */
struct slow_seen {
	uint64_t calls, ns;
};
struct slow_seen slow_seen(void);

extern _Atomic uint32_t slow_on; /* 0: off; else which slow_set it is */
void slow_in_kernel(void);
void slow_parked(void);

static inline bool slow_is_on(void)
{
	/* relaxed: a call that begins in this moment may be the first or not */
	return __builtin_expect(atomic_load_explicit(&slow_on, memory_order_relaxed), 0);
}

/* In state syscall. */
static inline void slow_blocking_call(void)
{
	if (slow_is_on())
		slow_in_kernel();
}

/* On a P, where a park may come. */
static inline void slow_short_call(void)
{
	if (slow_is_on())
		slow_parked();
}
