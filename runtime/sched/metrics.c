#include "metrics.h"

#include "../rt_metrics.h"

#include "sched.h"

#include <inttypes.h>

enum { OCTAVES = 20 }; /* of a histogram's bounds: 1 us to 1 s */

static void head(FILE *f, const char *name, const char *kind, const char *unit, const char *help)
{
	fprintf(f, "# TYPE %s %s\n", name, kind);
	if (unit)
		fprintf(f, "# UNIT %s %s\n", name, unit);
	fprintf(f, "# HELP %s %s\n", name, help);
}

void metrics_gauge(FILE *f, const char *name, const char *help, int64_t value)
{
	head(f, name, "gauge", NULL, help);
	fprintf(f, "%s %lld\n", name, (long long)value);
}

void metrics_counter(FILE *f, const char *name, const char *help, uint64_t value)
{
	head(f, name, "counter", NULL, help);
	fprintf(f, "%s_total %llu\n", name, (unsigned long long)value);
}

void metrics_seconds_counter(FILE *f, const char *name, const char *help, int64_t ns)
{
	head(f, name, "counter", "seconds", help);
	fprintf(f, "%s_total %.9f\n", name, (double)ns / 1e9);
}

void metrics_histogram_head(FILE *f, const char *name, const char *help)
{
	head(f, name, "histogram", "seconds", help);
}

static void bucket(FILE *f, const char *name, const char *label, const char *bound, uint64_t n)
{
	fprintf(f, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, label, *label ? "," : "", bound,
		(unsigned long long)n);
}

/* Bounds from 1 us to 1 s; the sum of a histogram that goes on growing is read before its buckets, so
 * that no bucket exceeds the count. */
void metrics_histogram(FILE *f, const char *name, const char *label, const struct ttsp *t,
		       int per_octave)
{
	uint64_t sum = atomic_load_explicit(&t->sum_ns, memory_order_relaxed), seen = 0;
	const char *open = *label ? "{" : "", *close = *label ? "}" : "";
	char text[32];

	for (int i = 0; i <= OCTAVES * per_octave; i++) {
		int64_t octave = INT64_C(1024) << i / per_octave;
		int64_t bound = octave + octave / per_octave * (i % per_octave);

		seen = ttsp_below(t, bound);
		snprintf(text, sizeof text, "%.9f", (double)bound / 1e9);
		bucket(f, name, label, text, seen);
	}
	seen = ttsp_below(t, INT64_MAX);
	bucket(f, name, label, "+Inf", seen);
	fprintf(f, "%s_count%s%s%s %llu\n%s_sum%s%s%s %.9f\n", name, open, label, close,
		(unsigned long long)seen, name, open, label, close, (double)sum / 1e9);
}

static void write_ttsp(FILE *f)
{
	size_t n;
	const struct ttsp *t = ttsp_all(&n);
	char label[64];

	metrics_histogram_head(f, "rt_ttsp_seconds",
			       "Time from a request to stop the world to the last thread's stop.");
	for (size_t i = 0; i < n; i++) {
		snprintf(label, sizeof label, "cause=\"%s\"", t[i].cause);
		metrics_histogram(f, "rt_ttsp_seconds", label, &t[i], 1);
	}
}

static void write_latency(FILE *f)
{
	static const char name[] = "rt_sched_latency_seconds";
	struct latency_sum s;
	uint64_t seen = 0;
	char bound[32];

	latency_read(&s);
	metrics_histogram_head(f, name, "Time from being able to run to running, of coroutines; "
			       "estimated by a sample.");
	for (unsigned b = 0; b < LATENCY_BUCKETS - 1; b++) {
		seen += s.bucket[b];
		snprintf(bound, sizeof bound, "%.9f", latency_bound(b) / 1e9);
		bucket(f, name, "", bound, seen);
	}
	seen += s.bucket[LATENCY_BUCKETS - 1];
	bucket(f, name, "", "+Inf", seen);
	fprintf(f, "%s_count %" PRIu64 "\n%s_sum %.9f\n", name, seen, name, s.sum_ns / 1e9);
}

void rt_metrics_write(FILE *f)
{
	unsigned threads;

	lock_get(&sched.lock);
	threads = sched.n_ms;
	lock_put(&sched.lock);
	metrics_gauge(f, "rt_coroutines", "Coroutines that have not ended.", co_count());
	metrics_gauge(f, "rt_procs", "Coroutines that run at one time.", rt_procs());
	metrics_gauge(f, "rt_threads", "Threads of the runtime.", threads);
	write_latency(f);
	write_ttsp(f);
	metrics_of_heap(f);
}
