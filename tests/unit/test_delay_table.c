#include "fault/delay_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/mem.h"

static struct delay_table table;

static double at_ms(double quantile)
{
	return (double)delay_table_at(&table, (uint32_t)(quantile * table.n)) / NSEC_PER_MSEC;
}

static void assert_near(double got, double want, double percent)
{
	if (fabs(got - want) > want * percent / 100)
		fail_msg("%g is not within %g %% of %g", got, percent, want);
}

static void test_from_quantiles_hits_each_given_point(void **state)
{
	static const struct delay_quantile q[] = {
		{990000, 960 * NSEC_PER_MSEC}, {500000, 100 * NSEC_PER_MSEC},
		{950000, 800 * NSEC_PER_MSEC}};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 3, &table, NULL), 0);
	assert_near(at_ms(0.50), 100, 0.5);
	assert_near(at_ms(0.95), 800, 0.5);
	assert_near(at_ms(0.99), 960, 0.5);
}

static void test_from_quantiles_is_log_linear_between_points(void **state)
{
	static const struct delay_quantile q[] = {
		{0, NSEC_PER_MSEC}, {500000, 10 * NSEC_PER_MSEC}, {1000000, 1000 * NSEC_PER_MSEC}};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 3, &table, NULL), 0);
	assert_near(at_ms(0.25), sqrt(10), 1);
	assert_near(at_ms(0.75), 100, 1);
	assert_near(at_ms(0.0), 1, 3);
	assert_near(at_ms(0.99999), 1000, 1);
}

static void test_from_quantiles_continues_the_outer_segments(void **state)
{
	static const struct delay_quantile q[] = {{500000, 20 * NSEC_PER_MSEC},
						  {950000, 800 * NSEC_PER_MSEC}};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 2, &table, NULL), 0);
	assert_near(at_ms(0.10), 20 * pow(40, -0.4 / 0.45), 3);
	assert_near(at_ms(0.99), 800 * pow(40, 0.04 / 0.45), 1);
}

static void test_from_one_quantile_is_constant(void **state)
{
	static const struct delay_quantile q = {500000, 20 * NSEC_PER_MSEC};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(&q, 1, &table, NULL), 0);
	assert_int_equal(delay_table_at(&table, 0), 20 * NSEC_PER_MSEC);
	assert_int_equal(delay_table_at(&table, table.n - 1), 20 * NSEC_PER_MSEC);
	assert_int_equal(table.spread_ns, 0);
}

static void test_from_quantiles_no_delay_stays_none(void **state)
{
	static const struct delay_quantile q[] = {{0, 0}, {500000, 0}, {990000, NSEC_PER_SEC}};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 3, &table, NULL), 0);
	assert_true(at_ms(0.3) < 0.1);
	assert_near(at_ms(0.99), 1000, 1);
}

static void refuse(const struct delay_quantile *q, size_t n, const char *text)
{
	struct err e = {0};

	assert_true(delay_table_from_quantiles(q, n, &table, &e) < 0);
	assert_string_equal(e.text, text);
}

static void test_from_quantiles_says_what_is_wrong(void **state)
{
	(void)state;
	refuse(NULL, 0, "no percentile is given");
	refuse((struct delay_quantile[]){{500000, 1}, {500000, 2}}, 2, "p50 is given twice");
	refuse((struct delay_quantile[]){{999000, NSEC_PER_SEC}, {500000, 2 * NSEC_PER_SEC}}, 2,
	       "p99.9 (1.00 s) is below p50 (2.00 s)");
	refuse((struct delay_quantile[]){{0, NSEC_PER_SEC}, {990000, 60 * NSEC_PER_SEC}}, 2,
	       "the delays spread too far: 47.6 s from their mean (at most 8.5 s)");
}

/* The kernel computes with a 32-bit spread: netem's own arithmetic must give the same delays. */
static void test_table_fits_netem(void **state)
{
	static const struct delay_quantile q[] = {{500000, 100 * NSEC_PER_MSEC},
						  {990000, 4 * NSEC_PER_SEC}};

	(void)state;
	assert_int_equal(delay_table_from_quantiles(q, 2, &table, NULL), 0);
	assert_true(table.spread_ns <= INT32_MAX);
	for (uint32_t i = 0; i < table.n; i += 1000) {
		int32_t sigma = (int32_t)table.spread_ns, t = table.t[i];
		int64_t x = (sigma % 8192) * t;

		x += x >= 0 ? 4096 : -4096;
		x = x / 8192 + (int64_t)(sigma / 8192) * t + table.mean_ns;
		assert_int_equal(delay_table_at(&table, i), x > 0 ? x : 0);
	}
}

