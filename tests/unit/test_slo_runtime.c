/* What a service's runtime says of itself, as samples of an SLO. */
#include "http_server.h"
#include "slo_fixture.h"

#include "slo/histogram.h"

static struct http_server server;

static int set_up(void **state)
{
	http_server_start(&server);
	return 0;
}

static int tear_down(void **state)
{
	http_server_stop(&server);
	return 0;
}

#define RUNTIME(metric, objective)                                                                 \
	"name: a\nindicator: {runtime: {selector: {labelSelectors: {app: room}}, port: %d, "       \
	"interval: 50ms, metric: " metric "}}\nobjectives: ['" objective "']\n"

static struct target *add_target(struct slo_fixture *f, const char *name, const char *address)
{
	struct target *t = target_new("default", name);

	target_set_phase(t, "Running");
	strlist_add(&t->addresses, address);
	kvs_set(&t->labels, "app", "room");
	target_list_add(&f->targets, t);
	target_unref(t);
	return t;
}

static const struct stats *fault_stats(const struct slo_fixture *f)
{
	return &f->slo->windows[WINDOW_FAULT].stats;
}

static void run_rounds(struct slo_fixture *f, int n)
{
	int until = atomic_load(&server.requests) + n;
	int64_t deadline = clock_now_ns() + 60 * NSEC_PER_SEC;

	while (atomic_load(&server.requests) < until) {
		if (clock_now_ns() > deadline)
			fail_msg("waited in vain for %d scrapes", n);
		sd_event_run(f->loop, 20000);
	}
}

/* Two causes; what they counted below 1 ms, 8 ms and in all. */
static void set_page(int a1, int a8, int a, int b1, int b8, int b)
{
	char text[1024];

	snprintf(text, sizeof text,
		 "# TYPE rt_ttsp_seconds histogram\n"
		 "rt_ttsp_seconds_bucket{cause=\"a\",le=\"0.001\"} %d\n"
		 "rt_ttsp_seconds_bucket{cause=\"a\",le=\"0.008\"} %d\n"
		 "rt_ttsp_seconds_bucket{cause=\"a\",le=\"+Inf\"} %d\n"
		 "rt_ttsp_seconds_count{cause=\"a\"} %d\nrt_ttsp_seconds_sum{cause=\"a\"} 1\n"
		 "rt_ttsp_seconds_bucket{cause=\"b\",le=\"0.001\"} %d\n"
		 "rt_ttsp_seconds_bucket{cause=\"b\",le=\"0.008\"} %d\n"
		 "rt_ttsp_seconds_bucket{cause=\"b\",le=\"+Inf\"} %d\n", a1, a8, a, a, b1, b8, b);
	http_server_page(&server, text);
}

static void begin(struct slo_fixture *f, const char *yaml)
{
	slo_fixture_bind(f, yaml, server.port, 0);
	add_target(f, "room-0", "127.0.0.1");
}

static void test_what_was_before_the_run_does_not_count(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("ttsp", "max < 1ms"));
	set_page(1000, 2000, 3000, 7, 7, 7);
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->latency.n, 0);
	slo_fixture_done(&f);
}

static void test_increments_count_at_their_buckets_bound(void **state)
{
	struct slo_fixture f = {0};
	struct histogram *h;

	begin(&f, RUNTIME("ttsp", "p50 <= 1ms"));
	set_page(10, 10, 10, 0, 0, 0);
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	set_page(110, 113, 113, 40, 40, 41); /* 140 below 1 ms, 3 below 8 ms, 1 beyond */
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	h = &f.slo->windows[WINDOW_FAULT].stats.latency;
	assert_int_equal(h->n, 144);
	assert_int_equal(fault_stats(&f)->ok, 144);
	assert_int_equal(histogram_count_above(h, 2 * NSEC_PER_MSEC), 4);
	assert_int_equal(histogram_count_above(h, 9 * NSEC_PER_MSEC), 1);
	assert_int_equal(h->max, HISTOGRAM_MAX_NS); /* known to be below nothing */
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_a_quantile_is_judged_by_the_number_of_stops(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("ttsp", "p99 < 5ms"));
	set_page(0, 0, 0, 0, 0, 0);
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	set_page(1900, 2000, 2000, 0, 0, 0);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(f.result.objectives[0].samples, 2000);
	assert_int_equal(f.result.state, SLO_BREACHED);
	slo_fixture_done(&f);
}

static void test_a_restarted_service_counts_from_zero(void **state)
{
	struct slo_fixture f = {0};
	struct target *t;

	slo_fixture_bind(&f, RUNTIME("ttsp", "p50 <= 1ms"), server.port, 0);
	t = add_target(&f, "room-0", "127.0.0.1");
	target_add_container(t, "app")->started_ns = 1;
	set_page(100, 100, 100, 0, 0, 0);
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	t->containers[0].started_ns = clock_now_ns();
	set_page(30, 30, 30, 0, 0, 0);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->latency.n, 30);
	slo_fixture_done(&f);
}

