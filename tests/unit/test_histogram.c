#include "slo/histogram.h"
#include "slo/interval.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/own.h"
#include "base/rng.h"

enum { N = 20000 };

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Spread evenly over the decades from 1 us to 1 h. */
static int64_t random_latency(uint64_t seed, uint64_t i)
{
	double u = (double)(rng_at(seed, 1, i) >> 11) / (double)(1ULL << 53);

	return (int64_t)(1e3 * pow(3.6e9, u));
}

static void assert_near(int64_t got, int64_t want)
{
	if (fabs((double)(got - want)) > HISTOGRAM_ERROR * (double)want + 0.5)
		fail_msg("%lld is further than %g from %lld", (long long)got, HISTOGRAM_ERROR,
			 (long long)want);
}

static void test_quantiles_within_the_promised_error(void **state)
{
	static const double quantiles[] = {0.0001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
	autofree int64_t *exact = calloc(N, sizeof *exact);

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct histogram h = {0};

		for (size_t i = 0; i < N; i++) {
			exact[i] = random_latency(seed, i);
			histogram_add(&h, exact[i]);
		}
		qsort(exact, N, sizeof *exact, by_value);
		for (size_t i = 0; i < ARRAY_SIZE(quantiles); i++)
			assert_near(histogram_quantile(&h, quantiles[i]),
				    exact[histogram_rank(N, quantiles[i]) - 1]);
		assert_int_equal(h.min, exact[0]);
		assert_int_equal(h.max, exact[N - 1]);
		histogram_done(&h);
	}
}

static void test_every_value_reads_back_within_the_error(void **state)
{
	(void)state;
	for (int64_t v = 0; v <= HISTOGRAM_MAX_NS; v = v < 5000 ? v + 1 : v + v / 777) {
		struct histogram h = {0};

		histogram_add(&h, 0);
		histogram_add(&h, v);
		histogram_add(&h, HISTOGRAM_MAX_NS);
		assert_near(histogram_at_rank(&h, 2), v);
		histogram_done(&h);
	}
}

static void test_values_beyond_an_hour_count_in_the_last_bucket(void **state)
{
	struct histogram h = {0};

	(void)state;
	histogram_add(&h, 5 * HISTOGRAM_MAX_NS);
	histogram_add(&h, 6 * HISTOGRAM_MAX_NS);
	histogram_add(&h, -7);
	assert_int_equal(h.n, 3);
	assert_int_equal(h.max, 6 * HISTOGRAM_MAX_NS);
	assert_int_equal(h.min, 0);
	histogram_done(&h);
}

static void test_merge_equals_adding_all(void **state)
{
	struct histogram a = {0}, b = {0}, all = {0};

	(void)state;
	for (size_t i = 0; i < N; i++) {
		histogram_add(i % 3 ? &a : &b, random_latency(7, i));
		histogram_add(&all, random_latency(7, i));
	}
	histogram_merge(&a, &b);
	assert_int_equal(a.n, all.n);
	assert_int_equal(a.min, all.min);
	assert_int_equal(a.max, all.max);
	for (double q = 0.001; q < 1; q += 0.001)
		assert_int_equal(histogram_quantile(&a, q), histogram_quantile(&all, q));
	histogram_done(&a);
	histogram_done(&b);
	histogram_done(&all);
}

static void test_count_above(void **state)
{
	struct histogram h = {0};

	(void)state;
	for (int64_t ms = 1; ms <= 100; ms++)
		histogram_add(&h, ms * NSEC_PER_MSEC);
	assert_int_equal(histogram_count_above(&h, 90 * NSEC_PER_MSEC), 10);
	assert_int_equal(histogram_count_above(&h, 100 * NSEC_PER_MSEC), 0);
	assert_int_equal(histogram_count_above(&h, 0), 100);
	histogram_reset(&h);
	assert_int_equal(h.n, 0);
	assert_int_equal(histogram_count_above(&h, 0), 0);
	assert_true(isnan(histogram_mean(&h)));
	histogram_done(&h);
}

