#include "metrics.h"

#include "../../runtime/rt_metrics.h"

static _Atomic int64_t values[METRIC_MAX];

static const struct {
	const char *name, *doc;
	bool counter;
} rows[] = {
#define COUNTER(name, doc) {#name, doc, true},
#define GAUGE(name, doc) {#name, doc, false},
	METRICS(COUNTER, GAUGE)
#undef COUNTER
#undef GAUGE
};

/* Claimed in the order of the first request; a server has few routes. */
enum { PATHS = 16 };
static struct {
	const char *_Atomic path;
	struct hist hist;
} paths[PATHS];

void metric_add(enum metric m, int64_t n)
{
	atomic_fetch_add_explicit(&values[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t value)
{
	atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
	return atomic_load_explicit(&values[m], memory_order_relaxed);
}

/* Values below HIST_SUB us have a bucket each; above, the five bits after the leading one. */
static size_t bucket_of(uint64_t us)
{
	int shift = us < HIST_SUB ? 0 : 58 - __builtin_clzll(us);
	size_t b = (size_t)shift * HIST_SUB + (us >> shift);

	return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

static int64_t bucket_end_ns(size_t b)
{
	int shift = b < 2 * HIST_SUB ? 0 : b / HIST_SUB - 1;

	return (int64_t)((b - (size_t)shift * HIST_SUB + 1) << shift) * 1000;
}

void hist_add(struct hist *h, int64_t ns)
{
	uint64_t v = ns < 0 ? 0 : ns;

	atomic_fetch_add_explicit(&h->counts[bucket_of(v / 1000)], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, v, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->n, 1, memory_order_relaxed);
}

int64_t hist_quantile(const struct hist *h, double q)
{
	uint64_t n = atomic_load_explicit(&h->n, memory_order_relaxed), seen = 0;
	uint64_t rank = q * n;

	for (size_t b = 0; n && b < HIST_BUCKETS; b++) {
		seen += atomic_load_explicit(&h->counts[b], memory_order_relaxed);
		if (seen > rank || seen == n)
			return bucket_end_ns(b);
	}
	return 0;
}

void metrics_request(const char *path, int64_t ns)
{
	for (size_t i = 0; i < PATHS; i++) {
		const char *at = atomic_load_explicit(&paths[i].path, memory_order_acquire);

		if (!at && atomic_compare_exchange_strong(&paths[i].path, &at, path))
			at = path;
		if (at == path) {
			hist_add(&paths[i].hist, ns);
			return;
		}
	}
}

static void write_scalars(FILE *f)
{
	for (size_t i = 0; i < METRIC_MAX; i++)
		fprintf(f, "# TYPE %s %s\n# HELP %s %s\n%s%s %lld\n", rows[i].name,
			rows[i].counter ? "counter" : "gauge", rows[i].name, rows[i].doc,
			rows[i].name, rows[i].counter ? "_total" : "",
			(long long)metric_get(i));
}

/* Buckets at powers of two from 1 ms on, as many as OpenMetrics users expect to store. */
static void write_histogram(FILE *f, const char *path, const struct hist *h)
{
	const char *name = "live_request_duration_seconds";
	uint64_t total = 0;
	size_t b = 0;

	for (int64_t bound_us = 1024; bound_us <= 8 << 20; bound_us *= 2) {
		for (; b < bucket_of(bound_us); b++)
			total += h->counts[b];
		fprintf(f, "%s_bucket{path=\"%s\",le=\"%.6f\"} %llu\n", name, path, bound_us / 1e6,
			(unsigned long long)total);
	}
	for (; b < HIST_BUCKETS; b++)
		total += h->counts[b];
	fprintf(f, "%s_bucket{path=\"%s\",le=\"+Inf\"} %llu\n", name, path,
		(unsigned long long)total);
	fprintf(f, "%s_count{path=\"%s\"} %llu\n", name, path, (unsigned long long)total);
	fprintf(f, "%s_sum{path=\"%s\"} %.6f\n", name, path, h->sum_ns / 1e9);
}

void metrics_connections(int change)
{
	metric_add(METRIC_live_connections, change);
}

void metrics_refused(int status)
{
	metric_add(METRIC_live_refused_requests, 1);
}

void metrics_answered(const char *path, int status, int64_t took_ns)
{
	metrics_request(path, took_ns);
}

void metrics_answer(struct http_answer *a)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	write_scalars(f);
	fprintf(f, "# TYPE live_request_duration_seconds histogram\n"
		   "# UNIT live_request_duration_seconds seconds\n"
		   "# HELP live_request_duration_seconds Time from a complete request to its "
		   "answer.\n");
	for (size_t i = 0; i < PATHS && paths[i].path; i++)
		write_histogram(f, paths[i].path, &paths[i].hist);
	rt_metrics_write(f);
	fprintf(f, "# EOF\n");
	fclose(f);
	http_give(a, "application/openmetrics-text; version=1.0.0; charset=utf-8", text, len);
}
