#include "slo/openmetrics.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"

static void print(void *data, const struct openmetrics_sample *s)
{
	struct str *out = data;

	str_addf(out, "%s", s->name);
	for (size_t i = 0; i < s->n_labels; i++)
		str_addf(out, ",%s=%s", s->labels[i].name, s->labels[i].value);
	str_addf(out, " %g%s;", s->value, s->counter ? " counter" : "");
}

/* What the page holds, or the error's text. */
static char *parse(const char *page)
{
	autofree char *copy = xstrdup(page);
	struct str out = {0};
	struct err e = {0};

	if (openmetrics_parse(copy, strlen(page), print, &out, &e) < 0) {
		str_done(&out);
		return xstrdup(e.text);
	}
	return str_take(&out);
}

static const struct {
	const char *page, *want;
} pages[] = {
	{"", ""},
	{"up 1\n", "up 1;"},
	{"up 1", "up 1;"},
	{"# HELP a b\n# TYPE a gauge\r\na 1.5e3 1700000000\r\n\n", "a 1500;"},
	{"a{x=\"1\",y=\"a\\\"b\\\\c\\nd\",} 2\n", "a,x=1,y=a\"b\\c\nd 2;"},
	{"a{} 2\n", "a 2;"},
	{"a { x = \"1\" } 2\n", "line 1 of the metrics page: a value expected"},
	{"a\t+Inf\nb -Inf\nc NaN\n", "a inf;b -inf;c nan;"},
	{"# TYPE r counter\nr_total{c=\"200\"} 7 # {trace=\"x\"} 0.5 123.4\n# EOF\n",
	 "r_total,c=200 7 counter;"},
	{"# TYPE q gauge\nq_total 7\n", "q_total 7;"},
	{"# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 4\n",
	 "h_bucket,le=+Inf 3 counter;h_count 3 counter;h_sum 4 counter;"},
	{"x_total 1\ny 1\n", "x_total 1 counter;y 1;"},
	{"<html>\n", "line 1 of the metrics page: a metric's name expected"},
	{"up 1\nup\n", "line 2 of the metrics page: a blank expected"},
	{"up x\n", "line 1 of the metrics page: a value expected"},
	{"up 0x10\n", "line 1 of the metrics page: a value expected"},
	{"up 1 2 3\n", "line 1 of the metrics page: the end of the line expected"},
	{"up{a=1} 1\n", "line 1 of the metrics page: a label's value in quotes expected"},
	{"up{a=\"1} 1\n", "line 1 of the metrics page: a label's value in quotes expected"},
	{"up{a=\"1\"b=\"2\"} 1\n", "line 1 of the metrics page: , or } expected"},
	{"up{=\"1\"} 1\n", "line 1 of the metrics page: a label's name and = expected"},
};

static void test_parse_pages(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		autofree char *got = parse(pages[i].page);

		assert_string_equal(got, pages[i].want);
	}
}

static void test_parse_refuses_a_nul_and_too_many_labels(void **state)
{
	char nul[] = "up 1\nu\0p 1\n";
	struct str page = {0}, out = {0};
	struct err e = {0};

	assert_int_equal(openmetrics_parse(nul, sizeof nul - 1, print, &out, &e), -EINVAL);
	str_add(&page, "a{");
	for (int i = 0; i < 65; i++)
		str_addf(&page, "l%d=\"\",", i);
	str_add(&page, "} 1\n");
	assert_int_equal(openmetrics_parse(page.s, page.len, print, &out, &e), -EINVAL);
	assert_string_equal(e.text, "line 1 of the metrics page: at most 64 labels expected");
	str_done(&page);
	str_done(&out);
}

/* Good pages with bytes changed: an answer or an error, never a read outside (run under ASan). */
static void test_parse_survives_garbage(void **state)
{
	for (uint64_t seed = 0; seed < 3000; seed++) {
		const char *page = pages[seed % ARRAY_SIZE(pages)].page;
		size_t len = strlen(page);
		autofree char *copy = xmalloc(len + 1);
		struct str out = {0};

		memcpy(copy, page, len + 1);
		for (uint64_t k = 0; len && k <= seed % 4; k++)
			copy[rng_below(seed, 1, k, len)] = (char)rng_below(seed, 2, k, 256);
		openmetrics_parse(copy, len, print, &out, NULL);
		str_done(&out);
	}
}

static bool selects(const char *selector, const struct openmetrics_sample *s)
{
	struct openmetrics_selector sel;
	struct err e = {0};
	bool ret;

	if (openmetrics_selector_parse(selector, &sel, &e) < 0)
		fail_msg("%s: %s", selector, e.text);
	ret = openmetrics_selector_matches(&sel, s);
	openmetrics_selector_done(&sel);
	return ret;
}

static void test_selector_matches_as_promql_does(void **state)
{
	const struct openmetrics_sample s = {
		.name = "r_total", .labels = {{"code", "503"}, {"path", "/join"}}, .n_labels = 2};

	assert_true(selects("r_total", &s));
	assert_false(selects("r", &s));
	assert_true(selects(" r_total{} ", &s));
	assert_true(selects("r_total{code=\"503\"}", &s));
	assert_true(selects("r_total{code='503', path!='/x',}", &s));
	assert_false(selects("r_total{code!=\"503\"}", &s));
	assert_true(selects("r_total{code=~\"5..\"}", &s));
	assert_false(selects("r_total{code=~\"5.\"}", &s));
	assert_true(selects("r_total{code=~\"4..|5..\"}", &s));
	assert_false(selects("r_total{code!~\"5..\"}", &s));
	assert_true(selects("r_total{absent=\"\"}", &s));
	assert_false(selects("r_total{absent!=\"\"}", &s));
}

static void test_selector_names_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{"", "\"\": want a metric's name"},
		{"5xx", "\"5xx\": want a metric's name"},
		{"a b", "\"a b\": want {label=\"value\"} or nothing after the name"},
		{"a{", "\"a{\": want a label or }"},
		{"a{c", "\"a{c\": want =, !=, =~ or !~ after label c"},
		{"a{c=5}", "\"a{c=5}\": want a value in quotes after label c"},
		{"a{c=\"5\"", "\"a{c=\"5\"\": want , or }"},
		{"a{c=\"5\"} x", "\"a{c=\"5\"} x\": want nothing after }"},
		{"a{c=~\"(\"}", "\"a{c=~\"(\"}\": \"(\" is not a regular expression: Unmatched ( or \\("},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct openmetrics_selector sel;
		struct err e = {0};

		assert_int_equal(openmetrics_selector_parse(rows[i].text, &sel, &e), -EINVAL);
		assert_string_equal(e.text, rows[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_pages),
		cmocka_unit_test(test_parse_refuses_a_nul_and_too_many_labels),
		cmocka_unit_test(test_parse_survives_garbage),
		cmocka_unit_test(test_selector_matches_as_promql_does),
		cmocka_unit_test(test_selector_names_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
