/* A loop that does nothing but allocate, in cooperative mode: the world can be stopped in its midst. */
#include "rt.h"
#include "rt_mem.h"

#include "tap.h"

#include <stdatomic.h>

/* Nothing else in the loop is a safepoint. */
enum { CELLS = 4 << 20, ROUNDS = 50 };

static _Atomic bool allocates;

static void *allocating_hog(void *arg)
{
	atomic_store(&allocates, true);
	for (int i = 0; i < CELLS; i++)
		rt_new_bytes(16);
	atomic_store(&allocates, false);
	return NULL;
}

static void count_within(void *arg)
{
	*(int *)arg += atomic_load(&allocates);
}

static void *allocation(void *arg)
{
	int within = 0, round = 0;

	rt_gc_set_percent(-1); /* a collection begins at a safepoint */
	for (; round < ROUNDS && !within; round++) {
		struct rt_co *hog = rt_spawn(allocating_hog, NULL, NULL);

		while (!atomic_load(&allocates))
			rt_yield();
		while (atomic_load(&allocates))
			rt_stop_world("test", count_within, &within);
		rt_join(hog, NULL);
		rt_gc();
	}
	CHECK(within > 0, "a loop that only allocates is stopped in its midst (%d times, %d rounds)",
	      within, round);
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 2, .preempt = RT_PREEMPT_COOPERATIVE}, allocation, NULL, NULL);
	return tap_done();
}
