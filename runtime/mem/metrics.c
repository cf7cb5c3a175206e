/* The heap in OpenMetrics text, and how long the collector's steps took. */
#include "../sched/metrics.h"

#include "../sched/sched.h"
#include "gc.h"

static struct ttsp times[GC_TIMES];

void gc_note_time(enum gc_time which, int64_t ns)
{
	ttsp_note(&times[which], ns, 0);
}

const struct ttsp *gc_times(enum gc_time which)
{
	return &times[which];
}

static void write_sizes(FILE *f, const struct rt_mem_stats *s)
{
	metrics_gauge(f, "rt_heap_live_bytes", "Bytes marked by the last collection.",
		      (int64_t)s->heap_live);
	metrics_gauge(f, "rt_heap_bytes", "Bytes of objects, garbage not yet swept included.",
		      (int64_t)s->heap_bytes);
	metrics_gauge(f, "rt_heap_goal_bytes", "Bytes at which the next collection should be complete.",
		      (int64_t)s->heap_goal);
	metrics_gauge(f, "rt_heap_mapped_bytes", "Bytes of blocks that the kernel has given memory for.",
		      (int64_t)s->heap_mapped);
	metrics_gauge(f, "rt_heap_released_bytes", "Bytes given back to the kernel and not used again.",
		      (int64_t)s->heap_released);
	metrics_gauge(f, "rt_heap_objects", "Objects, garbage not yet swept included.",
		      (int64_t)s->objects);
	metrics_gauge(f, "rt_stack_bytes", "Bytes of coroutines' stacks.", (int64_t)s->stack_bytes);
	metrics_gauge(f, "rt_heap_own_bytes", "Bytes of the collector's tables.", (int64_t)s->own_bytes);
	metrics_gauge(f, "rt_gc_percent", "What of the live heap it may grow by; -1: without bound.",
		      rt_gc_percent());
	metrics_gauge(f, "process_resident_memory_bytes", "Resident memory of the whole process.",
		      limit_resident_bytes());
}

static void write_counts(FILE *f, const struct rt_mem_stats *s)
{
	metrics_counter(f, "rt_heap_allocs", "Objects allocated.", s->allocs);
	metrics_counter(f, "rt_heap_allocs_bytes", "Bytes allocated, in whole cells.", s->alloc_bytes);
	metrics_counter(f, "rt_heap_frees", "Objects freed.", s->frees);
	metrics_counter(f, "rt_heap_frees_bytes", "Bytes freed, in whole cells.", s->free_bytes);
	metrics_counter(f, "rt_gc_cycles", "Collections that are complete.", s->cycles);
	metrics_seconds_counter(f, "rt_gc_mark_cpu_seconds",
				"CPU time of marking beside the program, assists not included.",
				s->mark_cpu_ns);
}

/* By Go's classes. A pause counts once and not for each P: what the collector used, not what it kept
 * from being used. */
static void write_cpu(FILE *f, const struct rt_mem_stats *s)
{
	static const char name[] = "rt_gc_cpu_seconds";
	const struct {
		const char *class;
		int64_t ns;
	} rows[] = {{"assist", s->assist_cpu_ns}, {"mark", s->mark_cpu_ns}, {"pause", s->pause_ns}};

	fprintf(f, "# TYPE %s counter\n# UNIT %s seconds\n"
		   "# HELP %s CPU time of collecting: assists, marking beside the program, pauses.\n",
		name, name, name);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		fprintf(f, "%s_total{class=\"%s\"} %.9f\n", name, rows[i].class, (double)rows[i].ns / 1e9);
}

static void write_times(FILE *f)
{
	static const struct {
		const char *name, *help;
		int per_octave;
	} rows[GC_TIMES] = {
		[GC_TIME_PAUSE] = {"rt_gc_pause_seconds",
				   "From the request to stop the world for a collection to its restart.",
				   8},
		[GC_TIME_CYCLE_CPU] = {"rt_gc_cycle_mark_cpu_seconds",
				       "CPU time of a collection's marking beside the program.", 1},
		[GC_TIME_ASSIST] = {"rt_gc_assist_seconds",
				    "CPU time of an allocation's assist to marking.", 1},
	};

	for (unsigned i = 0; i < GC_TIMES; i++) {
		metrics_histogram_head(f, rows[i].name, rows[i].help);
		metrics_histogram(f, rows[i].name, "", &times[i], rows[i].per_octave);
	}
}

/* Slots ------------------------------------------------------------------------------------------- */

static void write_label_value(FILE *f, const char *text)
{
	for (; *text; text++)
		if (*text == '\n')
			fputs("\\n", f);
		else
			fprintf(f, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

struct slot_family {
	FILE *f;
	const char *name;
	bool in_bytes;
};

/* The number keeps two types of one name apart. */
static void write_slot(const struct slot_stats *s, void *arg)
{
	const struct slot_family *w = arg;
	uint64_t value = w->in_bytes ? s->in_use_bytes : s->in_use;

	fprintf(w->f, "%s{slot=\"%u\",cell=\"%u\",type=\"", w->name, s->number, s->cell_bytes);
	write_label_value(w->f, s->name);
	fprintf(w->f, "%s\"} %llu\n", s->array ? "[]" : "", (unsigned long long)value);
}

static void write_slots(FILE *f)
{
	struct slot_family objects = {f, "rt_heap_slot_objects", false};
	struct slot_family bytes = {f, "rt_heap_slot_bytes", true};

	fprintf(f, "# TYPE rt_heap_slot_objects gauge\n"
		   "# HELP rt_heap_slot_objects Objects of one type and cell size; slot 0: large ones.\n");
	mem_each_slot(write_slot, &objects);
	fprintf(f, "# TYPE rt_heap_slot_bytes gauge\n"
		   "# HELP rt_heap_slot_bytes Bytes of objects of one type and cell size.\n");
	mem_each_slot(write_slot, &bytes);
}

void metrics_of_heap(FILE *f)
{
	struct rt_mem_stats s;

	rt_mem_stats(&s);
	write_sizes(f, &s);
	write_counts(f, &s);
	write_cpu(f, &s);
	write_times(f);
	write_slots(f);
}
