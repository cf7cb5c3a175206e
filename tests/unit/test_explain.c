#include "base/explain.h"
#include "experiment.h"
#include "fixture_driver.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static char *explained(const char *path)
{
	autostr b = {0};
	struct err e = {0};

	if (explain_field(&fixture_schema, path, &b, &e) < 0)
		return xasprintf("error: %s", e.text);
	return str_take(&b);
}

static void assert_explains(const char *path, const char *want)
{
	autofree char *got = explained(path);

	assert_string_equal(got, want);
}

static void test_a_field_with_its_facts(void **state)
{
	(void)state;
	assert_explains("action", "<word>, required, one of wait, fail, example wait\n\n"
				  "What is done.\n");
	assert_explains("duration", "<duration>, example 30s\n\n"
				    "How long the fault lasts. Left out: to the end of the fault window, "
				    "which is 30s for a\nmanifest without a timeline.\n");
}

static void test_a_field_with_fields_below(void **state)
{
	(void)state;
	assert_explains("selector.expressionSelectors",
			"<list of maps>\n\nRequirements on labels, all of which must hold.\n"
			"One requirement on a label.\n\nFIELDS\n"
			"  key  <text>, required, example app\n      The label.\n\n"
			"  operator  <word>, required, one of In, NotIn, Exists, DoesNotExist, example "
			"In\n      In and NotIn compare with values; Exists and DoesNotExist ask for the "
			"label.\n\n"
			"  values  <list of texts>, example [room]\n      What the label may be (In) or "
			"may not be (NotIn).\n\n");
}

static void test_wrong_paths_name_the_nearest(void **state)
{
	(void)state;
	assert_explains("acton", "error: no field \"acton\" (did you mean \"action\"?)");
	assert_explains("action.x", "error: no field \"x\": there is nothing below");
	assert_explains("target.zzzzzzz",
			"error: no field \"zzzzzzz\" (there are selector, mode, value)");
	/* known to the binder, but of no use to a user */
	assert_explains("scheduler", "error: no field \"scheduler\" (there are selector, mode, value, "
				     "containerNames, duration, tolerance, remoteCluster, action, wait, "
				     "target)");
}

static void test_explain_through_lists_and_variants(void **state)
{
	autofree char *text = NULL;

	(void)state;
	assert_int_equal(experiment_explain("experiment.spec.faults.fixtureChaos.wait", &text, NULL), 0);
	assert_string_equal(text, "KIND     Experiment (apiVersion brunt.dev/v1alpha1)\n"
				  "FIELD    spec.faults.fixtureChaos.wait  <duration>, example 100ms\n\n"
				  "How long to wait.\n");
}

static void test_explain_unknown_kinds(void **state)
{
	struct err e = {0};
	char *text = NULL;

	(void)state;
	assert_int_equal(experiment_explain("Experimnt.spec", &text, &e), -ENOENT);
	assert_string_equal(e.text, "no kind \"Experimnt\" (did you mean \"Experiment\"?)");
	assert_int_equal(experiment_explain("TimeChaos", &text, &e), -ENOENT);
	assert_string_equal(e.text, "TimeChaos is not supported yet");
	assert_null(text);
}

/* Every field of every schema: has a sentence, is found by its path, explains itself. */
static void check_documented(const char *kind, const char *path)
{
	autofree char *text = NULL;
	struct err e = {0};

	if (experiment_explain(path, &text, &e) < 0)
		fail_msg("%s: %s", path, e.text);
	assert_non_null(strstr(text, kind));
}

static void check_schema(const char *kind, const char *path, const struct schema *schema);

static void check_rows(const char *kind, const char *path, const struct field *f)
{
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++) {
		autofree char *below = xasprintf("%s.%s", path, v.name);

		check_schema(kind, below, v.schema);
	}
}

static void check_schema(const char *kind, const char *path, const struct schema *schema)
{
	check_documented(kind, path);
	if (!schema->doc)
		fail_msg("%s: schema %s has no doc", path, schema->name);
	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];
		autofree char *below = xasprintf("%s%s%s", path, f->name[0] ? "." : "", f->name);

		if (f->type == FIELD_IGNORED || f->type == FIELD_REFUSED)
			continue;
		if (!f->doc)
			fail_msg("%s has no doc", below);
		check_documented(kind, below);
		if (f->sub)
			check_schema(kind, below, f->sub);
		if (f->type == FIELD_VARIANT)
			check_rows(kind, below, f);
	}
}

static void test_every_field_of_every_kind_is_documented(void **state)
{
	const char *const *kinds = experiment_kinds();

	(void)state;
	for (size_t i = 0; kinds[i]; i++)
		check_schema(kinds[i], kinds[i], experiment_schema(kinds[i]));
}

static void assert_valid(const char *kind, const char *text)
{
	autodiags d = {0};
	autoptr(experiment_set) set = NULL;
	int r = experiment_load_text(kind, text, strlen(text), &d, &set);
	autofree char *all = diags_text(&d);

	if (r < 0)
		fail_msg("%s\n%s", all, text);
}

static void test_every_template_validates_as_it_is(void **state)
{
	const char *const *kinds = experiment_kinds();

	(void)state;
	for (size_t i = 0; kinds[i]; i++) {
		autofree char *text = experiment_template(kinds[i]);

		assert_valid(kinds[i], text);
	}
	assert_null(experiment_template("Nonsense"));
}

static const struct field more_fields[] = {
	{.name = "wait", .type = FIELD_DURATION, .doc = "How long."},
};
static const struct schema more_schema = {
	.name = "more", .fields = more_fields, .n_fields = ARRAY_SIZE(more_fields)};

static const struct field item_fields[] = {
	{.name = "name", .type = FIELD_STRING, .required = true, .example = "a",
	 .doc = "What it is called."},
	{.name = "wait", .type = FIELD_DURATION, .deflt = "1s", .doc = "How long."},
	{.name = "more", .type = FIELD_OBJECT, .sub = &more_schema, .doc = "More of them."},
	{.name = "uid", .type = FIELD_IGNORED},
};
static const struct schema item_schema = {
	.name = "item", .fields = item_fields, .n_fields = ARRAY_SIZE(item_fields)};

static const struct field things_fields[] = {
	{.name = "things", .type = FIELD_LIST, .sub = &item_schema, .required = true,
	 .doc = "What there is."},
};
static const struct schema things_schema = {
	.name = "things", .fields = things_fields, .n_fields = ARRAY_SIZE(things_fields)};

static void test_template_comments_out_what_is_optional(void **state)
{
	autostr b = {0};

	(void)state;
	explain_template(&things_schema, 2, &b);
	assert_string_equal(b.s, "  # What there is.\n"
				 "  things:\n"
				 "    # What it is called.\n"
				 "    - name: a\n"
				 "      # How long.\n"
				 "      # wait: 1s\n"
				 "      # More of them.\n"
				 "      # more: {}\n"
				 "      #   # How long.\n"
				 "      #   # wait: 10s\n");
}

static int use_fixture(void **state)
{
	(void)state;
	fault_driver_for_tests = &fixture_driver;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_field_with_its_facts),
		cmocka_unit_test(test_a_field_with_fields_below),
		cmocka_unit_test(test_wrong_paths_name_the_nearest),
		cmocka_unit_test(test_explain_through_lists_and_variants),
		cmocka_unit_test(test_explain_unknown_kinds),
		cmocka_unit_test(test_every_field_of_every_kind_is_documented),
		cmocka_unit_test(test_every_template_validates_as_it_is),
		cmocka_unit_test(test_template_comments_out_what_is_optional),
	};

	return cmocka_run_group_tests(tests, use_fixture, NULL);
}
