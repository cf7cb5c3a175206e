/*
 * fault - what the machine does to this process while its cells are measured
 *
 *   quota    a cpu cgroup of its own that allows less than the workloads take
 *   memory   a memory cgroup of its own, with a child that fills it
 *   sigstop  a child that stops and continues this process
 *
 * Units:   nanoseconds, of rt_now()
 * Owns:    the cgroup and the child; fault_end() removes both
 * Threads: fault_begin() and _end() with no runtime running, the others by one thread at a time. They
 *          take no lock: they may be called in a stopped world.
 */
#pragma once

#include <stdint.h>

enum fault { FAULT_NONE, FAULT_QUOTA, FAULT_MEMORY, FAULT_SIGSTOP, FAULTS };
extern const char *const fault_names[FAULTS];

/* NULL, or why it cannot be had here. */
const char *fault_begin(enum fault f);
void fault_mark(void);
/* How long of begin..end the process was throttled or stopped; begin: not before fault_mark(). */
int64_t fault_lost(int64_t begin, int64_t end);
uint64_t fault_hits(void); /* throttled periods, failed charges or stops since fault_begin() */
void fault_end(void);
