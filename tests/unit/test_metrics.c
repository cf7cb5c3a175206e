#include "http_server.h"
#include "slo_fixture.h"

#include <math.h>

#include "slo/tally.h"

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

static struct target *add_target(struct slo_fixture *f, const char *name, const char *address,
				 const char *app)
{
	struct target *t = target_new("default", name);

	target_set_phase(t, "Running");
	strlist_add(&t->addresses, address);
	kvs_set(&t->labels, "app", app);
	target_list_add(&f->targets, t);
	target_unref(t);
	return t;
}

static const struct stats *fault_stats(const struct slo_fixture *f)
{
	return &f->slo->windows[WINDOW_FAULT].stats;
}

/* Runs the loop until n more pages were asked for and a round after them is over. */
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

#define METRICS(what, objective)                                                                   \
	"name: a\nindicator: {metrics: {selector: {labelSelectors: {app: room}}, port: %d, "       \
	"interval: 50ms, " what "}}\nobjectives: ['" objective "']\n"
#define RATIO METRICS("ratio: {bad: stalls_total, total: segments_total}", "ratio <= 5%%")

static void test_ratio_counts_increments(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, RATIO, server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "other-0", "127.0.0.9", "other");
	http_server_page(
		&server,
		"stalls_total 5\nsegments_total{q=\"lo\"} 60\nsegments_total{q=\"hi\"} 40\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	http_server_page(
		&server,
		"stalls_total 6\nsegments_total{q=\"lo\"} 160\nsegments_total{q=\"hi\"} 140\n");
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->bad == 1);
	assert_true(fault_stats(&f)->total == 200);
	assert_int_equal(f.result.state, SLO_HELD);
	assert_int_equal(atomic_load(&server.by_last_byte[9]), 0);
	slo_fixture_done(&f);
}

static void test_ratio_survives_a_restart(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, RATIO, server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	http_server_page(&server, "stalls_total 5\nsegments_total 100\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	http_server_page(&server, "segments_total 30\n"); /* no stall yet: no series */
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->bad == 0);
	assert_true(fault_stats(&f)->total == 30);
	slo_fixture_done(&f);
}

static void test_gauge_is_summed_over_the_targets(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: 'bytes{kind=~\"a|b\"}'", "value <= 1Mi"), server.port,
			 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "127.0.0.2", "room");
	http_server_page(&server,
			 "# TYPE bytes gauge\nbytes{kind=\"a\"} 100\nbytes{kind=\"b\"} 10\n"
			 "bytes{kind=\"c\"} 1\n");
	slo_fixture_start(&f);
	slo_fixture_run_readings(&f, 3);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->values[fault_stats(&f)->n_values - 1] == 220);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

/* The sum of the others is smaller: half of a leak looks like none. */
static void test_a_sum_of_gauges_without_one_of_them_is_no_reading(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: bytes", "value <= 1Mi"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "::1", "room"); /* refused */
	http_server_page(&server, "bytes 100\n");
	slo_fixture_start(&f);
	slo_fixture_run(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->n_values, 0);
	assert_true(slo_fixture_report(&f, "refused") > 0);
	slo_fixture_assert_inconclusive(&f, "default/room-1 answered 0 of ");
	slo_fixture_done(&f);
}