static void test_from_samples_keeps_their_distribution(void **state)
{
	static int64_t samples[1000];

	(void)state;
	for (int i = 0; i < 1000; i++)
		samples[i] = (i * 7919 % 1000 + 1) * NSEC_PER_MSEC;
	assert_int_equal(delay_table_from_samples(samples, 1000, &table, NULL), 0);
	assert_near(at_ms(0.5), 500, 0.5);
	assert_near(at_ms(0.9), 900, 0.5);
	assert_near(at_ms(0.999), 1000, 0.5);
	assert_true(delay_table_from_samples(samples, 0, &table, NULL) < 0);
}

static int from_text(const char *text, int64_t unit_ns, struct err *e)
{
	char path[] = "/tmp/brunt-test-XXXXXX";
	autofd int fd = mkstemp(path);
	int r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	r = delay_table_from_file(path, unit_ns, &table, e);
	unlink(path);
	return r;
}

static void test_from_file_list_of_delays(void **state)
{
	(void)state;
	assert_int_equal(from_text("# measured\n10\n20ms\n 0.03s \n\n40000us\n", 1, NULL), 0);
	assert_near(at_ms(0.1), 10, 0.1);
	assert_near(at_ms(0.3), 20, 0.1);
	assert_near(at_ms(0.6), 30, 0.1);
	assert_near(at_ms(0.9), 40, 0.1);
}

static void test_from_file_percentile_listing(void **state)
{
	(void)state;
	assert_int_equal(from_text("       Value     Percentile TotalCount 1/(1-Percentile)\n\n"
				   "       1.500 0.000000000000          5           1.00\n"
				   "       2.500 0.500000000000         50           2.00\n"
				   "       9.000 1.000000000000        100\n"
				   "#[Mean    =        5.0, StdDeviation   =        2.0]\n",
				   NSEC_PER_MSEC, NULL), 0);
	assert_near(at_ms(0.02), 1.5, 0.1);
	assert_near(at_ms(0.4), 2.5, 0.1);
	assert_near(at_ms(0.6), 9, 0.1);
}

/* A line of a log that jHiccup wrote; the third column is the interval's maximum in ms. */
static void test_from_file_hdr_histogram_log(void **state)
{
	static const char log[] =
		"#[Logged with jHiccup version 2.0.7-SNAPSHOT]\n"
		"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Histogram\"\n"
		"0.127,1.007,2.769,HISTFAAAAEV42pNpmSzMwMCgyAABTBDKT4GBgdnNYMcCBvsPEBEJISEuATEZMQ4uA"
		"SkhIR4nrxg9v2lMaxhvMekILGZkKmcCAEf2CsI=\n";

	(void)state;
	assert_int_equal(from_text(log, 1, NULL), 0);
	assert_near(at_ms(0.9999), 2.769, 1);
	assert_true(at_ms(0.5) < 1.0);
}

static void put_int(uint8_t **at, uint64_t v, int n)
{
	while (n-- > 0)
		*(*at)++ = (uint8_t)(v >> 8 * n);
}

static void put_base64(struct str *ret, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t second = i + 1 < n ? p[i + 1] : 0, third = i + 2 < n ? p[i + 2] : 0;
		uint32_t v = (uint32_t)p[i] << 16 | second << 8 | third;

		str_addf(ret, "%c%c%c%c", digits[v >> 18], digits[v >> 12 & 63],
			 i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '=');
	}
}

/* A histogram (V2) of n buckets, each seen so often, after so many empty ones. */
static char *hdr_line(size_t empty, size_t n, int seen)
{
	autofree uint8_t *plain = xcalloc(n + 64, 1), *packed = xcalloc(n + 128, 1);
	uint8_t *at = plain, *run;
	unsigned long size = n + 100;
	autostr s = {0};

	put_int(&at, 0x1c849313, 4);
	run = at;
	put_int(&at, 0, 4); /* length, below */
	put_int(&at, 0, 4);
	put_int(&at, 3, 4);
	put_int(&at, 1, 8);
	put_int(&at, 1ull << 40, 8);
	put_int(&at, 0, 8);
	if (empty) {
		uint64_t zigzag = 2 * empty - 1;

		for (; zigzag > 127; zigzag >>= 7)
			*at++ = (uint8_t)(zigzag | 128);
		*at++ = (uint8_t)zigzag;
	}
	memset(at, 2 * seen, n);
	put_int(&run, (uint64_t)(at + n - plain - 40), 4);
	assert_int_equal(compress(packed + 8, &size, plain, (unsigned long)(at + n - plain)), Z_OK);
	run = packed;
	put_int(&run, 0x1c849314, 4);
	put_int(&run, size, 4);
	str_add(&s, "0,1,2,");
	put_base64(&s, packed, size + 8);
	str_add(&s, "\n");
	return str_take(&s);
}

