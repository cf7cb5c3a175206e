/*
 * leak - coroutines that nobody will ever wake
 *
 * Two ways to find them. The growth watch guesses: many were started and none ended. The sound one
 * proves: what a collection cannot reach from anything that may still run, nobody can wake. When the watch
 * has told of growth it has the other one search, and tells which of those coroutines are leaked for sure.
 *
 * Threads: the watch runs in the monitor, its search in a coroutine; settings: any
 */
#pragma once

#include "out.h"
#include "snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * When more than n coroutines have been added within window_ns (started less ended), the stacks of
 * those started since, grouped, with their creation sites, go to stderr; once a window. A second later
 * (an eighth of the window if that is less), by a coroutine that stops the world for it, how many of them
 * are leaked for sure, and their groups with the numbers. n 0: off.
 * RT_DEBUG=leakwatch=1000,leakwindow=60 (a number, seconds).
 */
void rt_leak_watch(uint64_t n, int64_t window_ns);
/* The monitor's round. Returns when it is due again, RT_FOREVER when off. */
int64_t leak_watch_look(int64_t now);
/* Groups by creation site and stack, the largest first; only coroutines with ids above after_id. */
void leak_write_groups(struct out *o, const struct snapshot *s, uint64_t after_id);
/* The same of those whose ids are given; sorts them. */
void leak_write_found(struct out *o, const struct snapshot *s, uint64_t *ids, size_t n);

/*
 * What sound detection needs of a collector that can tell which coroutines it reached. Its roots
 * are coroutines that run, are runnable, sleep or wait for a descriptor; globals, timers and pins. A
 * blocked coroutine is reached when what it waits for is: then its stack becomes a root.
 *
 * The collector registers itself; while none has, leak_find() answers -ENOSYS and the page says so.
 */
struct leak_collector {
	/*
	 * Marks from the roots, then from blocked coroutines whose wait object was reached, until
	 * nothing is added; calls unreached for each coroutine left. The world stands still for the
	 * calls. Never names one that can still be woken; a stale word may hide one that cannot.
	 * Returns 0 or a negative errno.
	 */
	int (*find_unreached)(void (*unreached)(struct rt_co *co, void *arg), void *arg);
};
extern const struct leak_collector leak_by_reachability; /* mem/leak.c; rt_run registers it */
void leak_set_collector(const struct leak_collector *c); /* NULL: none. Kept, not copied */
bool leak_has_collector(void);
/*
 * Ids of leaked coroutines, at most room. Coroutines only.
 * Returns how many there are. Errors: -ENOSYS no collector, or its own
 */
int leak_find(uint64_t *ret_ids, size_t room);
