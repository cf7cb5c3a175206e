/* Whether the round trips of a few probes show the delay that was asked for. */
#include "fault/net_felt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS NSEC_PER_MSEC

static enum effect_state felt(const struct net_params *p, int ways, const int64_t *rtt_ms, size_t n)
{
	struct delay_table table = {0};
	struct net_asked asked;
	int64_t rtt_ns[32];

	if (p->delay.percentiles.n)
		assert_int_equal(net_delay_table(p, &table, NULL), 0);
	asked = net_asked_delay(p, &table);
	for (size_t i = 0; i < n; i++)
		rtt_ns[i] = rtt_ms[i] * MS;
	return net_delay_felt(&asked, ways, rtt_ns, n, 1 * MS);
}

static struct net_params constant(int64_t ms)
{
	return (struct net_params){.delay = {.given = true, .latency_given = true, .latency_ns = ms * MS}};
}

static struct net_params shaped(struct delay_quantile *points, size_t n)
{
	return (struct net_params){.delay = {.given = true, .percentiles = {points, n}}};
}

static void test_constant_delay_is_felt_by_half_of_it(void **state)
{
	struct net_params p = constant(100);

	assert_int_equal(felt(&p, 1, (int64_t[]){101, 102, 101, 150}, 4), EFFECT_MEASURED);
	assert_int_equal(felt(&p, 1, (int64_t[]){2, 1, 2, 150}, 4), EFFECT_NONE);
	assert_int_equal(felt(&p, 2, (int64_t[]){90, 90, 90, 90}, 4), EFFECT_NONE);
	assert_int_equal(felt(&p, 2, (int64_t[]){201, 201, 201, 201}, 4), EFFECT_MEASURED);
}

static void test_two_humps_are_felt_whichever_the_probes_meet(void **state)
{
	struct delay_quantile humps[] = {
		{100000, 20 * MS}, {450000, 20 * MS}, {490000, 100 * MS}, {1000000, 100 * MS}};
	struct net_params p = shaped(humps, ARRAY_SIZE(humps));

	assert_int_equal(felt(&p, 1, (int64_t[]){21, 21, 21, 21, 101, 101, 101}, 7), EFFECT_MEASURED);
	assert_int_equal(felt(&p, 1, (int64_t[]){1, 1, 2, 1, 1, 2, 1}, 7), EFFECT_NONE);
}

static void test_a_tail_is_looked_for_where_the_body_is_no_delay(void **state)
{
	struct delay_quantile tail[] = {{700000, 0}, {740000, 100 * MS}, {1000000, 100 * MS}};
	struct net_params p = shaped(tail, ARRAY_SIZE(tail));
	const int64_t mostly_fast[] = {1, 1, 1, 101, 1, 1, 1, 1, 101, 1, 1, 1, 1, 1, 1, 101};
	const int64_t fast[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

	assert_int_equal(felt(&p, 1, mostly_fast, 16), EFFECT_MEASURED);
	assert_int_equal(felt(&p, 1, fast, 16), EFFECT_NONE);
	assert_int_equal(felt(&p, 1, fast, 4), EFFECT_UNKNOWN); /* one late of four was hoped for */
}

static void test_those_that_overtake_are_not_expected_late(void **state)
{
	struct net_params p = constant(100);

	p.delay.reorder = (struct net_reorder){.given = true, .ppm = 700000, .gap = 1};
	assert_int_equal(felt(&p, 1, (int64_t[]){1, 1, 101, 1, 1, 101, 1, 1, 1, 101}, 10),
			 EFFECT_MEASURED);
}

static void test_jitter_as_large_as_the_delay(void **state)
{
	struct net_params p = constant(100);

	p.delay.jitter_ns = 100 * MS;
	assert_int_equal(felt(&p, 1, (int64_t[]){41, 46, 20, 150, 44, 12, 170, 33}, 8), EFFECT_MEASURED);
	assert_int_equal(felt(&p, 1, (int64_t[]){1, 6, 2, 1, 3, 1, 1, 3}, 8), EFFECT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant_delay_is_felt_by_half_of_it),
		cmocka_unit_test(test_two_humps_are_felt_whichever_the_probes_meet),
		cmocka_unit_test(test_a_tail_is_looked_for_where_the_body_is_no_delay),
		cmocka_unit_test(test_those_that_overtake_are_not_expected_late),
		cmocka_unit_test(test_jitter_as_large_as_the_delay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
