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
#define RATIO METRICS("ratio: {bad: stalls_total, total: segments_total}", "ratio <= 1%%")

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

static void test_gauge_is_summed_over_the_targets_that_answer(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, METRICS("value: 'bytes{kind=~\"a|b\"}'", "value <= 1Mi"), server.port,
			 0);
	add_target(&f, "room-0", "127.0.0.1", "room");
	add_target(&f, "room-1", "127.0.0.2", "room");
	add_target(&f, "room-2", "::1", "room"); /* refused: left out */
	http_server_page(&server,
			 "# TYPE bytes gauge\nbytes{kind=\"a\"} 100\nbytes{kind=\"b\"} 10\n"
			 "bytes{kind=\"c\"} 1\n");
	slo_fixture_start(&f);
	slo_fixture_run_readings(&f, 3);
	slo_fixture_end(&f);
	assert_true(fault_stats(&f)->values[fault_stats(&f)->n_values - 1] == 220);
	assert_int_equal(f.result.state, SLO_HELD);
	assert_true(slo_fixture_report(&f, "refused") > 0);
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
		test(test_gauge_is_summed_over_the_targets_that_answer),
		test(test_counter_tells_its_increase),
		test(test_no_answer_is_no_sample_and_no_abort),
		test(test_a_silent_target_does_not_hold_up_the_others),
		test(test_port_from_the_annotation),
		cmocka_unit_test(test_tally_over_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
