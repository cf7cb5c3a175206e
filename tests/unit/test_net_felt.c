/* What the round trips of a few probes say of the delay that was asked for. */
#include "fault/net_felt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define MS NSEC_PER_MSEC
enum { MANY = 200 };

static struct effect_figure figure_of(const struct net_params *p, int ways, const int64_t *added_ms,
				      size_t n)
{
	struct delay_table table = {0};
	struct effect_figure g;
	int64_t added_ns[MANY];

	if (p->delay.percentiles.n)
		assert_int_equal(net_delay_table(p, &table, NULL), 0);
	for (size_t i = 0; i < n; i++)
		added_ns[i] = added_ms[i] * MS;
	net_felt_delay(p, &table, ways, added_ns, n, &g);
	return g;
}

static void expect(struct effect_figure g, enum effect_state want)
{
	char text[256];

	effect_figure_text(&g, text, sizeof text);
	if (effect_compare(&g) != want)
		fail_msg("%s: want %s, saw %s", text, effect_state_names[want],
			 effect_state_names[effect_compare(&g)]);
}

static void expect_delay(const struct net_params *p, int ways, const int64_t *added_ms, size_t n,
			 enum effect_state want)
{
	expect(figure_of(p, ways, added_ms, n), want);
}

static struct net_params constant(int64_t ms)
{
	return (struct net_params){.action = NET_DELAY,
				   .delay = {.given = true, .latency_given = true, .latency_ns = ms * MS}};
}

static struct net_params shaped(struct delay_quantile *points, size_t n)
{
	return (struct net_params){.action = NET_DELAY,
				   .delay = {.given = true, .percentiles = {points, n}}};
}

static void test_constant_delay_by_the_median(void **state)
{
	struct net_params p = constant(100);

	expect_delay(&p, 1, (int64_t[]){101, 102, 101, 150, 101, 100}, 6, EFFECT_MEASURED);
	expect_delay(&p, 1, (int64_t[]){2, 1, 2, 1, 1, 3}, 6, EFFECT_NONE);
	expect_delay(&p, 1, (int64_t[]){60, 60, 61, 60, 62, 60}, 6, EFFECT_LESS);
	expect_delay(&p, 1, (int64_t[]){205, 202, 203, 202, 204, 202}, 6, EFFECT_MORE);
	expect_delay(&p, 1, (int64_t[]){101, 101, 101}, 3, EFFECT_UNKNOWN);
}

static void test_two_ways_are_asked_for_twice(void **state)
{
	struct net_params p = constant(100);

	assert_true(figure_of(&p, 2, (int64_t[]){0}, 0).asked == 200 * MS);
	expect_delay(&p, 2, (int64_t[]){201, 201, 201, 201, 203, 201}, 6, EFFECT_MEASURED);
	expect_delay(&p, 2, (int64_t[]){101, 101, 101, 101, 103, 101}, 6, EFFECT_LESS);
	expect_delay(&p, 2, (int64_t[]){405, 406, 405, 405, 404, 405}, 6, EFFECT_MORE);
}

/* Before, half of the probes late by half of the delay was enough, and nothing was too much. */
static void test_half_late_probes_are_not_the_delay(void **state)
{
	struct net_params p = constant(100);

	expect_delay(&p, 1, (int64_t[]){0, 100, 0, 100, 0, 100, 0, 0, 100, 0, 100, 0}, 12, EFFECT_UNKNOWN);
}

static void test_two_humps_by_their_mean(void **state)
{
	struct delay_quantile humps[] = {
		{100000, 20 * MS}, {450000, 20 * MS}, {490000, 100 * MS}, {1000000, 100 * MS}};
	struct net_params p = shaped(humps, ARRAY_SIZE(humps));
	int64_t seen[MANY], twice[MANY], none[MANY];

	for (size_t i = 0; i < MANY; i++) {
		seen[i] = i % 20 < 9 ? 20 : 100;
		twice[i] = 2 * seen[i];
		none[i] = (int64_t)(i % 3);
	}
	expect_delay(&p, 1, seen, MANY, EFFECT_MEASURED);
	expect_delay(&p, 1, twice, MANY, EFFECT_MORE);
	expect_delay(&p, 1, none, MANY, EFFECT_NONE);
}

/* The engine counts all of them: a wide distribution is told from thousands. */
static void test_the_mean_of_all_packets_of_a_distribution(void **state)
{
	struct delay_quantile points[] = {{500000, 20 * MS}, {950000, 400 * MS}};
	struct net_params p = shaped(points, ARRAY_SIZE(points));
	struct delay_table table = {0};
	struct effect_figure g;
	double mean = 0;

	assert_int_equal(net_delay_table(&p, &table, NULL), 0);
	for (uint32_t i = 0; i < table.n; i++)
		mean += (double)delay_table_at(&table, i) / table.n;
	net_felt_mean(&p, &table, mean, 4000, &g);
	if (g.asked < mean * 0.99 || g.asked > mean * 1.01)
		fail_msg("want %g ns asked for, saw %g", mean, g.asked);
	expect(g, EFFECT_MEASURED);
	net_felt_mean(&p, &table, 2 * mean, 4000, &g);
	expect(g, EFFECT_MORE);
	net_felt_mean(&p, &table, mean / 2, 4000, &g);
	expect(g, EFFECT_LESS);
	net_felt_mean(&p, &table, mean / 2, 4, &g);
	expect(g, EFFECT_UNKNOWN);
}

