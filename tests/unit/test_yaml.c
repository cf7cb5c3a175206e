#include "base/yaml.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Loads text, which must be wrong, and returns what is said of it. */
static char *said(const char *text)
{
	autodiags d = {0};
	autoptr(yaml) y = NULL;

	assert_true(yaml_load_text("f", text, strlen(text), &d, &y) < 0);
	diags_sort(&d);
	return diags_text(&d);
}

static void assert_says(const char *text, const char *want)
{
	autofree char *got = said(text);

	assert_string_equal(got, want);
}

static struct yaml *load(const char *text)
{
	autodiags d = {0};
	struct yaml *y;
	int r = yaml_load_text("f", text, strlen(text), &d, &y);
	autofree char *all = diags_text(&d);

	if (r < 0)
		print_error("%s", all);
	assert_int_equal(r, 0);
	return y;
}

static const char *text_at(const struct yaml_node *map, const char *key)
{
	const struct yaml_node *v = yaml_get(map, key);

	return v ? v->text : NULL;
}

static void test_documents_and_places(void **state)
{
	autoptr(yaml) y = load("# empty ones are left out\n---\n---\na: 1\nb:\n  - x\n  - {c: y}\n---\n"
			       "null\n---\nz: 'null'\n");
	const struct yaml_node *list = yaml_get(y->docs[0], "b");

	(void)state;
	assert_int_equal(y->n_docs, 2);
	assert_string_equal(text_at(y->docs[0], "a"), "1");
	assert_int_equal(list->n, 2);
	assert_int_equal(list->items[1]->line, 7);
	assert_int_equal(list->items[1]->column, 5);
	assert_false(yaml_is_null(yaml_get(y->docs[1], "z")));
	assert_null(yaml_get(y->docs[1], "none"));
}

static void test_alias_is_the_anchored_node(void **state)
{
	autoptr(yaml) y = load("a: &x {k: 1}\nb: *x\nc: [*x, *x]\n");
	const struct yaml_node *a = yaml_get(y->docs[0], "a");

	(void)state;
	assert_ptr_equal(yaml_get(y->docs[0], "b"), a);
	assert_ptr_equal(yaml_get(y->docs[0], "c")->items[1], a);
	assert_int_equal(yaml_get(y->docs[0], "c")->weight, 1 + 2 * a->weight);
}

static void test_merge_keys(void **state)
{
	autoptr(yaml) y = load("base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\n"
			       "one: {<<: *b, x: 9}\nboth:\n  <<: [*b, *m]\n  w: 0\n"
			       "text: {'<<': 5}\n");
	const struct yaml_node *one = yaml_get(y->docs[0], "one");
	const struct yaml_node *both = yaml_get(y->docs[0], "both");

	(void)state;
	assert_string_equal(text_at(one, "x"), "9");
	assert_string_equal(text_at(one, "y"), "2");
	assert_int_equal(one->n, 2);
	assert_string_equal(text_at(both, "y"), "2"); /* the first map of a list wins */
	assert_string_equal(text_at(both, "z"), "4");
	assert_string_equal(text_at(both, "w"), "0");
	assert_null(text_at(both, "<<"));
	assert_string_equal(text_at(yaml_get(y->docs[0], "text"), "<<"), "5");
}

static void test_merge_of_a_merge(void **state)
{
	autoptr(yaml) y = load("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b}\n");

	(void)state;
	assert_string_equal(text_at(yaml_get(y->docs[0], "c"), "x"), "1");
}

static void test_anchor_name_used_again(void **state)
{
	autoptr(yaml) y = load("a: &x 1\nb: &x 2\nc: *x\n");

	(void)state;
	assert_string_equal(text_at(y->docs[0], "c"), "2");
}

static void test_errors_of_syntax(void **state)
{
	(void)state;
	assert_says("a: [1, 2\n", "f:2:1: not valid YAML: did not find expected ',' or ']' while "
				  "parsing a flow sequence that began at line 1\n");
	assert_says("a:\n\t- b\n", "f:2:1: not valid YAML: the line begins with a tab: indent it "
				   "with blanks\n");
	assert_says("a: *none\n", "f:1:4: alias *none has no anchor &none before it\n");
	assert_says("a: &x [*x]\n", "f:1:8: alias *x contains itself\n");
	assert_says("{[a]: b}\n", "f:1:2: a key must be plain text\n");
	assert_says("<<: 5\n", "f:1:1: a merge key (<<) wants a map or a list of maps\n");
	assert_says("a: !secret b\n", "f:1:4: tag !secret is not supported\n");
	assert_says("a: \"x\\0y\"\n", "f:1:4: a zero character inside a text\n");
	assert_says("a: b\nc: \xff\n",
		    "f:2:4: not a text file: invalid leading UTF-8 octet\n");
}

