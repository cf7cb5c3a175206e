#include "report.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"

/* The JUnit of a record given as JSON with single quotes. */
static char *junit_of(const char *text)
{
	autofree char *json = xstrdup(text);
	json_error_t why;
	json_t *record;
	char *xml;

	for (char *p = json; *p; p++)
		if (*p == '\'')
			*p = '"';
	record = json_loads(json, 0, &why);
	if (!record)
		fail_msg("%s at %d of %s", why.text, why.position, json);
	xml = report_junit((const json_t *const *)&record, 1);
	json_decref(record);
	return xml;
}

static void expect_in(const char *xml, const char *part)
{
	if (!strstr(xml, part))
		fail_msg("%s\nis not in\n%s", part, xml);
}

static void test_junit_of_a_run_that_passed(void **state)
{
	autofree char *xml = junit_of(
		"{'experiment': 'checkout', 'run': 'r-1', 'started': '2024-05-01T10:00:00Z',"
		" 'verdict': 'passed', 'faults': [{'name': 'slow', 'requested': 'delay 100 ms',"
		" 'effect': 'measured'}], 'slos': [{'name': 'join', 'state': 'held', 'objectives':"
		" [{'objective': 'p99 <= 1s', 'window': 'fault', 'state': 'held'}]}],"
		" 'residue': [{'clean': true}]}");

	assert_string_equal(
		xml,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"brunt\">\n"
		"  <testsuite name=\"checkout\" tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"0\" "
		"timestamp=\"2024-05-01T10:00:00Z\">\n"
		"    <properties>\n      <property name=\"run\" value=\"r-1\"/>\n    </properties>\n"
		"    <testcase classname=\"checkout\" name=\"slow: delay 100 ms is felt\"/>\n"
		"    <testcase classname=\"checkout\" name=\"join: p99 &lt;= 1s in fault\"/>\n"
		"    <testcase classname=\"checkout\" name=\"everything was put back\"/>\n"
		"    <testcase classname=\"checkout\" name=\"verdict\"/>\n"
		"  </testsuite>\n</testsuites>\n");
}

static void test_junit_escapes_what_xml_would_read(void **state)
{
	autofree char *xml = junit_of("{'experiment': 'a<b>&c', 'verdict': 'error', 'sentence':"
				      " 'said \\\"no\\\"\\nand \\u001b[31m more'}");

	expect_in(xml, "<testsuite name=\"a&lt;b&gt;&amp;c\"");
	expect_in(xml, "<error message=\"said &quot;no&quot;&#10;and ?[31m more\"/>");
}

static void test_junit_objective_that_cannot_be_told_is_no_pass(void **state)
{
	autofree char *xml = junit_of(
		"{'experiment': 'x', 'verdict': 'inconclusive', 'slos': [{'name': 'join', 'state':"
		" 'inconclusive', 'objectives': [{'objective': 'p99 <= 1s', 'window': 'fault', 'state':"
		" 'inconclusive', 'why': 'p99 needs 1000 samples, has 7'}]}]}");

	expect_in(xml, "failures=\"1\" errors=\"1\"");
	expect_in(xml, "<failure message=\"p99 needs 1000 samples, has 7\"/>");
}

static char *junit_of_expected_breach(const char *slo_state, const char *objective_state)
{
	autofree char *record = xasprintf(
		"{'experiment': 'x', 'verdict': '%s', 'slos': [{'name': 'alarm', 'state': '%s',"
		" 'breach_expected': true, 'objectives': [{'objective': 'count == 0', 'window':"
		" 'fault', 'state': '%s', 'text': 'count 3 == 0'}]}]}",
		streq(slo_state, "held") ? "passed" : "failed", slo_state, objective_state);

	return junit_of(record);
}

static void test_junit_breach_that_was_expected_is_a_pass(void **state)
{
	autofree char *came = junit_of_expected_breach("held", "breached");
	autofree char *stayed_away = junit_of_expected_breach("breached", "held");

	expect_in(came, "failures=\"0\" errors=\"0\"");
	expect_in(came, "name=\"alarm: breach of count == 0 in fault\"/>");
	expect_in(stayed_away, "failures=\"2\" errors=\"0\"");
	expect_in(stayed_away, "<failure message=\"count 3 == 0\"/>");
}

static void test_junit_fault_that_is_not_felt_and_residue(void **state)
{
	autofree char *xml = junit_of(
		"{'experiment': 'x', 'verdict': 'not-restored', 'sentence': 'NOT RESTORED', 'faults':"
		" [{'name': 'slow', 'requested': 'delay', 'effect': 'none', 'measured': 'RTT +0 ms'}],"
		" 'residue': [{'clean': true}, {'clean': false, 'fault': 'slow', 'target': 'a/b',"
		" 'text': 'device busy'}]}");

	expect_in(xml, "<failure message=\"effect none RTT +0 ms\"/>");
	expect_in(xml, "<error message=\"slow of a/b: device busy; \"/>");
	expect_in(xml, "<error message=\"NOT RESTORED\"/>");
	expect_in(xml, "tests=\"3\" failures=\"1\" errors=\"2\"");
}

static void test_write_replaces_the_file_and_leaves_nothing_beside_it(void **state)
{
	char dir[] = "/tmp/bt-report-XXXXXX", text[16] = "";
	autofree char *path = NULL;
	struct err e = {0};
	FILE *f;

	assert_non_null(mkdtemp(dir));
	path = xasprintf("%s/r.xml", dir);
	assert_int_equal(report_write(path, "long before", &e), 0);
	assert_int_equal(report_write(path, "after", &e), 0);
	f = fopen(path, "r");
	assert_int_equal(fread(text, 1, sizeof text, f), 5);
	assert_string_equal(text, "after");
	fclose(f);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

static void test_write_where_nothing_can_be_written(void **state)
{
	struct err e = {0};

	assert_int_equal(report_write("/nonexistent/r.xml", "x", &e), -ENOENT);
	assert_string_equal(e.text, "write report /nonexistent/r.xml: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_junit_of_a_run_that_passed),
		cmocka_unit_test(test_junit_escapes_what_xml_would_read),
		cmocka_unit_test(test_junit_objective_that_cannot_be_told_is_no_pass),
		cmocka_unit_test(test_junit_breach_that_was_expected_is_a_pass),
		cmocka_unit_test(test_junit_fault_that_is_not_felt_and_residue),
		cmocka_unit_test(test_write_replaces_the_file_and_leaves_nothing_beside_it),
		cmocka_unit_test(test_write_where_nothing_can_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
