#include "slo/slo.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Binds text; returns the messages, NULL when it is good. */
static char *bind(const char *text, struct slo_spec *ret)
{
	struct yaml *y = NULL;
	struct diags d = {0};
	struct field_ctx ctx = {.file = "x.yaml", .diags = &d};
	char *ret_text = NULL;

	*ret = (struct slo_spec){0};
	assert_int_equal(yaml_load_text("x.yaml", text, strlen(text), &d, &y), 0);
	if (field_bind(&slo_schema, y->docs[0], ret, &ctx) < 0)
		ret_text = diags_text(&d);
	diags_done(&d);
	yaml_release(y);
	return ret_text;
}

static void test_bind_all_fields(void **state)
{
	struct slo_spec s;

	(void)state;
	assert_null(bind("name: join\n"
			 "indicator: {http: {url: 'http://gateway:8080/join', rate: 50/s}}\n"
			 "objectives: [p99 <= 1.2s, success >= 99.5%]\n"
			 "in: [baseline, recovery]\n"
			 "expect: breach\n"
			 "recovers: within 10s\n",
			 &s));
	assert_string_equal(s.name, "join");
	assert_string_equal(s.type->name, "http");
	assert_non_null(s.params);
	assert_int_equal(s.n_objectives, 2);
	assert_true(slo_judged_in(&s, WINDOW_BASELINE));
	assert_false(slo_judged_in(&s, WINDOW_FAULT));
	assert_true(slo_judged_in(&s, WINDOW_RECOVERY));
	assert_true(s.expect_breach);
	assert_int_equal(s.recovers_within_ns, 10 * NSEC_PER_SEC);
	assert_int_equal(s.line, 3);
	field_free(&slo_schema, &s);
}

static void test_judged_in_the_fault_window_by_default(void **state)
{
	struct slo_spec s;

	(void)state;
	assert_null(bind("{name: a, indicator: {tcp: {address: 'a:1'}}, objectives: [p50 <= 1s]}", &s));
	assert_false(slo_judged_in(&s, WINDOW_BASELINE));
	assert_true(slo_judged_in(&s, WINDOW_FAULT));
	field_free(&slo_schema, &s);
}

#define SLO(indicator, objective)                                                                  \
	"name: a\nindicator: {" indicator "}\nobjectives: ['" objective "']\n"

static const struct {
	const char *yaml, *message;
} bad[] = {
	{SLO("http: {url: 'http://a/', rate: 50/s}", "p99 <= 5 parsecs"),
		 "x.yaml:3:14: objectives[0]: \"p99 <= 5 parsecs\": \"5parsecs\" has "
		 "no unit that is known here "
	 "(want ns, us, ms, s, m or h for times, % for shares, Ki, Mi or Gi for sizes)\n"},
	{SLO("http: {url: 'http://a/'}", "value <= 5"),
		 "x.yaml:3:14: objectives[0]: \"value <= 5\": http, as set up here, "
		 "has no value (it has p50 to "
	 "p99.99, mean, max, rate, ratio, success and count)\n"},
	{SLO("http: {url: 'http://a/'}", "p99 <= 5"),
		 "x.yaml:3:14: objectives[0]: \"p99 <= 5\": http measures times: want "
		 "ns, us, ms, s, m or h\n"},
	{SLO("metrics: {ratio: {bad: b, total: t}}", "p99 <= 5"),
		 "x.yaml:3:14: objectives[0]: \"p99 <= 5\": metrics, as set up here, "
		 "has no p99 (it has ratio, "
	 "success, rate and count)\n"},
	{SLO("metrics: {value: v, ratio: {bad: b, total: t}}", "rate <= 5"),
	 "x.yaml:2:22: indicator.metrics: want either value or ratio\n"},
	{SLO("http: {url: 'gateway/join'}", "p99 <= 5s"),
		 "x.yaml:2:25: indicator.http.url: \"gateway/join\" is not a URL (want "
		 "http://HOST:PORT/PATH)\n"},
	{SLO("http: {url: 'http://a/', expectStatus: 2xx}", "p99 <= 5s"),
	 "x.yaml:2:52: indicator.http.expectStatus: \"2xx\" is not a set of status codes (want "
	 "\"200-399\" or \"200,404\")\n"},
	{SLO("http: {url: 'http://a/', rate: 99999/s}", "p99 <= 5s"),
	 "x.yaml:2:44: indicator.http.rate: 99999/s is more than 5000/s, the most that one prober "
	 "keeps up with\n"},
	{SLO("tcp: {address: gateway}", "p99 <= 5s"),
	 "x.yaml:2:28: indicator.tcp.address: \"gateway\" is not an address (want HOST:PORT)\n"},
	{SLO("metrics: {value: 'v{code'}", "value <= 5"),
		 "x.yaml:2:30: indicator.metrics.value: \"v{code\": want =, !=, =~ or "
		 "!~ after label code\n"},
	{SLO("metrics: {ratio: {bad: a, total: 5}}", "ratio <= 5"),
	 "x.yaml:2:46: indicator.metrics.ratio.total: \"5\": want a metric's name\n"},
	{SLO("target: {metric: memroy}", "value <= 5"), NULL},
	{SLO("http: {url: 'http://a/'}", "p99 <= 5s") "in: [falt]\n",
		 "x.yaml:4:6: in[0]: \"falt\" is not a window (want baseline, fault or "
		 "recovery; did you mean "
	 "\"fault\"?)\n"},
	{SLO("http: {url: 'http://a/'}", "p99 <= 5s") "expect: breech\n",
	 "x.yaml:4:9: expect: want hold or breach\n"},
	{SLO("http: {url: 'http://a/'}", "p99 <= 5s") "recovers: soon\n",
		 "x.yaml:4:11: recovers: \"soon\" is not a duration (want a number and "
		 "ns, us, ms, s, m or h)\n"},
};

