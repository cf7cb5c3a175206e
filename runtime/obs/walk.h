/*
 * walk - a stack as return addresses, by frame pointers
 *
 * Threads: any; async-signal-safe, takes no lock, reads only between the given bounds
 * Errors:  code without frame pointers (libc) hides frames; none is invented
 */
#pragma once

#include "../sched/sched.h"

enum { WALK_MAX = 64 };

/* The callers above the frame at fp, as far as they lie in [lo, hi). */
int walk(uintptr_t fp, uintptr_t lo, uintptr_t hi, uintptr_t *pcs, int max);
/* A coroutine that does not run now: waiting, queued, in a system call, or stopped. */
int walk_co(const struct rt_co *co, uintptr_t *pcs, int max);
/* A thread interrupted at a ucontext_t; the interrupted pc comes first, plus one. */
int walk_context(struct m *m, const void *context, uintptr_t *pcs, int max);
uintptr_t walk_pc(const void *context);
/* The caller's own stack, from the function that called the one that calls this. */
#define walk_here(pcs, max)                                                                        \
	walk((uintptr_t)__builtin_frame_address(0), (uintptr_t)__builtin_frame_address(0),         \
	     walk_end_of_stack(), pcs, max)
uintptr_t walk_end_of_stack(void);
