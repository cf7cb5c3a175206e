/* /debug/heap: sizes, pauses and settings of the collector, and a row for each type and class. */
#include "page.h"

#include "../mem/gc.h"
#include "../mem/sample.h"
#include "../sched/ttsp.h"
#include "obs.h"

#include <inttypes.h>

enum { PAUSES_SHOWN = 16 };

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static double us(int64_t ns)
{
	return (double)ns / 1e3;
}

static void write_limit(struct out *o)
{
	int64_t limit = rt_gc_set_limit(-1);
	uint64_t most = limit_heap();

	if (limit == INT64_MAX)
		out_text(o, "  RT_MEMLIMIT  none\n");
	else
		out_printf(o, "  RT_MEMLIMIT  %.1f MiB\n", mib((uint64_t)limit));
	if (most == UINT64_MAX)
		out_text(o, "  heap may have  as much as RT_GOGC says\n");
	else
		out_printf(o, "  heap may have  %.1f MiB\n", mib(most));
}

static void write_settings(struct out *o)
{
	out_printf(o, "\nsettings\n  RT_GOGC      %d\n", rt_gc_percent());
	write_limit(o);
	out_printf(o, "  heapprofile  %" PRId64 " bytes\n", sample_rate());
}

static void write_sizes(struct out *o, const struct rt_mem_stats *s)
{
	out_printf(o, "heap, MiB\n  live %.1f (of the last collection), in use %.1f, goal %.1f\n"
		   "  mapped %.1f, given back %.1f\n  stacks %.1f, tables %.1f\n",
		   mib(s->heap_live), mib(s->heap_bytes), mib(s->heap_goal), mib(s->heap_mapped),
		   mib(s->heap_released), mib(s->stack_bytes), mib(s->own_bytes));
	out_printf(o, "objects\n  %" PRIu64 " in use, %" PRIu64 " allocated, %" PRIu64 " freed\n",
		   s->objects, s->allocs, s->frees);
}

static void write_time(struct out *o, const char *name, enum gc_time which)
{
	const struct ttsp *t = gc_times(which);

	out_printf(o, "  %-24s n=%" PRIu64 " p50=%.1f p99=%.1f max=%.1f\n", name, count_read(&t->count),
		   us(ttsp_quantile(t, 0.5)), us(ttsp_quantile(t, 0.99)),
		   us((int64_t)count_read(&t->max_ns)));
}

static void write_collector(struct out *o, const struct rt_mem_stats *s)
{
	int64_t pauses[PAUSES_SHOWN];
	size_t n = rt_gc_pauses(pauses, PAUSES_SHOWN, NULL);

	out_printf(o, "\ncollections\n  %" PRIu64 " complete%s\n\ntimes, us\n", s->cycles,
		   gc_is_marking() ? ", marking" : "");
	write_time(o, "pause", GC_TIME_PAUSE);
	write_time(o, "CPU of marking a cycle", GC_TIME_CYCLE_CPU);
	write_time(o, "CPU of an assist", GC_TIME_ASSIST);
	out_text(o, "last pauses, us\n ");
	for (size_t i = 0; i < n; i++)
		out_printf(o, " %.1f", us(pauses[i]));
	out_text(o, n ? "\n" : " none\n");
}

static void write_slot(const struct slot_stats *s, void *arg)
{
	struct out *o = arg;

	out_printf(o, "%6u %7" PRIu32 " %8" PRIu32 " %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64
		   "  %s%s\n", s->number, s->cell_bytes, s->blocks, s->in_use, s->in_use_bytes, s->allocs,
		   s->frees, s->name, s->array ? "[]" : "");
}

static void work(void *arg)
{
	struct page *p = arg;
	struct rt_mem_stats s;

	rt_mem_stats(&s);
	write_sizes(&p->out, &s);
	write_collector(&p->out, &s);
	write_settings(&p->out);
	out_printf(&p->out, "\n%6s %7s %8s %10s %12s %12s %12s  %s\n", "slot", "cell", "blocks", "in use",
		   "bytes", "allocs", "frees", "type");
	mem_each_slot(write_slot, &p->out);
	out_printf(&p->out, "\nlost for want of room\n  heap samples %" PRIu64 "\n", heap_samples_lost());
}

int page_heap(struct page *p)
{
	if (p->collect)
		rt_gc();
	obs_work(work, p);
	return 0;
}