/* Exact rational sums. */
static void test_binomial_against_known_values(void **state)
{
	static const struct {
		int64_t k;
		uint64_t n;
		double p, want;
	} rows[] = {
		{5, 10, 0.5, 0.623046875},	{0, 10, 0.1, 0.3486784401},
		{39, 100, 0.5, 0.017600100108852}, {60, 100, 0.5, 0.982399899891147},
		{990, 1000, 0.99, 0.5426994078251092},	{-1, 10, 0.5, 0},
		{10, 10, 0.5, 1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(fabs(interval_binomial_cdf(rows[i].k, rows[i].n, rows[i].p) -
				 rows[i].want) < 2e-6);
}

/* Exact sums of binomial terms, independent of the continued fraction. */
static void test_binomial_against_summation(void **state)
{
	(void)state;
	for (uint64_t n = 1; n < 400; n += 13)
		for (double p = 0.01; p < 1; p += 0.07) {
			double sum = 0;

			for (uint64_t k = 0; k <= n; k++) {
				sum += exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) +
					   k * log(p) + (n - k) * log1p(-p));
				assert_true(fabs(interval_binomial_cdf((int64_t)k, n, p) - sum) < 1e-9);
			}
		}
}

static void test_ranks_of_textbook_cases(void **state)
{
	static const struct {
		uint64_t n;
		double q;
		bool bounded;
		uint64_t low, high;
	} rows[] = {
		/* median of 100: David and Nagaraja's 40 and 61 */
		{100, 0.5, true, 40, 61},
		{10, 0.5, true, 2, 9},
		/* the largest of 368 is needed to bound p99 from above: 0.99^368 < 0.025 */
		{367, 0.99, false, 359, 368},
		{368, 0.99, true, 360, 368},
		{1000, 0.99, true, 983, 997},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t low, high;

		assert_int_equal(interval_ranks(rows[i].n, rows[i].q, &low, &high), rows[i].bounded);
		assert_int_equal(low, rows[i].low);
		assert_int_equal(high, rows[i].high);
	}
}

/* The interval must hold the true quantile in at least 95 of 100 experiments. */
static void test_ranks_cover_the_true_quantile(void **state)
{
	uint64_t low, high;
	size_t covered = 0;

	(void)state;
	assert_true(interval_ranks(1500, 0.99, &low, &high));
	for (uint64_t run = 0; run < 2000; run++) {
		size_t below = 0;

		for (uint64_t i = 0; i < 1500; i++)
			below += rng_below(run, 2, i, 1000000) < 990000;
		covered += below >= low && below < high;
	}
	assert_true(covered >= 1880);
}

static void test_share_against_known_values(void **state)
{
	double low, high;

	(void)state;
	interval_share(81, 263, &low, &high); /* Newcombe 1998, table I: 0.2553 to 0.3662 */
	assert_true(fabs(low - 0.2553) < 5e-5 && fabs(high - 0.3662) < 5e-5);
	interval_share(0, 20, &low, &high); /* the same: 0 to 0.1611 */
	assert_true(low == 0 && fabs(high - 0.1611) < 5e-5);
	interval_share(50, 50, &low, &high);
	assert_true(high == 1 && low > 0.92);
}

static void test_samples_needed_have_ten_beyond(void **state)
{
	(void)state;
	assert_int_equal(interval_samples_needed(0.5), 20);
	assert_int_equal(interval_samples_needed(0.95), 200);
	assert_int_equal(interval_samples_needed(0.99), 1000);
	assert_int_equal(interval_samples_needed(0.999), 10000);
	assert_int_equal(interval_samples_needed(0.01), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quantiles_within_the_promised_error),
		cmocka_unit_test(test_every_value_reads_back_within_the_error),
		cmocka_unit_test(test_values_beyond_an_hour_count_in_the_last_bucket),
		cmocka_unit_test(test_merge_equals_adding_all),
		cmocka_unit_test(test_count_above),
		cmocka_unit_test(test_binomial_against_known_values),
		cmocka_unit_test(test_binomial_against_summation),
		cmocka_unit_test(test_ranks_of_textbook_cases),
		cmocka_unit_test(test_ranks_cover_the_true_quantile),
		cmocka_unit_test(test_share_against_known_values),
		cmocka_unit_test(test_samples_needed_have_ten_beyond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
