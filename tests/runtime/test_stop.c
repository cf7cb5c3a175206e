/* The world is stopped again and again while loops poll and are asked by signal too. */
#include "rt.h"

#include "tap.h"

#include <stdatomic.h>

enum { STOPS = 20000, HOGS = 2 };

static _Atomic int running;
static _Atomic bool end;

static void polling_hog(void *arg)
{
	atomic_fetch_add(&running, 1);
	while (!atomic_load_explicit(&end, memory_order_relaxed))
		RT_POLL();
	atomic_fetch_sub(&running, 1);
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void *everything(void *arg)
{
	int stops = 0;

	for (int i = 0; i < HOGS; i++)
		rt_go(polling_hog, NULL);
	while (atomic_load(&running) < HOGS)
		rt_sleep(RT_MSEC);
	for (int i = 0; i < STOPS; i++)
		rt_stop_world("test", count, &stops);
	atomic_store(&end, true);
	CHECK(stops == STOPS, "a thread that stands still at a poll and is signalled arrives once");
	while (atomic_load(&running))
		rt_sleep(RT_MSEC);
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 2}, everything, NULL, NULL);
	return tap_done();
}
