#include "../rt_metrics.h"

#include "sched.h"
#include "ttsp.h"

#include <inttypes.h>

static void gauge(FILE *f, const char *name, const char *help, int64_t value)
{
	fprintf(f, "# TYPE %s gauge\n# HELP %s %s\n%s %lld\n", name, name, help, name,
		(long long)value);
}

/* Bounds at powers of two from 1 us to 1 s; the sum of a histogram that goes on growing is read
 * before its buckets, so that no bucket exceeds the count. */
static void histogram(FILE *f, const char *name, const struct ttsp *t)
{
	uint64_t sum = atomic_load_explicit(&t->sum_ns, memory_order_relaxed), seen = 0;

	for (int64_t bound = 1024; bound <= INT64_C(1) << 30; bound *= 2) {
		seen = ttsp_below(t, bound);
		fprintf(f, "%s_bucket{cause=\"%s\",le=\"%.9f\"} %llu\n", name, t->cause, bound / 1e9,
			(unsigned long long)seen);
	}
	seen = ttsp_below(t, INT64_MAX);
	fprintf(f, "%s_bucket{cause=\"%s\",le=\"+Inf\"} %llu\n", name, t->cause,
		(unsigned long long)seen);
	fprintf(f, "%s_count{cause=\"%s\"} %llu\n%s_sum{cause=\"%s\"} %.9f\n", name, t->cause,
		(unsigned long long)seen, name, t->cause, sum / 1e9);
}

static void head(FILE *f, const char *name, const char *help)
{
	fprintf(f, "# TYPE %s histogram\n# UNIT %s seconds\n# HELP %s %s\n", name, name, name, help);
}

static void latency(FILE *f)
{
	static const char name[] = "rt_sched_latency_seconds";
	struct latency_sum s;
	uint64_t seen = 0;

	latency_read(&s);
	head(f, name, "Time from being able to run to running, of coroutines; estimated by a sample.");
	for (unsigned b = 0; b < LATENCY_BUCKETS - 1; b++) {
		seen += s.bucket[b];
		fprintf(f, "%s_bucket{le=\"%.9f\"} %" PRIu64 "\n", name, latency_bound(b) / 1e9, seen);
	}
	seen += s.bucket[LATENCY_BUCKETS - 1];
	fprintf(f, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_count %" PRIu64 "\n%s_sum %.9f\n", name, seen,
		name, seen, name, s.sum_ns / 1e9);
}

void rt_metrics_write(FILE *f)
{
	const struct ttsp *t;
	size_t n;
	unsigned threads;

	lock_get(&sched.lock);
	threads = sched.n_ms;
	lock_put(&sched.lock);
	gauge(f, "rt_coroutines", "Coroutines that have not ended.", co_count());
	gauge(f, "rt_procs", "Coroutines that run at one time.", rt_procs());
	gauge(f, "rt_threads", "Threads of the runtime.", threads);
	latency(f);
	t = ttsp_all(&n);
	head(f, "rt_ttsp_seconds", "Time from a request to stop the world to the last thread's stop.");
	for (size_t i = 0; i < n; i++)
		histogram(f, "rt_ttsp_seconds", &t[i]);
}
