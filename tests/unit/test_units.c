#include "base/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include "base/own.h"

static int64_t duration(const char *s)
{
	int64_t ns = -1;
	struct err e = {0};

	return units_parse_duration(s, &ns, &e) < 0 ? -1 : ns;
}

static void test_duration_in_every_unit(void **state)
{
	(void)state;
	assert_int_equal(duration("5ns"), 5);
	assert_int_equal(duration("1.5us"), 1500);
	assert_int_equal(duration("0.5s"), 500 * NSEC_PER_MSEC);
	assert_int_equal(duration("2m"), 120 * NSEC_PER_SEC);
	assert_int_equal(duration("1m30s"), 90 * NSEC_PER_SEC);
	assert_int_equal(duration(".5s"), 500 * NSEC_PER_MSEC);
	assert_int_equal(duration("1.s"), NSEC_PER_SEC);
	assert_int_equal(duration("0"), 0);
	assert_int_equal(duration("0ms"), 0);
}

static void test_duration_refuses_what_is_none(void **state)
{
	static const char *const bad[] = {"", "5", "ms", "5 ms", "-1s", ".s", "1..5s", "5parsecs",
					  "1e3s", "0x5s", "99999999999h"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(duration(bad[i]), -1);
}

static void test_duration_message_names_the_units(void **state)
{
	struct err e = {0};
	int64_t ns;

	(void)state;
	assert_int_equal(units_parse_duration("5 parsecs", &ns, &e), -EINVAL);
	assert_string_equal(e.text, "\"5 parsecs\" is not a duration (want a number and ns, us, ms, "
				    "s, m or h)");
}

static void test_rate_bits_and_bytes(void **state)
{
	uint64_t Bps;

	(void)state;
	assert_int_equal(units_parse_rate("1mbps", &Bps, NULL), 0);
	assert_int_equal(Bps, 1000000);
	assert_int_equal(units_parse_rate("8mbit", &Bps, NULL), 0);
	assert_int_equal(Bps, 1000000);
	assert_int_equal(units_parse_rate(" 16 MBit ", &Bps, NULL), 0);
	assert_int_equal(Bps, 2000000);
	assert_true(units_parse_rate("1 6mbit", &Bps, NULL) < 0);
	assert_true(units_parse_rate("16 m bit", &Bps, NULL) < 0);
}

static void test_percent_is_bounded(void **state)
{
	uint32_t ppm;

	(void)state;
	assert_int_equal(units_parse_percent("12.5", &ppm, NULL), 0);
	assert_int_equal(ppm, 125000);
	assert_int_equal(units_parse_percent("100%", &ppm, NULL), 0);
	assert_int_equal(ppm, 1000000);
	assert_true(units_parse_percent("100.1", &ppm, NULL) < 0);
	assert_true(units_parse_percent("-1", &ppm, NULL) < 0);
}

static void test_size_chaos_mesh_and_kubernetes(void **state)
{
	uint64_t n;

	(void)state;
	assert_int_equal(units_parse_size("256MB", &n, NULL), 0);
	assert_int_equal(n, 256 << 20);
	assert_int_equal(units_parse_size("128Mi", &n, NULL), 0);
	assert_int_equal(n, 128 << 20);
	assert_int_equal(units_parse_size("128M", &n, NULL), 0);
	assert_int_equal(n, 128000000);
}

static void test_format_three_digits(void **state)
{
	char buf[UNITS_TEXT_MAX];

	(void)state;
	assert_string_equal(units_duration(1200 * NSEC_PER_MSEC, buf), "1.20 s");
	assert_string_equal(units_duration(101300 * NSEC_PER_USEC, buf), "101 ms");
	assert_string_equal(units_size(70 << 20, buf), "70.0 MiB");
	assert_string_equal(units_rate(12500000, buf), "100 Mbit/s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration_in_every_unit),
		cmocka_unit_test(test_duration_refuses_what_is_none),
		cmocka_unit_test(test_duration_message_names_the_units),
		cmocka_unit_test(test_rate_bits_and_bytes),
		cmocka_unit_test(test_percent_is_bounded),
		cmocka_unit_test(test_size_chaos_mesh_and_kubernetes),
		cmocka_unit_test(test_format_three_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
