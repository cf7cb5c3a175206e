/* Whoever marks looks up often enough: a stop waits for it, and the last pause has a budget. */
#include "../../runtime/mem/heap.h"
#include "../../runtime/mem/mark.h"
#include "../../runtime/sched/sched.h"
#include "rt.h"
#include "rt_mem.h"

#include "tap.h"

enum { BUDGET = 1000, POINTERS = 512 << 10, LONGEST = 64 << 10 };

struct steps {
	void *const *array;
	uint64_t n, longest, cost;
};

/* In a stopped world between two cycles, where nobody else marks. */
static void mark_in_steps(void *arg)
{
	struct steps *s = arg;
	struct marker k;
	bool more = true;

	marker_begin(&k);
	mark_pointer(&k, (uintptr_t)s->array);
	for (; more; s->n++) {
		uint64_t before = marker_cost(&k), took;

		more = mark_some(&k, BUDGET);
		took = marker_cost(&k) - before;
		if (took > s->longest)
			s->longest = took;
	}
	s->cost = marker_cost(&k);
	marker_end(&k);
	sweep_forget_marks();
}

static void *run(void *arg)
{
	struct steps s = {.array = rt_new_ptrs(POINTERS)};

	/* All of it NULL: no candidate is between two pieces. */
	rt_gc();
	rt_stop_world("test", mark_in_steps, &s);
	CHECK(s.cost >= POINTERS * sizeof(void *), "a large object is searched (%llu bytes)",
	      (unsigned long long)s.cost);
	CHECK(s.longest <= LONGEST, "in steps: the longest of %llu is %llu bytes", (unsigned long long)s.n,
	      (unsigned long long)s.longest);
	rt_gc();
	RT_KEEP(s.array);
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 1}, run, NULL, NULL);
	return tap_done();
}