/* The service goes on answering, and says nothing more. */
static void test_a_page_that_says_nothing_more_is_inconclusive(void **state)
{
	static const struct {
		const char *objective, *before, *after;
	} rows[] = {
		{"count <= 10", "kills_total 1000\n", ""},
		{"count <= 10", "kills_total 1000\n", "<html>busy</html>\n"},
		{"count <= 10", "kills_total 1000\n", "other_total 1000\n"},
		{"count <= 10", "kills_total 1000\n", "kills_total NaN\n"},
		{"count <= 10", "kills_total 1000 1700000000000\n", "kills_total 1000 1700000000000\n"},
		{"value <= 2000", "# TYPE kills_total gauge\nkills_total 1000\n",
		 "# TYPE kills_total gauge\nkills_total{a=\"b\"} 1\nkills_total -Inf\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct slo_fixture f = {0};
		char yaml[512];

		snprintf(yaml, sizeof yaml, METRICS("value: kills_total", "%s"), server.port,
			 rows[i].objective);
		slo_fixture_bind(&f, yaml, 0, 0);
		add_target(&f, "room-0", "127.0.0.1", "room");
		http_server_page(&server, rows[i].before);
		slo_fixture_start(&f);
		run_rounds(&f, 4);
		http_server_page(&server, rows[i].after);
		slo_fixture_run_silent(&f, "default/room-0", 4);
		slo_fixture_end(&f);
		slo_fixture_assert_inconclusive(&f, "default/room-0 answered ");
		slo_fixture_assert_inconclusive(&f, ", silent since ");
		slo_fixture_done(&f);
	}
}

/* Counters of the one that answers are below the bound; those of the others nobody knows. */
static void test_one_silent_target_of_several_is_named(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("timeout: 100ms, value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "127.0.0.2", "room");
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 6);
	atomic_store(&server.silent_byte, 2);
	slo_fixture_run_silent(&f, "default/room-1", 4);
	slo_fixture_end(&f);
	assert_int_equal(slo_fixture_coverage(&f, "default/room-0")->silent_run, 0);
	slo_fixture_assert_inconclusive(&f, "default/room-1 answered ");
	slo_fixture_done(&f);
}

static void test_a_target_that_its_source_forgets_is_still_due(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "127.0.0.2", "room");
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	slo_fixture_lose_target(&f);
	slo_fixture_run_silent(&f, "default/room-1", 4);
	slo_fixture_end(&f);
	slo_fixture_assert_inconclusive(&f, "default/room-1 answered ");
	slo_fixture_done(&f);
}

