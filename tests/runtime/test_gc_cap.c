/* The collector that has had its half of the CPU still holds the heap to its goal. */
#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/gc.h"
#include "../../runtime/mem/heap.h"
#include "rt.h"
#include "rt_mem.h"

#include "tap.h"

struct link {
	struct link *const next;
	uint64_t words[7];
};
RT_TYPE(link_type, struct link, next);

enum { LIVE = 1 << 20, GARBAGE = 24 << 20, LOOK = 4096, PERCENT = 50 };

static void *run(void *arg)
{
	struct link *list = NULL;
	uint64_t most = 0, goal;

	for (int i = 0; i < LIVE; i++) {
		struct link *l = rt_new(&link_type);

		RT_SET(l->next, list);
		list = l;
		RT_POLL();
	}
	rt_gc_set_percent(PERCENT);
	rt_gc();
	goal = pace_goal_by_percent();
	for (int i = 0; i < GARBAGE; i++) {
		rt_new(&link_type);
		if (i % LOOK)
			continue;
		/* It has used more than its half for a long time. */
		limit_note_cpu(60 * RT_SEC, now_ns());
		if (atomic_load(&heap.in_use) > most)
			most = atomic_load(&heap.in_use);
	}
	CHECK(limit_is_cpu_capped(), "the collector's CPU is capped");
	CHECK(most < goal * 3 / 2, "and the heap stays near its goal (%llu of %llu MiB)",
	      (unsigned long long)most >> 20, (unsigned long long)goal >> 20);
	RT_KEEP(list);
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 2}, run, NULL, NULL);
	return tap_done();
}
