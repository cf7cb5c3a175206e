/*
 * runtime - what the targets' own scheduler and collector say: liveroom, and whatever runs on its runtime
 *
 * Times come as the increments of the targets' histograms. A bucket says that a value was at most its
 * bound, so each counts as that bound: a quantile is never better than it was, and at most one
 * bucket's width worse. What is beyond the last bound is not known to be below anything, and counts
 * as an hour. Buckets of all causes and targets are added up.
 *
 * The first page of a process that is older than the indicator only says where to count from.
 */
#include "histogram.h"
#include "scrape.h"
#include "tally.h"

#include "../base/clock.h"

#include <errno.h>
#include <math.h>

enum metric_kind {
	METRIC_TIMES,   /* a histogram of seconds */
	METRIC_COUNTER, /* of seconds; counts from the start of the run */
	METRIC_GAUGE,
};

/* One row a metric; sorted by name. */
static const struct metric {
	const char *name, *family;
	enum metric_kind kind;
	enum objective_dim dim;
} metrics[] = {
	{"coroutines", "rt_coroutines", METRIC_GAUGE, DIM_PLAIN},
	{"gcCpu", "rt_gc_cpu_seconds_total", METRIC_COUNTER, DIM_TIME},
	{"gcPause", "rt_gc_pause_seconds", METRIC_TIMES, DIM_TIME},
	{"gcPercent", "rt_gc_percent", METRIC_GAUGE, DIM_PLAIN},
	{"heap", "rt_heap_bytes", METRIC_GAUGE, DIM_BYTES},
	{"heapLive", "rt_heap_live_bytes", METRIC_GAUGE, DIM_BYTES},
	{"procs", "rt_procs", METRIC_GAUGE, DIM_PLAIN},
	{"schedLatency", "rt_sched_latency_seconds", METRIC_TIMES, DIM_TIME},
	{"threads", "rt_threads", METRIC_GAUGE, DIM_PLAIN},
	{"ttsp", "rt_ttsp_seconds", METRIC_TIMES, DIM_TIME},
};
static const char *const metric_names[] = {"coroutines", "gcCpu", "gcPause", "gcPercent", "heap", "heapLive",
					   "procs", "schedLatency", "threads", "ttsp", NULL};
_Static_assert(ARRAY_SIZE(metric_names) == ARRAY_SIZE(metrics) + 1, "each metric has its name");

enum { BOUNDS_MAX = 256 };

struct runtime_params {
	struct scrape_params scrape;
	int metric;
};

struct bucket {
	double bound_s; /* INFINITY: the last */
	struct tally tally;
	double page; /* cumulative, of this page */
	double more; /* cumulative increments of this round */
};

struct runtime {
	struct indicator *indicator;
	const struct metric *metric;
	char *bucket_name; /* "rt_ttsp_seconds_bucket" */
	struct scrape *scrape;
	struct bucket buckets[BOUNDS_MAX]; /* by bound */
	size_t n_buckets;
	struct tally tally; /* of a counter */
	bool found;   /* in this page */
	double value; /* of this page */
	double sum;   /* of this round */
};

static const struct metric *metric_of(const void *params)
{
	return &metrics[((const struct runtime_params *)params)->metric];
}

static enum sample_type runtime_yields(const void *params)
{
	return metric_of(params)->kind == METRIC_TIMES ? SAMPLE_LATENCY : SAMPLE_VALUE;
}

static enum objective_dim runtime_measures(const void *params)
{
	return metric_of(params)->dim;
}

static double runtime_rate(const void *params)
{
	const struct runtime_params *p = params;

	return metric_of(p)->kind == METRIC_TIMES ? 0 : scrape_rate(&p->scrape);
}

/* The place of a bound, made where there is none; NULL: more bounds than anybody needs. */
static struct bucket *bucket_at(struct runtime *m, double bound_s)
{
	size_t i = 0;

	while (i < m->n_buckets && m->buckets[i].bound_s < bound_s)
		i++;
	if (i < m->n_buckets && m->buckets[i].bound_s == bound_s)
		return &m->buckets[i];
	if (m->n_buckets == BOUNDS_MAX)
		return NULL;
	memmove(&m->buckets[i + 1], &m->buckets[i], (m->n_buckets - i) * sizeof m->buckets[0]);
	m->n_buckets++;
	m->buckets[i] = (struct bucket){.bound_s = bound_s,
					.tally = {.born_ns = scrape_start_ns(m->scrape)}};
	return &m->buckets[i];
}

static const char *label(const struct openmetrics_sample *s, const char *name)
{
	for (size_t i = 0; i < s->n_labels; i++)
		if (streq(s->labels[i].name, name))
			return s->labels[i].value;
	return NULL;
}

static void read_bucket(struct runtime *m, const struct openmetrics_sample *s)
{
	const char *le = label(s, "le");
	double bound_s = !le ? NAN : streq(le, "+Inf") ? INFINITY : strtod(le, NULL);
	struct bucket *b = isnan(bound_s) ? NULL : bucket_at(m, bound_s);

	if (!b)
		return;
	b->page += s->value;
	m->found = true;
}

static void read_sample(void *data, const struct openmetrics_sample *s)
{
	struct runtime *m = data;

	if (!isfinite(s->value))
		return;
	if (m->metric->kind == METRIC_TIMES) {
		if (streq(s->name, m->bucket_name))
			read_bucket(m, s);
	} else if (streq(s->name, m->metric->family)) {
		m->value += s->value;
		m->found = true;
	}
}

static void begin_round(void *data)
{
	struct runtime *m = data;

	m->sum = 0;
}

static void begin_page(void *data)
{
	struct runtime *m = data;

	m->found = false;
	m->value = 0;
	for (size_t i = 0; i < m->n_buckets; i++)
		m->buckets[i].page = 0;
}