static void test_a_target_that_this_runs_fault_took_down_is_excused_and_told(void **state)
{
	struct slo_fixture f = {.hit = true};
	const struct coverage_source *c;

	slo_fixture_bind(&f, METRICS("value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "127.0.0.2", "room");
	f.targets.items[0]->ready = true;
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	slo_fixture_lose_target(&f);
	c = slo_fixture_coverage(&f, "default/room-1");
	while (c->down < 4) {
		sd_event_run(f.loop, 20000);
		c = slo_fixture_coverage(&f, "default/room-1");
	}
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_assert_note(&f, "default/room-1 was down for ");
	slo_fixture_done(&f);
}

/* It was hit, and its source says that it runs and is ready: then it has to answer. */
static void test_a_target_that_is_hit_and_up_is_not_excused(void **state)
{
	struct slo_fixture f = {.hit = true};

	slo_fixture_bind(&f, METRICS("value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room")->ready = true;
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	http_server_page(&server, "");
	slo_fixture_run_silent(&f, "default/room-0", 4);
	slo_fixture_end(&f);
	slo_fixture_assert_inconclusive(&f, "default/room-0 answered ");
	slo_fixture_done(&f);
}

/* A counter that is read late has counted all the same: a slow target is no silent one. */
static void test_a_late_answer_makes_up_for_a_counters_rounds(void **state)
{
	struct slo_fixture f = {0};
	const struct coverage_source *c;

	slo_fixture_bind(&f, METRICS("timeout: 60s, value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	atomic_store(&server.stalled_until_ns, clock_now_ns() + 400 * NSEC_PER_MSEC);
	slo_fixture_run_for(&f, 500 * NSEC_PER_MSEC);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	c = slo_fixture_coverage(&f, "default/room-0");
	assert_int_equal(c->answered, c->due);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

/* brunt itself stood still: nobody looked. */
static void test_rounds_that_a_stalled_loop_left_out_were_due(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	usleep(700000);
	run_rounds(&f, 3);
	slo_fixture_end(&f);
	assert_true(slo_fixture_coverage(&f, "default/room-0")->due >= 14);
	slo_fixture_assert_inconclusive(&f, "default/room-0 answered ");
	slo_fixture_done(&f);
}

static void test_a_label_that_has_not_come_up_has_counted_nothing(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: 'answers_total{code=\"500\"}'", "count == 0"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	http_server_page(&server, "answers_total{code=\"200\"} 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_counter_tells_its_increase(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: kills_total", "count <= 10"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	http_server_page(&server, "kills_total 1000\n");
	slo_fixture_start(&f);
	run_rounds(&f, 3);
	http_server_page(&server, "kills_total 1007\n");
	run_rounds(&f, 4);
	slo_fixture_end(&f);
	assert_true(f.result.objectives[0].value == 7);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_no_answer_is_no_sample_and_no_abort(void **state)
{
	static const struct {
		const char *page, *kind;
	} rows[] = {{"<html>", "page"}, {"other 1\n", "missing"}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct slo_fixture f = {0};

		slo_fixture_bind(&f, METRICS("value: bytes", "value <= 1Mi"), server.port, 0);
		add_target(&f, "room-0", "127.0.0.1", "room");
		http_server_page(&server, rows[i].page);
		slo_fixture_start(&f);
		slo_fixture_run(&f, 3);
		slo_fixture_end(&f);
		assert_int_equal(fault_stats(&f)->ok, 0);
		assert_true(slo_fixture_report(&f, rows[i].kind) >= 3);
		assert_int_equal(f.result.state, SLO_INCONCLUSIVE);
		slo_fixture_done(&f);
	}
}

static void test_a_silent_target_does_not_hold_up_the_others(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: bytes, timeout: 60s", "value <= 1Mi"), server.port, 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	kvs_set(&add_target(&f, "room-1", "127.0.0.2", "room")->annotations, "a", "b");
	http_server_page(&server, "bytes 1\n");
	slo_fixture_start(&f);
	slo_fixture_run(&f, 2);
	/* From here on nobody answers: rounds go on, and say that they have nothing. */
	atomic_store(&server.stalled_until_ns, clock_now_ns() + 3600 * NSEC_PER_SEC);
	slo_fixture_run(&f, 6);
	atomic_store(&server.stalled_until_ns, 0);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->failed > 0);
	slo_fixture_done(&f);
}

static void test_port_from_the_annotation(void **state)
{
	struct slo_fixture f = {0};
	char port[16];

	slo_fixture_bind(&f,
			 "name: a\nindicator: {metrics: {value: bytes, interval: 50ms}}\n"
			 "objectives: [value <= 5]\n",
			 0, 0);
	snprintf(port, sizeof port, "%d", server.port);
	kvs_set(&add_target(&f, "room-0", "127.0.0.1", "room")->annotations, "prometheus.io/port",
		port);
	http_server_page(&server, "bytes 3\n");
	slo_fixture_start(&f);
	slo_fixture_run(&f, 2);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_HELD);
	slo_fixture_done(&f);
}

static void test_tally_over_restarts(void **state)
{
	static const struct {
		int64_t started;
		double value, want;
	} rows[] = {
		{10, 100, 0},		    /* older than the tally: counts from here */
		{10, 130, 30},		    /* plain */
		{10, 5, 5},		    /* fell: a restart, not told yet */
		{200, 8, 3},		    /* now it is told: the same restart */
		{300, 9, 9},		    /* told: a restart that had passed the old value */
		{300, 12, 3},  {400, 2, 2}, /* fell and told at once */
		{400, 4, 2},
	};
	struct tally t = {.born_ns = 100};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(tally_add(&t, "a", rows[i].started, rows[i].value) == rows[i].want);
	assert_true(tally_add(&t, "young", 150, 7) == 7);
	assert_true(tally_add(&t, "unknown", 0, 7) == 0);
	assert_true(t.sum == 30 + 5 + 3 + 9 + 3 + 2 + 2 + 7);
	tally_done(&t);
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_ratio_counts_increments),
		test(test_ratio_survives_a_restart),
		test(test_gauge_is_summed_over_the_targets),
		test(test_a_sum_of_gauges_without_one_of_them_is_no_reading),
		test(test_a_page_that_says_nothing_more_is_inconclusive),
		test(test_one_silent_target_of_several_is_named),
		test(test_a_target_that_its_source_forgets_is_still_due),
		test(test_a_target_that_this_runs_fault_took_down_is_excused_and_told),
		test(test_a_target_that_is_hit_and_up_is_not_excused),
		test(test_a_late_answer_makes_up_for_a_counters_rounds),
		test(test_rounds_that_a_stalled_loop_left_out_were_due),
		test(test_a_label_that_has_not_come_up_has_counted_nothing),
		test(test_counter_tells_its_increase),
		test(test_no_answer_is_no_sample_and_no_abort),
		test(test_a_silent_target_does_not_hold_up_the_others),
		test(test_port_from_the_annotation),
		cmocka_unit_test(test_tally_over_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
