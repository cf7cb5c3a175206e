/*
 * debug - the pages below /debug/, for an HTTP server to mount
 *
 *     /debug/pprof/             what there is
 *     /debug/pprof/goroutine    stacks of all coroutines            debug=0|1|2
 *     /debug/pprof/threadcreate where threads were started          debug=0|1
 *     /debug/pprof/block        where coroutines waited             debug=0|1
 *     /debug/pprof/mutex        who made them wait                  debug=0|1
 *     /debug/pprof/heap         where objects in use were made      debug=0|1 gc=1: collect first
 *     /debug/pprof/allocs       where objects were made             debug=0|1 gc=1
 *     /debug/pprof/profile      CPU time                            seconds=30
 *     /debug/pprof/flame        the same as an SVG                  seconds=30
 *     /debug/pprof/trace        the scheduler's events, for Perfetto  seconds=1
 *     /debug/pprof/goroutineleak  leaked coroutines, in groups (501 under a sanitizer)
 *     /debug/pprof/cmdline      the command line
 *     /debug/escape             objects that the stack or an arena could hold (RT_DEBUG=escape=1)
 *     /debug/escape.html        the same as sources with the lines in colour
 *     /debug/heap               sizes, pauses and settings, a row for each type and class   gc=1
 *     /debug/sched              Ps, Ms, coroutines by state, time to safepoint   detail=1
 *
 * debug=0, the default, is gzipped profile.proto, which `go tool pprof URL` reads.
 *
 * Threads: coroutines only; those with seconds sleep that long
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Called once with the head, then write as often as needed; may park. type is a Content-Type. */
struct rt_debug_sink {
	void (*head)(void *arg, int status, const char *type);
	int (*write)(void *arg, const void *bytes, size_t n); /* negative: nobody listens any more */
	void *arg;
};

/* path begins with "/debug/"; query is what follows "?", NULL or empty for none. What is wrong with a
 * request is said in its answer: 400, 404, 409 (another one is being taken), 501. */
void rt_debug_serve(const char *path, const char *query, const struct rt_debug_sink *sink);
/* Whether path is of this. any; no safepoint */
bool rt_debug_owns(const char *path);

/* The block and mutex profiles are empty until they are switched on. any; no safepoint */
/* Of waits, one in about rate_ns nanoseconds of waiting is recorded: 1 records all, 0 none. */
void rt_set_block_profile_rate(long rate_ns);
/* Of mutex contentions, one in n is recorded; 0 none. < 0 changes nothing. Returns the old n. */
int rt_set_mutex_profile_fraction(int n);
/* Of the heap, one object in about so many bytes is recorded: 512 KiB from the start, 1 all, 0 none. What
 * was recorded stays, scaled by its own rate. < 0 changes nothing. Returns the old rate. */
long rt_set_heap_profile_rate(long bytes);
