#include "slo/objective.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/own.h"

static const struct {
	const char *text;
	struct objective want;
} good[] = {
	{"p99 <= 1.2s",
	 {.stat = STAT_QUANTILE,
	  .quantile = 0.99,
	  .op = OP_LE,
	  .bound = 1.2e9,
	  .dim = DIM_TIME,
	  .unit = "s"}},
	{"p50<800us",
	 {.stat = STAT_QUANTILE,
	  .quantile = 0.5,
	  .op = OP_LT,
	  .bound = 8e5,
	  .dim = DIM_TIME,
	  .unit = "us"}},
	{"p99.99 <= 2 s",
	 {.stat = STAT_QUANTILE,
	  .quantile = 0.9999,
	  .op = OP_LE,
	  .bound = 2e9,
	  .dim = DIM_TIME,
	  .unit = "s"}},
	{"mean < 5ms",
	 {.stat = STAT_MEAN, .op = OP_LT, .bound = 5e6, .dim = DIM_TIME, .unit = "ms"}},
	{"max <= 70Mi",
	 {.stat = STAT_MAX, .op = OP_LE, .bound = 70 << 20, .dim = DIM_BYTES, .unit = "Mi"}},
	{"success >= 99.5%",
	 {.stat = STAT_SUCCESS, .op = OP_GE, .bound = 0.995, .dim = DIM_SHARE, .unit = "%"}},
	{"success >= 0.995", {.stat = STAT_SUCCESS, .op = OP_GE, .bound = 0.995, .dim = DIM_SHARE}},
	{"ratio <= 0.5%",
	 {.stat = STAT_RATIO, .op = OP_LE, .bound = 0.005, .dim = DIM_SHARE, .unit = "%"}},
	{"ratio < 3.5", {.stat = STAT_RATIO, .op = OP_LT, .bound = 3.5, .dim = DIM_SHARE}},
	{"rate >= 50/s",
	 {.stat = STAT_RATE, .op = OP_GE, .bound = 50, .dim = DIM_PER_SECOND, .unit = "/s"}},
	{"rate > 0", {.stat = STAT_RATE, .op = OP_GT, .bound = 0, .dim = DIM_PER_SECOND}},
	{"count == 0", {.stat = STAT_COUNT, .op = OP_EQ, .bound = 0}},
	{"  value >= -5.5 ", {.stat = STAT_VALUE, .op = OP_GE, .bound = -5.5}},
	{"p99 within 8% of baseline",
	 {.stat = STAT_QUANTILE,
	  .quantile = 0.99,
	  .op = OP_WITHIN,
	  .bound = 0.08,
	  .relative = true,
	  .dim = DIM_TIME,
	  .unit = "%"}},
	{"ratio within 8 % of baseline",
	 {.stat = STAT_RATIO,
	  .op = OP_WITHIN,
	  .bound = 0.08,
	  .relative = true,
	  .dim = DIM_SHARE,
	  .unit = "%"}},
	{"mean <= 120% of baseline",
	 {.stat = STAT_MEAN,
	  .op = OP_LE,
	  .bound = 1.2,
	  .relative = true,
	  .dim = DIM_TIME,
	  .unit = "%"}},
};

static void test_parse_what_is_an_objective(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct objective o, w = good[i].want;
		struct err e = {0};

		if (objective_parse(good[i].text, &o, &e) < 0)
			fail_msg("%s: %s", good[i].text, e.text);
		assert_int_equal(o.stat, w.stat);
		assert_int_equal(o.op, w.op);
		assert_int_equal(o.dim, w.dim);
		assert_int_equal(o.relative, w.relative);
		assert_true(fabs(o.quantile - w.quantile) < 1e-12);
		assert_true(fabs(o.bound - w.bound) <= 1e-9 * fabs(w.bound));
		assert_string_equal(o.unit, w.unit);
	}
}

