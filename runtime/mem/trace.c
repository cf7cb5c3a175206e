/* RT_DEBUG=gctrace=1: a line a cycle on stderr, as Go 1.26 prints it. */
#include "gc.h"

#include "../sched/sched.h"

#include <stdio.h>
#include <unistd.h>

bool gc_traces;

struct trace {
	const struct gc_cycle *c;
	unsigned procs;
};

static double ms(int64_t ns)
{
	return (double)ns / 1e6;
}

static unsigned long long mb(uint64_t bytes)
{
	return bytes >> 20;
}

static void *write_line(void *arg)
{
	static int64_t cpu_all; /* of all cycles */
	const struct trace *t = arg;
	const struct gc_cycle *c = t->c;
	int64_t up = c->marked_until - sched.start_ns;
	int64_t pauses = (c->pause_ns[0] + c->pause_ns[1]) * (int64_t)t->procs;
	int64_t mark = c->marked_until - c->marked_from;
	char line[400];
	int n;

	cpu_all += c->mark_cpu_ns + c->idle_cpu_ns + c->assist_cpu_ns + pauses;
	n = snprintf(line, sizeof line,
		     "gc %u @%.3fs %lld%%: %.3g+%.2g+%.3g ms clock, %.3g+%.2g/%.2g/%.2g+%.3g ms cpu, "
		     "%llu->%llu->%llu MB, %llu MB goal, %llu MB stacks, 0 MB globals, %u P%s\n",
		     c->number, (double)up / 1e9,
		     up > 0 ? (long long)(100 * cpu_all / (up * (int64_t)t->procs)) : 0LL,
		     ms(c->pause_ns[0]), ms(mark), ms(c->pause_ns[1]),
		     ms(c->pause_ns[0] * (int64_t)t->procs), ms(c->assist_cpu_ns), ms(c->mark_cpu_ns),
		     ms(c->idle_cpu_ns), ms(c->pause_ns[1] * (int64_t)t->procs), mb(c->heap_at_begin),
		     mb(c->heap_at_end), mb(c->heap_live), mb(c->goal), mb(c->stack_bytes), t->procs,
		     c->forced ? " (forced)" : "");
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		return NULL; /* nobody to tell */
	return NULL;
}

void gc_trace(const struct gc_cycle *c)
{
	struct trace t = {c, rt_procs()};

	rt_on_system_stack(write_line, &t);
}