static long resident_most_mib(void)
{
	struct rusage u;

	assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
	return u.ru_maxrss / 1024;
}

/* Some 40 KB that hold eight million delays. */
static void test_from_file_a_small_file_takes_little_memory(void **state)
{
	autofree char *line = hdr_line(0, 20000, 1);
	long before = resident_most_mib(), after;
	autostr log = {0};
	struct err e = {0};

	for (int i = 0; i < 400; i++)
		str_add(&log, line);
	if (from_text(log.s, 1, &e) < 0)
		fail_msg("%s", e.text);
	after = resident_most_mib();
	if (after - before > 150)
		fail_msg("%zu bytes of log took %ld MiB, want at most 150", log.len, after - before);
}

static void test_from_file_what_decompresses_to_too_much_is_refused(void **state)
{
	autofree char *line = hdr_line(0, 20000, 0);
	autostr log = {0};
	struct err e = {0};

	for (int i = 0; i < 3500; i++)
		str_add(&log, line);
	assert_int_equal(from_text(log.s, 1, &e), -EFBIG);
	assert_non_null(strstr(e.text, "decompress to more than 64 MiB"));
}

/* 2^30 and more, in seconds, is no number of nanoseconds. */
static void test_from_file_a_delay_that_overflows_is_refused(void **state)
{
	static const char *const texts[] = {
		"nan\n", "1e300\n", "-1\n", "9999999h\n", "Value Percentile\n1 0.5 nan\n",
		"Value Percentile\n1 0.5 1e300\n", "Value Percentile\n1e300 0.5 10\n"};
	autofree char *line = hdr_line(28000, 10, 1);
	struct err e = {0};

	assert_int_equal(from_text(line, NSEC_PER_SEC, &e), -EINVAL);
	assert_non_null(strstr(e.text, "is out of range"));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (from_text(texts[i], NSEC_PER_SEC, &e) == 0)
			fail_msg("%s was taken", texts[i]);
}

static void test_from_file_names_the_line(void **state)
{
	struct err e = {0};

	(void)state;
	assert_true(from_text("1ms\n2 parsecs\n", 1, &e) < 0);
	assert_non_null(strstr(e.text, "line 2: \"2 parsecs\" is not a duration"));
	assert_true(from_text("0,1,2,HISTFAAAAEV42pNpmSzM\n", 1, &e) < 0);
	assert_non_null(strstr(e.text, "line 1: not an HdrHistogram"));
	assert_true(from_text("", 1, &e) < 0);
	assert_non_null(strstr(e.text, "there are no samples"));
	assert_int_equal(delay_table_from_file("/nonexistent", 1, &table, &e), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_quantiles_hits_each_given_point),
		cmocka_unit_test(test_from_quantiles_is_log_linear_between_points),
		cmocka_unit_test(test_from_quantiles_continues_the_outer_segments),
		cmocka_unit_test(test_from_one_quantile_is_constant),
		cmocka_unit_test(test_from_quantiles_no_delay_stays_none),
		cmocka_unit_test(test_from_quantiles_says_what_is_wrong),
		cmocka_unit_test(test_table_fits_netem),
		cmocka_unit_test(test_from_samples_keeps_their_distribution),
		cmocka_unit_test(test_from_file_list_of_delays),
		cmocka_unit_test(test_from_file_percentile_listing),
		cmocka_unit_test(test_from_file_hdr_histogram_log),
		cmocka_unit_test(test_from_file_a_small_file_takes_little_memory),
		cmocka_unit_test(test_from_file_what_decompresses_to_too_much_is_refused),
		cmocka_unit_test(test_from_file_a_delay_that_overflows_is_refused),
		cmocka_unit_test(test_from_file_names_the_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
