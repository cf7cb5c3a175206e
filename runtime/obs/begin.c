/*
 * RT_DEBUG, a list of name=number, as GODEBUG:
 *
 *     schedtrace=1000     a line of the scheduler's state each 1000 ms, to stderr
 *     scheddetail=1       with it, a line for each P, M and coroutine
 *     leakwatch=1000      tell when there are 1000 coroutines more than a while ago
 *     leakwindow=60       that while, in seconds
 *     blockprofile=1      rate in ns, from the start
 *     mutexprofile=1      fraction, from the start
 *     heapprofile=524288  rate in bytes, from the start; 1: every object, 0: off
 *     escape=1            watch whether sampled objects outlive their frames: /debug/escape
 *     gctrace=1           a line for each collection, to stderr
 *     gcverify=1          check the heap at the end of each marking
 *     pool=1, arena=1, scoped=1   catch misuse of pools, arenas and scoped objects (rt_pool.h)
 *     gcpoison=1          overwrite what a collection frees
 */
#include "../mem/escape.h"
#include "../mem/gc.h"
#include "debug.h"
#include "dump.h"
#include "leak.h"
#include "obs.h"
#include "schedtrace.h"

#include "../mem/pool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAK_WINDOW_S = 60 };

static struct {
	int64_t every_ns, next_ns;
	bool detailed;
} tracing;

/* The number after name= in the list, -1: it is not there. */
static long setting(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, n) == 0 && at[n] == '=')
			return strtol(at + n + 1, NULL, 10);
	return -1;
}

/* A sanitizer's copies of memory would be searched too, and hide every leak. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOWED true
#else
#define SHADOWED false
#endif

void obs_begin(void)
{
	const char *list = getenv("RT_DEBUG");
	long trace_ms = setting(list, "schedtrace"), leaks = setting(list, "leakwatch");
	long window = setting(list, "leakwindow"), block = setting(list, "blockprofile");
	long mutex = setting(list, "mutexprofile"), heap_rate = setting(list, "heapprofile");

	atomic_store(&obs_coarse_ns, now_ns());
	tracing.every_ns = trace_ms > 0 ? trace_ms * RT_MSEC : 0;
	tracing.next_ns = sched.start_ns + tracing.every_ns;
	tracing.detailed = setting(list, "scheddetail") > 0;
	gc_traces = setting(list, "gctrace") > 0;
	gc_verifies = setting(list, "gcverify") > 0;
	pool_debug_set(setting(list, "pool"), setting(list, "arena"), setting(list, "scoped"));
	leak_set_collector(SHADOWED ? NULL : &leak_by_reachability);
	if (setting(list, "gcpoison") >= 0)
		gc_poisons = setting(list, "gcpoison") > 0;
	if (leaks > 0)
		rt_leak_watch((uint64_t)leaks, (window > 0 ? window : LEAK_WINDOW_S) * RT_SEC);
	if (block >= 0)
		rt_set_block_profile_rate(block);
	if (mutex >= 0)
		rt_set_mutex_profile_fraction((int)mutex);
	escape_set(setting(list, "escape") > 0);
	rt_set_heap_profile_rate(heap_rate); /* -1: it stays as it is */
}

static int64_t trace_tick(int64_t now)
{
	struct out o = {0};

	if (!tracing.every_ns)
		return RT_FOREVER;
	if (now < tracing.next_ns)
		return tracing.next_ns;
	/* From the planned time, so that lines keep their pace; what was slept over is not made up. */
	tracing.next_ns += (now - tracing.next_ns) / tracing.every_ns * tracing.every_ns +
			   tracing.every_ns;
	schedtrace(&o, tracing.detailed);
	if (write(STDERR_FILENO, o.data, o.n) < 0)
		tracing.every_ns = 0; /* nobody is there to be told */
	out_done(&o);
	return tracing.next_ns;
}

int64_t obs_tick(int64_t now)
{
	int64_t trace = trace_tick(now), leaks = leak_watch_look(now), dump = dump_tick();
	int64_t first = trace < leaks ? trace : leaks;

	/* relaxed: a moment of the past is what it is */
	atomic_store_explicit(&obs_coarse_ns, now, memory_order_relaxed);
	return first < dump ? first : dump;
}
