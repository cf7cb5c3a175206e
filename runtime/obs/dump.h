/*
 * dump - what SIGQUIT and fatal errors print; rt_dump() of rt.h is its own
 *
 * Threads: any, in states where little can be relied on: nothing is stopped, no runtime lock is
 *          taken but that of the list of threads
 */
#pragma once

#include "../sched/sched.h"

/* One, with a stack that the caller has walked. Not from a signal handler, unless what it interrupted
 * is managed text (which holds no lock of libc) and a deep stack is found for it. */
void dump_one(int fd, const struct rt_co *co, const uintptr_t *pcs, int n);
/* Async-signal-safe: the monitor dumps to fd soon. */
void dump_ask(int fd);
/* The monitor's round. */
int64_t dump_tick(void);