static void test_bind_names_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct slo_spec s;
		autofree char *text = bind(bad[i].yaml, &s);

		assert_non_null(text);
		if (bad[i].message)
			assert_string_equal(text, bad[i].message);
		field_free(&slo_schema, &s);
	}
}

static void keep(void *data, const char *text)
{
	str_addf(data, "%s\n", text);
}

static void test_too_few_samples_are_foreseen(void **state)
{
	const int64_t windows[] = {5 * NSEC_PER_SEC, 30 * NSEC_PER_SEC, 10 * NSEC_PER_SEC};
	static const struct {
		const char *yaml, *want;
	} rows[] = {
		{SLO("http: {url: 'http://a/', rate: 50/s}", "p99 <= 5s"), ""},
		{SLO("http: {url: 'http://a/', rate: 10/s}", "p99 <= 5s"),
		 "a: p99 needs 1000 samples and will get about 300 in the fault "
		 "window: \"p99 <= 5s\" "
		 "cannot pass; make that window 100 s long, or take 33.4 samples a "
		 "second instead of 10\n"},
		{SLO("http: {url: 'http://a/', rate: 20/s}", "success >= 99.9%"),
		 "a: success needs 3000 samples and will get about 600 in the fault window: "
		 "\"success >= 99.9%\" cannot pass; make that window 150 s long, or "
		 "take 100 samples a second instead of 20\n"},
		{SLO("http: {url: 'http://a/', rate: 20/s}", "success >= 100%"), ""},
		{SLO("command: {command: [a], interval: 2s}", "mean <= 5s"),
		 "a: mean needs 30 samples and will get about 15 in the fault window: "
		 "\"mean <= 5s\" cannot "
		 "pass; make that window 60.0 s long, or take 1 samples a second instead of 0.5\n"},
		{SLO("command: {command: [a]}", "mean <= 120% of baseline"),
		 "a: mean needs 30 samples and will get about 5 in the baseline "
		 "window: \"mean <= 120% of "
		 "baseline\" cannot pass; make that window 30.0 s long, or take 6 "
		 "samples a second instead of "
		 "1\n"},
		{SLO("target: {metric: memory}", "p50 <= 5Gi") "in: [recovery]\n", ""},
		{SLO("target: {metric: memory}", "value <= 5Gi"), ""},
		{SLO("metrics: {value: v, interval: 5s}", "max <= 5"),
		 "a: max needs 30 samples and will get about 6 in the fault window: "
		 "\"max <= 5\" cannot pass; "
		 "make that window 150 s long, or take 1 samples a second instead of 0.2\n"},
		{SLO("runtime: {metric: ttsp}", "p99 <= 5s"), ""}, /* as many as there were stops */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		autostr text = {0};
		struct slo_spec s;

		assert_null(bind(rows[i].yaml, &s));
		slo_foresee(&s, windows, keep, &text);
		assert_string_equal(text.s ? text.s : "", rows[i].want);
		field_free(&slo_schema, &s);
	}
}

static void test_every_indicator_is_found_by_name(void **state)
{
	const char *const *names = indicator_names();

	(void)state;
	for (size_t i = 0; names[i]; i++) {
		assert_ptr_equal(indicator_find(names[i]), indicator_at(i));
		assert_non_null(indicator_at(i)->yields);
	}
	assert_null(indicator_find("htpp"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bind_all_fields),
		cmocka_unit_test(test_judged_in_the_fault_window_by_default),
		cmocka_unit_test(test_bind_names_what_is_wrong),
		cmocka_unit_test(test_too_few_samples_are_foreseen),
		cmocka_unit_test(test_every_indicator_is_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
