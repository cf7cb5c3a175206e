#include "fault/delay_fate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/own.h"

enum { N = 20000 };

static double delays_ms[N];
static struct delay_table table;

static struct delay_dice roll_all(const struct delay_params *p, uint64_t stream)
{
	struct delay_dice d;

	delay_dice_init(&d, p->seed, stream);
	for (int i = 0; i < N; i++)
		delays_ms[i] = (double)delay_dice_roll(&d, p).delay_ns / NSEC_PER_MSEC;
	return d;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double quantile(double q)
{
	double sorted[N];

	memcpy(sorted, delays_ms, sizeof sorted);
	qsort(sorted, N, sizeof *sorted, by_value);
	return sorted[(int)(q * N)];
}

/* Of each delay with the one before it. */
static double correlation(void)
{
	double mean = 0, var = 0, cov = 0;

	for (int i = 0; i < N; i++)
		mean += delays_ms[i] / N;
	for (int i = 1; i < N; i++) {
		var += (delays_ms[i] - mean) * (delays_ms[i] - mean);
		cov += (delays_ms[i] - mean) * (delays_ms[i - 1] - mean);
	}
	return cov / var;
}

static void test_roll_constant_delay(void **state)
{
	const struct delay_params p = {.delay_ns = 10 * NSEC_PER_MSEC};

	(void)state;
	roll_all(&p, 1);
	assert_true(quantile(0) == 10 && quantile(0.9999) == 10);
}

static void test_roll_jitter_is_uniform_around_delay(void **state)
{
	const struct delay_params p = {
		.delay_ns = 50 * NSEC_PER_MSEC, .jitter_ns = 20 * NSEC_PER_MSEC, .seed = 1};

	(void)state;
	roll_all(&p, 1);
	assert_true(quantile(0) >= 30 && quantile(0.99999) <= 70);
	assert_true(fabs(quantile(0.25) - 40) < 0.7);
	assert_true(fabs(quantile(0.75) - 60) < 0.7);
	assert_true(fabs(correlation()) < 0.03);
}

static void test_roll_never_negative(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_MSEC, .jitter_ns = 5 * NSEC_PER_MSEC};

	(void)state;
	roll_all(&p, 1);
	assert_true(quantile(0) == 0);
	assert_true(quantile(0.3) == 0);
	assert_true(quantile(0.999) > 5);
}

static void test_roll_follows_table(void **state)
{
	static const struct delay_quantile q[] = {{500000, 100 * NSEC_PER_MSEC},
						  {950000, 800 * NSEC_PER_MSEC},
						  {990000, 960 * NSEC_PER_MSEC}};
	const struct delay_params p = {.table = &table, .seed = 42};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 3, &table, NULL), 0);
	roll_all(&p, 1);
	assert_true(fabs(quantile(0.50) - 100) < 6);
	assert_true(fabs(quantile(0.95) - 800) < 16);
	assert_true(fabs(quantile(0.99) - 960) < 16);
}

static void test_roll_correlated_keeps_the_distribution(void **state)
{
	const struct delay_params p = {.delay_ns = 50 * NSEC_PER_MSEC,
				       .jitter_ns = 20 * NSEC_PER_MSEC,
				       .correlation_ppm = 750000,
				       .seed = 7};

	(void)state;
	roll_all(&p, 1);
	assert_true(fabs(correlation() - 0.75) < 0.04);
	assert_true(fabs(quantile(0.05) - 32) < 1.5);
	assert_true(fabs(quantile(0.50) - 50) < 2);
	assert_true(fabs(quantile(0.95) - 68) < 1.5);
}

static void test_roll_same_seed_same_sequence(void **state)
{
	struct delay_params p = {.delay_ns = 50 * NSEC_PER_MSEC, .jitter_ns = 20 * NSEC_PER_MSEC,
				 .correlation_ppm = 250000, .reorder_ppm = 100000, .seed = 5};
	static double first[N];

	(void)state;
	roll_all(&p, 1);
	memcpy(first, delays_ms, sizeof first);
	roll_all(&p, 1);
	assert_memory_equal(first, delays_ms, sizeof first);
	roll_all(&p, 2);
	assert_memory_not_equal(first, delays_ms, sizeof first);
	p.seed = 6;
	roll_all(&p, 1);
	assert_memory_not_equal(first, delays_ms, sizeof first);
}