static const struct {
	const char *text, *message;
} bad[] = {
	{"", "an objective is missing (want \"p99 <= 1.2s\")"},
	{"sucess >= 99%",
	 "\"sucess >= 99%\": \"sucess\" is not a statistic (want p50 to p99.99, mean, max, rate, "
	 "ratio, success, count or value; did you mean \"success\"?)"},
	{"p100 <= 1s", "\"p100 <= 1s\": \"p100\" is not a percentile (want p50 to p99.99)"},
	{"p0 <= 1s", "\"p0 <= 1s\": \"p0\" is not a percentile (want p50 to p99.99)"},
	{"p99", "\"p99\": a comparison is missing (want <=, <, >=, >, == or within)"},
	{"p99 =< 1s",
	 "\"p99 =< 1s\": \"=<\" is not a comparison (want <=, <, >=, >, == or within)"},
	{"p99 <=", "\"p99 <=\": a number is missing after the comparison"},
	{"p99 <= 5 parsecs",
	 "\"p99 <= 5 parsecs\": \"5parsecs\" has no unit that is known here (want ns, us, ms, s, "
	 "m or h for times, % for shares, Ki, Mi or Gi for sizes)"},
	{"success >= 99.5", "\"success >= 99.5\": \"99.5\" is not a share (want 99.5% or 0.995)"},
	{"success >= 1s", "\"success >= 1s\": \"1s\" is not a share (want 99.5% or 0.995)"},
	{"rate >= 5ms", "\"rate >= 5ms\": \"5ms\" is not a rate of requests (want 50/s or 600/m)"},
	{"count <= 5s", "\"count <= 5s\": \"5s\": a count has no unit"},
	{"p99 within 8%",
	 "\"p99 within 8%\": within needs a share of the baseline (want within 8% of baseline)"},
	{"p99 within 8 of baseline",
	 "\"p99 within 8 of baseline\": \"8 of baseline\" is not a share of the "
	 "baseline (want 8% of baseline)"},
	{"p99 == 8% of baseline",
	 "\"p99 == 8% of baseline\": == cannot be compared with the baseline (want within "
	 "8% of baseline)"},
	{"value <= 1.2.3", "\"value <= 1.2.3\": \"1.2.3\" is not a number"},
	{"value <= nan", "\"value <= nan\": a number is missing after the comparison"},
};

static void test_parse_names_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct objective o;
		struct err e = {0};

		assert_int_equal(objective_parse(bad[i].text, &o, &e), -EINVAL);
		assert_string_equal(e.text, bad[i].message);
	}
}

static bool holds(const char *text, double value, double baseline)
{
	struct objective o;

	assert_int_equal(objective_parse(text, &o, NULL), 0);
	return objective_holds(&o, value, baseline);
}

static void test_holds_at_and_beside_the_bound(void **state)
{
	(void)state;
	assert_true(holds("p99 <= 1s", 1e9, NAN));
	assert_false(holds("p99 < 1s", 1e9, NAN));
	assert_true(holds("success >= 99.5%", 0.995, NAN));
	assert_false(holds("success > 99.5%", 0.995, NAN));
	assert_true(holds("count == 3", 3, NAN));
	assert_false(holds("count == 3", 4, NAN));
	assert_false(holds("p99 <= 1s", NAN, NAN));
}

static void test_holds_against_the_baseline(void **state)
{
	(void)state;
	assert_true(holds("mean within 8% of baseline", 107, 100));
	assert_true(holds("mean within 8% of baseline", 93, 100));
	assert_false(holds("mean within 8% of baseline", 109, 100));
	assert_false(holds("mean within 8% of baseline", 91, 100));
	assert_true(holds("mean <= 120% of baseline", 10, 100));
	assert_false(holds("mean <= 120% of baseline", 121, 100));
	assert_false(holds("mean within 8% of baseline", 100, NAN));
}

static void test_format_in_the_objectives_quantity(void **state)
{
	static const struct {
		const char *text;
		double value;
		const char *want;
	} rows[] = {
		{"p99 <= 1.2s", 1.08e9, "1.08 s"},
		{"p99 <= 1.2s", 85e6, "85.0 ms"},
		{"success >= 99%", 0.99523, "99.52%"},
		{"success >= 99%", 0.999951, "99.9951%"},
		{"success >= 99%", 1, "100%"},
		{"max <= 70Mi", 1 << 20, "1.00 MiB"},
		{"rate >= 50/s", 50.12, "50.12/s"},
		{"count <= 3", 12, "12"},
		{"p99 <= 1.2s", NAN, "-"},
	};
	char buf[OBJECTIVE_TEXT_MAX];
	struct objective o;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(objective_parse(rows[i].text, &o, NULL), 0);
		assert_string_equal(objective_format(&o, rows[i].value, buf), rows[i].want);
	}
	assert_int_equal(objective_parse("p99.9 <= 1s", &o, NULL), 0);
	assert_string_equal(objective_stat_text(&o, buf), "p99.9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_what_is_an_objective),
		cmocka_unit_test(test_parse_names_what_is_wrong),
		cmocka_unit_test(test_holds_at_and_beside_the_bound),
		cmocka_unit_test(test_holds_against_the_baseline),
		cmocka_unit_test(test_format_in_the_objectives_quantity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
