/*
 * waits - how long threads of the runtime wanted to run and did not, because the machine is shared
 *
 * Units:   nanoseconds, of /proc/self/task/TID/schedstat; 0 where the kernel does not count it, or only
 *          in ticks (User Mode Linux): a tick is longer than what it would be subtracted from
 * Owns:    a descriptor for each thread; waits_end() closes them
 * Threads: one user, a coroutine with the world stopped or about to be. No lock that a stopped thread
 *          may hold, no malloc.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

bool waits_are_ticks(void); /* the kernel's count of a thread's time, throttled time too */
void waits_add(pid_t tid); /* a thread that the runtime did not make */
void waits_mark(void);
/* Of the elapsed time since waits_mark(): the calling thread's, plus the longest of the others: they
 * wait for the processor beside each other, and then the caller, which waits for them, does. What one
 * of them computed meanwhile is left, whatever the kernel counts: it counts a wait when it is over, also
 * the part before the mark. */
int64_t waits_since(int64_t elapsed);
void waits_end(void);