/* Turning one fate on must not change the others' dice. */
static void test_roll_lanes_are_independent(void **state)
{
	struct delay_params p = {.delay_ns = 50 * NSEC_PER_MSEC, .jitter_ns = 20 * NSEC_PER_MSEC};
	static double first[N];

	(void)state;
	roll_all(&p, 1);
	memcpy(first, delays_ms, sizeof first);
	p.duplicate_ppm = 500000;
	p.corrupt_ppm = 500000;
	roll_all(&p, 1);
	assert_memory_equal(first, delays_ms, sizeof first);
}

static void test_roll_shares_of_duplicate_corrupt_reorder(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_MSEC, .duplicate_ppm = 100000,
				       .corrupt_ppm = 20000, .reorder_ppm = 250000};
	int duplicated = 0, corrupted = 0, at_once = 0;
	struct delay_dice d;

	(void)state;
	delay_dice_init(&d, 3, 9);
	for (int i = 0; i < N; i++) {
		struct delay_fate f = delay_dice_roll(&d, &p);

		duplicated += f.duplicate;
		corrupted += f.corrupt;
		at_once += f.delay_ns == 0;
		assert_true(!f.duplicate || f.duplicate_delay_ns == NSEC_PER_MSEC);
	}
	assert_in_range(duplicated, N / 10 - 200, N / 10 + 200);
	assert_in_range(corrupted, N / 50 - 100, N / 50 + 100);
	assert_in_range(at_once, N / 4 - 300, N / 4 + 300);
}

static void test_roll_gap_leaves_packets_between(void **state)
{
	const struct delay_params p = {.delay_ns = NSEC_PER_MSEC, .reorder_ppm = 1000000,
				       .reorder_gap = 5};

	(void)state;
	roll_all(&p, 1);
	for (int i = 0; i < N; i++)
		assert_true((delays_ms[i] == 0) == (i % 5 == 4));
}

static void test_normal_quantile_at_known_points(void **state)
{
	(void)state;
	assert_true(fabs(delay_normal_quantile(0.5)) < 1e-9);
	assert_true(fabs(delay_normal_quantile(0.975) - 1.959964) < 1e-5);
	assert_true(fabs(delay_normal_quantile(0.001) + 3.090232) < 1e-5);
	assert_true(fabs(delay_normal_quantile(0.999999) - 4.753424) < 1e-5);
}

static void test_limit_packets_grows_with_delay_and_rate(void **state)
{
	const struct delay_params p = {.delay_ns = 100 * NSEC_PER_MSEC};
	const struct delay_params t = {.table = &table};

	(void)state;
	assert_int_equal(delay_limit_packets(&p, 15000000), 1000 + 1250);
	assert_true(delay_limit_packets(&p, 0) > 100000);
	assert_true(delay_limit_packets(&t, 15000000) > 1000 + 9600);
	assert_int_equal(delay_limit_packets(&(struct delay_params){0}, 0), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roll_constant_delay),
		cmocka_unit_test(test_roll_jitter_is_uniform_around_delay),
		cmocka_unit_test(test_roll_never_negative),
		cmocka_unit_test(test_roll_follows_table),
		cmocka_unit_test(test_roll_correlated_keeps_the_distribution),
		cmocka_unit_test(test_roll_same_seed_same_sequence),
		cmocka_unit_test(test_roll_lanes_are_independent),
		cmocka_unit_test(test_roll_shares_of_duplicate_corrupt_reorder),
		cmocka_unit_test(test_roll_gap_leaves_packets_between),
		cmocka_unit_test(test_normal_quantile_at_known_points),
		cmocka_unit_test(test_limit_packets_grows_with_delay_and_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