static void test_a_tail_is_looked_for_where_the_body_is_no_delay(void **state)
{
	struct delay_quantile tail[] = {{900000, 0}, {930000, 100 * MS}, {1000000, 100 * MS}};
	struct net_params p = shaped(tail, ARRAY_SIZE(tail));
	int64_t mostly_fast[MANY], fast[MANY];

	for (size_t i = 0; i < MANY; i++) {
		mostly_fast[i] = i % 12 == 3 ? 101 : 0;
		fast[i] = 0;
	}
	assert_string_equal(figure_of(&p, 1, fast, MANY).name, "late round trips");
	expect_delay(&p, 1, mostly_fast, MANY, EFFECT_MEASURED);
	expect_delay(&p, 1, fast, MANY, EFFECT_NONE);
	expect_delay(&p, 1, fast, 12, EFFECT_UNKNOWN); /* one late of twelve was hoped for */
}

static void test_jitter_as_large_as_the_delay(void **state)
{
	struct net_params p = constant(100);
	int64_t seen[40];

	p.delay.jitter_ns = 100 * MS;
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
		seen[i] = (int64_t)(i * 37 % 40) * 5 + 3; /* 3 .. 198 */
	expect_delay(&p, 1, seen, ARRAY_SIZE(seen), EFFECT_MEASURED);
	expect_delay(&p, 1, (int64_t[]){1, 6, 2, 1, 3, 1, 1, 3}, 8, EFFECT_NONE);
}

/* Seven of ten overtake: the mean is 30 ms, and seven of ten come at once. */
static void test_those_that_overtake_are_counted(void **state)
{
	struct net_params p = constant(100);
	struct effect_figure g;
	int64_t seen[40], none[40];

	p.delay.reorder = (struct net_reorder){.given = true, .ppm = 700000, .gap = 1};
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
		seen[i] = i % 10 < 7 ? 0 : 101;
		none[i] = 101;
	}
	expect_delay(&p, 1, seen, ARRAY_SIZE(seen), EFFECT_MEASURED);
	for (size_t i = 0; i < ARRAY_SIZE(seen); i++) {
		seen[i] *= MS;
		none[i] *= MS;
	}
	net_felt_reorder(&p, 1, seen, ARRAY_SIZE(seen), &g);
	expect(g, EFFECT_MEASURED);
	net_felt_reorder(&p, 1, none, ARRAY_SIZE(none), &g);
	expect(g, EFFECT_NONE);
	net_felt_reorder(&p, 1, seen, 4, &g);
	assert_int_equal(g.samples, 4);
	p.delay.reorder.gap = 5;
	assert_true(net_reorder_share(&p.delay) > 0.18 && net_reorder_share(&p.delay) < 0.19);
}

/* A packet that waits for the rate is late besides: only too little is wrong then. */
static void test_a_rate_may_add_to_the_delay(void **state)
{
	struct net_params p = constant(100);

	p.action = NET_NETEM;
	p.rate.given = true;
	expect_delay(&p, 1, (int64_t[]){300, 400, 350, 310, 320, 330}, 6, EFFECT_MEASURED);
	expect_delay(&p, 1, (int64_t[]){30, 40, 35, 31, 32, 33}, 6, EFFECT_LESS);
}

static void test_no_delay_asked_for_and_none_seen(void **state)
{
	struct net_params p = constant(0);

	expect_delay(&p, 1, (int64_t[]){0, 0, 0, 0, 0, 0}, 6, EFFECT_MEASURED);
	expect_delay(&p, 1, (int64_t[]){50, 50, 50, 50, 50, 50}, 6, EFFECT_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant_delay_by_the_median),
		cmocka_unit_test(test_two_ways_are_asked_for_twice),
		cmocka_unit_test(test_half_late_probes_are_not_the_delay),
		cmocka_unit_test(test_two_humps_by_their_mean),
		cmocka_unit_test(test_the_mean_of_all_packets_of_a_distribution),
		cmocka_unit_test(test_a_tail_is_looked_for_where_the_body_is_no_delay),
		cmocka_unit_test(test_jitter_as_large_as_the_delay),
		cmocka_unit_test(test_those_that_overtake_are_counted),
		cmocka_unit_test(test_a_rate_may_add_to_the_delay),
		cmocka_unit_test(test_no_delay_asked_for_and_none_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