static bool end_page(void *data, const struct scrape_page *p, char *why, size_t size)
{
	struct runtime *m = data;

	if (!m->found) {
		snprintf(why, size, "no series of %s", m->metric->family);
		return false;
	}
	if (m->metric->kind == METRIC_COUNTER)
		tally_add(&m->tally, p->target, p->started_ns, m->value);
	else if (p->in_round)
		m->sum += m->value;
	for (size_t i = 0; i < m->n_buckets; i++)
		m->buckets[i].more += tally_add(&m->buckets[i].tally, p->target, p->started_ns,
						m->buckets[i].page);
	return true;
}

static bool makes_up(void *data)
{
	return ((const struct runtime *)data)->metric->kind != METRIC_GAUGE;
}

/* Short of the bound by what the statistics' own buckets may add, so that "<= 1ms" holds at 1 ms. */
static int64_t bound_ns(const struct bucket *b)
{
	int64_t ns = isinf(b->bound_s) ? HISTOGRAM_MAX_NS : (int64_t)(b->bound_s * NSEC_PER_SEC);

	return isinf(b->bound_s) ? ns : ns - (int64_t)((double)ns * HISTOGRAM_ERROR);
}

/* One sample a bucket, as many as came into it since the last round. */
static void yield_times(struct runtime *m)
{
	double below = 0;

	for (size_t i = 0; i < m->n_buckets; i++) {
		struct bucket *b = &m->buckets[i];
		double n = b->more - below;

		if (n >= 1)
			slo_sample(m->indicator->slo,
				   &(struct sample){.type = SAMPLE_LATENCY, .ok = true,
						    .at_ns = clock_now_ns(), .done_ns = clock_now_ns(),
						    .latency_ns = bound_ns(b), .n = (uint64_t)n});
		below = fmax(below, b->more);
		b->more = 0;
	}
}

static void end_round(void *data, const struct scrape_round *r)
{
	struct runtime *m = data;
	bool counter = m->metric->kind == METRIC_COUNTER;
	struct sample s = {
		.type = SAMPLE_VALUE,
		.ok = counter ? r->answered > 0 : scrape_is_whole(r),
		.value = counter ? m->tally.sum : m->sum,
		.at_ns = clock_now_ns(),
	};

	if (m->metric->kind == METRIC_TIMES)
		yield_times(m);
	else
		slo_sample(m->indicator->slo, &s);
}

static const struct scrape_ops ops = {
	.begin = begin_round,
	.begin_page = begin_page,
	.sample = read_sample,
	.end_page = end_page,
	.makes_up = makes_up,
	.end = end_round,
};

static int runtime_start(struct indicator *i, struct err *e)
{
	const struct runtime_params *p = i->params;
	struct runtime *m = xcalloc(1, sizeof *m);
	int r;

	i->state = m;
	m->indicator = i;
	m->metric = metric_of(p);
	m->bucket_name = xasprintf("%s_bucket", m->metric->family);
	r = scrape_start(i, &p->scrape, &ops, m, &m->scrape, e);
	m->tally.born_ns = scrape_start_ns(m->scrape);
	return r;
}

static void runtime_stop(struct indicator *i)
{
	struct runtime *m = i->state;

	scrape_stop(m->scrape);
}

static void runtime_free(struct indicator *i)
{
	struct runtime *m = take(i->state);

	if (!m)
		return;
	scrape_free(m->scrape);
	for (size_t k = 0; k < m->n_buckets; k++)
		tally_done(&m->buckets[k].tally);
	tally_done(&m->tally);
	free(m->bucket_name);
	free(m);
}

static int runtime_report(struct indicator *i, json_t **ret)
{
	const struct runtime *m = i->state;

	if (!m || !m->scrape)
		return 0;
	*ret = scrape_report(m->scrape);
	json_object_set_new(*ret, "metric", json_string(m->metric->family));
	return 0;
}

static int check_runtime(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	return scrape_check(&((const struct runtime_params *)obj)->scrape, node, ctx);
}

#define O(field) offsetof(struct runtime_params, field)
static const struct field fields[] = {
	{.name = "metric", .type = FIELD_ENUM, .names = metric_names, .offset = O(metric),
	 .required = true, .example = "ttsp",
	 .doc = "ttsp (time from a request to stop the world to the last thread's stop), schedLatency "
		"(time from runnable to running), gcPause (a stop of the world for a collection): times, "
		"of which there are p50 to p99.99, mean and max, to the width of the service's buckets and "
		"never better than they were. gcCpu (CPU seconds of collecting) counts from the start of "
		"the run, over all targets: rate is CPUs. coroutines, gcPercent (RT_GOGC as it is now), heap "
		"(bytes of objects, garbage included), heapLive (bytes that the last collection left), procs "
		"and threads: readings, summed over the targets; they have failed while the answer of "
		"one is late."},
	SCRAPE_FIELDS(O(scrape)),
};
#undef O

static const struct schema runtime_schema = {
	.name = "runtime",
	.doc = "Reads from the targets' own metrics pages what their scheduler and their collector say of "
	       "themselves (liveroom, or any other service on its runtime).",
	.size = sizeof(struct runtime_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_runtime,
};

const struct indicator_type indicator_runtime = {
	.name = "runtime",
	.doc = "Time to safepoint, scheduling latency, pauses, CPU and heap of the collector, Ps, coroutines "
	       "or threads of the targets' runtime.",
	.schema = &runtime_schema,
	.yields = runtime_yields,
	.rate = runtime_rate,
	.measures = runtime_measures,
	.start = runtime_start,
	.stop = runtime_stop,
	.report = runtime_report,
	.free = runtime_free,
};