static void test_readings_are_summed_over_the_targets(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("procs", "value >= 4"));
	add_target(&f, "room-1", "127.0.0.2");
	http_server_page(&server, "# TYPE rt_procs gauge\nrt_procs 2\nrt_procs_other 7\n");
	slo_fixture_start(&f);
	slo_fixture_run_readings(&f, 3);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->values[fault_stats(&f)->n_values - 1] == 4);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_a_sum_is_no_reading_while_a_target_is_late(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("procs", "value >= 4"));
	add_target(&f, "room-1", "127.0.0.2");
	http_server_page(&server, "# TYPE rt_procs gauge\nrt_procs 2\n");
	atomic_store(&server.silent_byte, 2);
	slo_fixture_start(&f);
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->n_values, 0);
	assert_true(fault_stats(&f)->failed >= 3);
	assert_int_equal(f.result.state, SLO_INCONCLUSIVE);
	slo_fixture_done(&f);
}

/* CPU seconds by class, since the process was started. */
static void set_cpu(double mark, double pause)
{
	char text[256];

	snprintf(text, sizeof text,
		 "# TYPE rt_gc_cpu_seconds counter\n# UNIT rt_gc_cpu_seconds seconds\n"
		 "rt_gc_cpu_seconds_total{class=\"mark\"} %f\n"
		 "rt_gc_cpu_seconds_total{class=\"pause\"} %f\n", mark, pause);
	http_server_page(&server, text);
}

static void test_the_collectors_cpu_counts_from_the_start_of_the_run(void **state)
{
	struct slo_fixture f = {0};
	const struct stats *s;

	begin(&f, RUNTIME("gcCpu", "rate <= 100"));
	set_cpu(40, 2);
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	set_cpu(41.5, 2.25);
	run_rounds(&f, 32);
	slo_fixture_end(&f);
	s = fault_stats(&f);
	assert_true(s->n_values >= 4);
	assert_float_equal(s->values[0], 0, 1e-9);
	assert_float_equal(s->values[s->n_values - 1], 1.75, 1e-9);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_a_restarted_collector_goes_on_counting(void **state)
{
	struct slo_fixture f = {0};
	const struct stats *s;
	struct target *t;

	slo_fixture_bind(&f, RUNTIME("gcCpu", "rate <= 100"), server.port, 0);
	t = add_target(&f, "room-0", "127.0.0.1");
	target_add_container(t, "app")->started_ns = 1;
	set_cpu(40, 2);
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	set_cpu(41, 2);
	run_rounds(&f, 3);
	t->containers[0].started_ns = clock_now_ns();
	set_cpu(0.5, 0.25);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	s = fault_stats(&f);
	assert_float_equal(s->values[s->n_values - 1], 1.75, 1e-9);
	slo_fixture_done(&f);
}

static void test_a_pause_counts_at_its_buckets_bound(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("gcPause", "max <= 2ms"));
	http_server_page(&server, "# TYPE rt_gc_pause_seconds histogram\n"
			 "rt_gc_pause_seconds_bucket{le=\"0.002\"} 0\n"
			 "rt_gc_pause_seconds_bucket{le=\"+Inf\"} 0\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	http_server_page(&server, "# TYPE rt_gc_pause_seconds histogram\n"
			 "rt_gc_pause_seconds_bucket{le=\"0.002\"} 42\n"
			 "rt_gc_pause_seconds_bucket{le=\"+Inf\"} 42\n");
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->latency.n, 42);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_the_heap_is_measured_in_bytes(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("heapLive", "max <= 64MiB"));
	http_server_page(&server, "# TYPE rt_heap_live_bytes gauge\nrt_heap_live_bytes 67108865\n"
			 "# TYPE rt_heap_bytes gauge\nrt_heap_bytes 7\n");
	slo_fixture_start(&f);
	slo_fixture_run_readings(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_BREACHED);
	slo_fixture_done(&f);
}

static void test_a_service_without_the_metric_is_inconclusive_and_named(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, RUNTIME("schedLatency", "p50 <= 1ms"));
	set_page(1, 1, 1, 0, 0, 0);
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_INCONCLUSIVE);
	assert_true(slo_fixture_report(&f, "missing") > 0);
	assert_string_equal(json_string_value(json_object_get(
				    json_object_get(f.result.detail, "runtime"), "last_error")),
			    "room-0: no series of rt_sched_latency_seconds");
	slo_fixture_done(&f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_before_the_run_does_not_count),
		TEST(test_increments_count_at_their_buckets_bound),
		TEST(test_a_quantile_is_judged_by_the_number_of_stops),
		TEST(test_a_restarted_service_counts_from_zero),
		TEST(test_readings_are_summed_over_the_targets),
		TEST(test_a_sum_is_no_reading_while_a_target_is_late),
		TEST(test_the_collectors_cpu_counts_from_the_start_of_the_run),
		TEST(test_a_restarted_collector_goes_on_counting),
		TEST(test_a_pause_counts_at_its_buckets_bound),
		TEST(test_the_heap_is_measured_in_bytes),
		TEST(test_a_service_without_the_metric_is_inconclusive_and_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