static void test_zero_byte_is_no_text(void **state)
{
	autodiags d = {0};
	struct yaml *y;
	autofree char *all = NULL;

	(void)state;
	assert_true(yaml_load_text("f", "a: 1\nb\0c", 8, &d, &y) < 0);
	assert_null(y);
	all = diags_text(&d);
	assert_string_equal(all, "f:2:2: not a text file: it holds a zero byte\n");
}

static void test_duplicates_are_all_reported_and_the_tree_is_kept(void **state)
{
	static const char text[] = "a: 1\nb: {x: 1, x: 2}\na: 3\n";
	autodiags d = {0};
	autoptr(yaml) y = NULL;
	autofree char *all = NULL;

	(void)state;
	assert_true(yaml_load_text("f", text, strlen(text), &d, &y) < 0);
	assert_non_null(y);
	assert_string_equal(text_at(y->docs[0], "a"), "1");
	diags_sort(&d);
	all = diags_text(&d);
	assert_string_equal(all, "f:2:11: b.x: given twice (first at line 2)\n"
				 "f:3:1: a: given twice (first at line 1)\n");
}

static void test_depth_is_bounded(void **state)
{
	char text[2 * YAML_MAX_DEPTH + 3];

	(void)state;
	memset(text, '[', YAML_MAX_DEPTH);
	memset(text + YAML_MAX_DEPTH, ']', YAML_MAX_DEPTH);
	text[2 * YAML_MAX_DEPTH] = '\0';
	yaml_release(load(text));
	memset(text, '[', YAML_MAX_DEPTH + 1);
	memset(text + YAML_MAX_DEPTH + 1, ']', YAML_MAX_DEPTH + 1);
	text[2 * YAML_MAX_DEPTH + 2] = '\0';
	assert_says(text, "f:1:65: nested more than 64 levels deep\n");
}

static void test_alias_bomb_is_bounded(void **state)
{
	autostr text = {0};
	autofree char *got = NULL;

	(void)state;
	str_add(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
	for (int i = 1; i < 12; i++)
		str_addf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i,
			 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	got = said(text.s);
	assert_string_equal(got, "f:5:5: more than 200000 values after its aliases are expanded\n");
}

static void test_merge_bomb_is_bounded(void **state)
{
	autostr text = {0};
	autofree char *got = NULL;

	(void)state;
	str_add(&text, "m0: &m0 {");
	for (int i = 0; i < 1000; i++)
		str_addf(&text, "k%d: 1, ", i);
	str_add(&text, "}\n");
	for (int i = 1; i < 999; i++)
		str_addf(&text, "m%d: &m%d {<<: *m%d}\n", i, i, i - 1);
	got = said(text.s);
	assert_non_null(strstr(got, "more than 200000 values after its aliases are expanded\n"));
}

static void test_size_is_bounded(void **state)
{
	autofree char *text = xmalloc(YAML_MAX_BYTES + 2);
	autofree char *got = NULL;

	(void)state;
	memset(text, '#', YAML_MAX_BYTES + 1);
	text[YAML_MAX_BYTES + 1] = '\0';
	got = said(text);
	assert_string_equal(got, "f: larger than 4 MiB\n");
}

static void test_a_map_of_many_keys_is_quick(void **state)
{
	autostr text = {0};

	(void)state;
	for (int i = 0; i < 90000; i++)
		str_addf(&text, "k%d: 1\n", i);
	yaml_release(load(text.s));
}

static void assert_file_says(const char *path, const char *want)
{
	autodiags d = {0};
	struct yaml *y;
	autofree char *all = NULL;

	assert_true(yaml_load_file(path, &d, &y) < 0);
	all = diags_text(&d);
	assert_string_equal(all, want);
}

static void test_unreadable_files(void **state)
{
	(void)state;
	assert_file_says("/nonexistent/x.yaml",
			 "/nonexistent/x.yaml: cannot be read: No such file or directory\n");
	assert_file_says("/tmp", "/tmp: cannot be read: Is a directory\n");
	assert_file_says("/dev/zero", "/dev/zero: larger than 4 MiB\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents_and_places),
		cmocka_unit_test(test_alias_is_the_anchored_node),
		cmocka_unit_test(test_merge_keys),
		cmocka_unit_test(test_merge_of_a_merge),
		cmocka_unit_test(test_anchor_name_used_again),
		cmocka_unit_test(test_errors_of_syntax),
		cmocka_unit_test(test_zero_byte_is_no_text),
		cmocka_unit_test(test_duplicates_are_all_reported_and_the_tree_is_kept),
		cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_alias_bomb_is_bounded),
		cmocka_unit_test(test_merge_bomb_is_bounded),
		cmocka_unit_test(test_size_is_bounded),
		cmocka_unit_test(test_a_map_of_many_keys_is_quick),
		cmocka_unit_test(test_unreadable_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
