#include "base/field.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

struct point {
	int64_t x;
};

struct thing {
	char *name;
	bool loud, loud_given;
	int64_t count;
	double factor;
	int color;
	int64_t wait_ns;
	uint32_t share_ppm;
	uint64_t rate_Bps, size_bytes;
	double freq;
	char *file;
	struct strlist words;
	struct kvs labels;
	struct point at;
	struct point *points;
	size_t n_points;
	const void *chosen;
	void *chosen_params;
	const void *beside;
	void *beside_params;
};

static const struct field point_fields[] = {
	{.name = "x", .type = FIELD_INT, .offset = offsetof(struct point, x), .deflt = "7"},
};

static const struct schema point_schema = {
	.name = "point", .size = sizeof(struct point), .fields = point_fields, .n_fields = 1};

static bool point_variant(size_t i, struct variant *ret)
{
	static const char *const names[] = {"first", "second"};

	if (i < 2)
		*ret = (struct variant){names[i], &point_schema, names[i]};
	return i < 2;
}

static bool inline_variant(size_t i, struct variant *ret)
{
	static const char *const names[] = {"redPoint", "bluePoint"};

	if (i < 2)
		*ret = (struct variant){names[i], &point_schema, names[i]};
	return i < 2;
}

static int check_thing(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct thing *t = obj;

	return t->count == 13 ? field_error(ctx, node, "count", "brings bad luck") : 0;
}

static char *unknown_in_thing(const char *name)
{
	return streq(name, "legacy") ? xstrdup("went away") : NULL;
}

#define AT(member) .offset = offsetof(struct thing, member)

static const char *const colors[] = {"red", "green", NULL};

static const struct field thing_fields[] = {
	{.name = "name", .type = FIELD_STRING, AT(name), .required = true},
	{.name = "loud", .type = FIELD_BOOL, AT(loud),
	 .present_offset = offsetof(struct thing, loud_given)},
	{.name = "count", .type = FIELD_INT, AT(count), .deflt = "3", .has_range = true, .min = 1,
	 .max = 20},
	{.name = "factor", .type = FIELD_DOUBLE, AT(factor)},
	{.name = "color", .type = FIELD_ENUM, AT(color), .names = colors, .deflt = "green"},
	{.name = "wait", .type = FIELD_DURATION, AT(wait_ns), .has_range = true, .min = 1000000,
	 .max = INT64_MAX},
	{.name = "share", .type = FIELD_PERCENT, AT(share_ppm), .deflt = "25"},
	{.name = "rate", .type = FIELD_RATE, AT(rate_Bps)},
	{.name = "size", .type = FIELD_SIZE, AT(size_bytes)},
	{.name = "freq", .type = FIELD_FREQUENCY, AT(freq)},
	{.name = "file", .type = FIELD_PATH, AT(file)},
	{.name = "words", .type = FIELD_STRINGS, AT(words)},
	{.name = "labels", .type = FIELD_STRMAP, AT(labels)},
	{.name = "at", .type = FIELD_OBJECT, AT(at), .sub = &point_schema},
	{.name = "points", .type = FIELD_LIST, AT(points), .sub = &point_schema,
	 .count_offset = offsetof(struct thing, n_points)},
	{.name = "choice", .type = FIELD_VARIANT, AT(chosen), .variant = point_variant},
	{.name = "", .type = FIELD_VARIANT, AT(beside), .variant = inline_variant},
	{.name = "status", .type = FIELD_IGNORED},
	{.name = "old", .type = FIELD_REFUSED, .doc = "was removed: use new"},
};

static const struct schema thing_schema = {
	.name = "thing",
	.size = sizeof(struct thing),
	.fields = thing_fields,
	.n_fields = ARRAY_SIZE(thing_fields),
	.unknown = unknown_in_thing,
	.check = check_thing,
};

/* Binds text into t; returns all that is said of it. */
static char *bind(const char *text, struct thing *t)
{
	autodiags d = {0};
	autoptr(yaml) y = NULL;
	struct field_ctx ctx = {.file = "f", .diags = &d};
	int r;

	assert_int_equal(yaml_load_text("f", text, strlen(text), &d, &y), 0);
	r = field_bind(&thing_schema, y->docs[0], t, &ctx);
	assert_int_equal(r, d.n ? -EINVAL : 0);
	assert_string_equal(ctx.path, "");
	diags_sort(&d);
	return diags_text(&d);
}

static void assert_says(const char *text, const char *want)
{
	struct thing t = {0};
	autofree char *got = bind(text, &t);

	field_free(&thing_schema, &t);
	assert_string_equal(got, want);
}

static void test_bind_every_type(void **state)
{
	struct thing t = {0};
	autofree char *said = bind("name: 5\nloud: true\ncount: 4\nfactor: 1.5\ncolor: red\n"
				   "wait: 20ms\nshare: \"12.5\"\nrate: 8mbit\nsize: 2Ki\nfreq: 60/m\n"
				   "file: /a\n"
				   "words: [a, 'b']\nlabels: {x: y, z: }\nat: {x: 1}\n"
				   "points: [{x: 2}, {}]\nchoice: {second: {x: 9}}\n"
				   "bluePoint: {}\nstatus: {anything: [goes]}\n",
				   &t);

	(void)state;
	assert_string_equal(said, "");
	assert_string_equal(t.name, "5");
	assert_true(t.loud && t.loud_given);
	assert_int_equal(t.count, 4);
	assert_true(t.factor == 1.5);
	assert_int_equal(t.color, 0);
	assert_int_equal(t.wait_ns, 20 * NSEC_PER_MSEC);
	assert_int_equal(t.share_ppm, 125000);
	assert_int_equal(t.rate_Bps, 1000000);
	assert_int_equal(t.size_bytes, 2048);
	assert_true(t.freq == 1.0);
	assert_string_equal(t.file, "/a");
	assert_int_equal(t.words.n, 2);
	assert_string_equal(kvs_get(&t.labels, "z"), "");
	assert_int_equal(t.at.x, 1);
	assert_int_equal(t.n_points, 2);
	assert_int_equal(t.points[1].x, 7);
	assert_string_equal(t.chosen, "second");
	assert_int_equal(((struct point *)t.chosen_params)->x, 9);
	assert_string_equal(t.beside, "bluePoint");
	field_free(&thing_schema, &t);
}

static char *path_from(const char *file, const char *path)
{
	const struct field_ctx ctx = {.file = file};

	return field_path(&ctx, path);
}

static void test_paths_are_relative_to_the_file(void **state)
{
	autofree char *cwd = getcwd(NULL, 0), *below = xasprintf("%s/d/x", cwd);
	autofree char *here = xasprintf("%s/x", cwd);
	autofree char *a = path_from("/etc/f.yaml", "d/x"), *b = path_from("/etc/f.yaml", "/x");
	autofree char *c = path_from("d/f.yaml", "x"), *d = path_from("<stdin>", "x");

	(void)state;
	assert_string_equal(a, "/etc/d/x");
	assert_string_equal(b, "/x");
	assert_string_equal(c, below);
	assert_string_equal(d, here);
}

static void test_defaults_reach_absent_objects(void **state)
{
	struct thing t = {0};
	autofree char *said = bind("name: a\ncount: null\nat: ~\n", &t);

	(void)state;
	assert_string_equal(said, "");
	assert_int_equal(t.count, 3);
	assert_int_equal(t.color, 1);
	assert_int_equal(t.share_ppm, 250000);
	assert_int_equal(t.at.x, 7);
	assert_false(t.loud_given);
	assert_null(t.chosen_params);
	field_free(&thing_schema, &t);
}

static void test_errors_of_scalars(void **state)
{
	(void)state;
	assert_says("name: a\nloud: yes\n", "f:2:7: loud: \"yes\" is not true or false\n");
	assert_says("name: a\ncount: \"4\"\n",
		    "f:2:8: count: want a whole number without quotes, not the text \"4\"\n");
	assert_says("name: a\ncount: 21\n", "f:2:8: count: must be between 1 and 20\n");
	assert_says("name: a\ncolor: gren\n", "f:2:8: color: \"gren\" is not one of red, green (did "
					      "you mean \"green\"?)\n");
	assert_says("name: a\ncolor: ultramarine\n",
		    "f:2:8: color: \"ultramarine\" is not one of red, green\n");
	assert_says("name: a\nwait: 5us\n", "f:2:7: wait: must be at least 1.00 ms\n");
	assert_says("name: a\nwait: [5us]\n", "f:2:7: wait: want a duration, not a list\n");
	assert_says("name: {a: b}\n", "f:1:7: name: want a text, not a map\n");
	assert_says("name: a\nshare: 101\n",
		    "f:2:8: share: \"101\" is not a percentage (want a number 0 to 100)\n");
}

static void test_errors_of_collections(void **state)
{
	(void)state;
	assert_says("name: a\nwords: b\n", "f:2:8: words: want a list of texts, not \"b\"\n");
	assert_says("name: a\nwords: [b, [c], null]\n",
		    "f:2:12: words[1]: want a text, not a list\n"
		    "f:2:17: words[2]: want a text, not nothing\n");
	assert_says("name: a\nlabels: {x: [y]}\n", "f:2:13: labels.x: want a text, not a list\n");
	assert_says("name: a\nat: 5\n", "f:2:5: at: want a map, not \"5\"\n");
	assert_says("name: a\npoints: [{x: 1}, {x: y}]\n",
		    "f:2:22: points[1].x: \"y\" is not a whole number\n");
	assert_says("name: a\npoints: [5]\n", "f:2:10: points[0]: want a map, not \"5\"\n");
}

static void test_errors_of_names(void **state)
{
	(void)state;
	assert_says("{}\n", "f:1:1: name: is required\n");
	assert_says("nam: a\n", "f:1:1: nam: unknown field (did you mean \"name\"?)\n"
				"f:1:1: name: is required\n");
	assert_says("name: a\nelephant: 1\n",
		    "f:2:1: elephant: unknown field (thing has name, loud, count, factor, color, wait, "
		    "share, rate, size, freq, file, words, labels, at, points, choice, "
		    "redPoint, bluePoint)\n");
	assert_says("name: a\nlegacy: 1\n", "f:2:1: legacy: went away\n");
	assert_says("name: a\nold: 1\n", "f:2:6: old: was removed: use new\n");
	assert_says("[]\n", "f:1:1: want a map, not a list\n");
}

static void test_a_map_of_many_unknown_fields_is_quick(void **state)
{
	struct thing t = {0};
	autostr text = {0};
	autofree char *got = NULL;

	(void)state;
	str_add(&text, "name: a\n");
	for (int i = 0; i < 90000; i++)
		str_addf(&text, "nam%d: 1\n", i);
	got = bind(text.s, &t);
	field_free(&thing_schema, &t);
	assert_non_null(strstr(got, "f:90001:1: nam89999: unknown field"));
}

static void test_errors_of_variants(void **state)
{
	(void)state;
	assert_says("name: a\nchoice: {}\n",
		    "f:2:9: choice: wants exactly one of first, second\n");
	assert_says("name: a\nchoice: {first: {}, second: {}}\n",
		    "f:2:9: choice: wants exactly one of first, second\n");
	assert_says("name: a\nchoice: {frist: {}}\n",
		    "f:2:10: choice.frist: unknown field (did you mean \"first\"?)\n");
	assert_says("name: a\nchoice: {first: {x: y}}\n",
		    "f:2:21: choice.first.x: \"y\" is not a whole number\n");
	assert_says("name: a\nredPoint: {}\nbluePoint: {}\n",
		    "f:3:12: bluePoint: cannot stand beside redPoint: only one of redPoint, "
		    "bluePoint\n");
	assert_says("name: a\nredPiont: {}\n",
		    "f:2:1: redPiont: unknown field (did you mean \"redPoint\"?)\n");
}

static void test_all_errors_in_one_go_by_place(void **state)
{
	(void)state;
	assert_says("wait: 1\nname: []\nzzzzzzzzz: 1\nloud: 2\n",
		    "f:1:7: wait: \"1\" is not a duration (want a number and ns, us, ms, s, m or h)\n"
		    "f:2:7: name: want a text, not a list\n"
		    "f:3:1: zzzzzzzzz: unknown field (thing has name, loud, count, factor, color, "
		    "wait, share, rate, size, freq, file, words, labels, at, points, choice, redPoint, "
		    "bluePoint)\n"
		    "f:4:7: loud: \"2\" is not true or false\n");
}

static void test_check_runs_when_the_fields_are_good(void **state)
{
	(void)state;
	assert_says("name: a\ncount: 13\n", "f:2:8: count: brings bad luck\n");
	assert_says("count: 13\n", "f:1:1: name: is required\n");
}

static void test_messages_are_one_clean_line(void **state)
{
	(void)state;
	assert_says("name: a\nwait: \"\\e[31m\\n\\u0085\"\n",
		    "f:2:7: wait: \"?[31m\\x0a??\" is not a duration (want a number and ns, us, "
		    "ms, s, m or h)\n");
}

static void test_find_and_names(void **state)
{
	size_t n;
	autofree const char **names = field_names(&thing_schema, &n);

	(void)state;
	assert_string_equal(field_find(&thing_schema, "points.x")->name, "x");
	assert_string_equal(field_find(&thing_schema, "wait")->name, "wait");
	assert_null(field_find(&thing_schema, "wait.x"));
	assert_null(field_find(&thing_schema, "points.y"));
	assert_int_equal(n, 18);
	assert_string_equal(names[17], "bluePoint");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bind_every_type),
		cmocka_unit_test(test_paths_are_relative_to_the_file),
		cmocka_unit_test(test_defaults_reach_absent_objects),
		cmocka_unit_test(test_errors_of_scalars),
		cmocka_unit_test(test_errors_of_collections),
		cmocka_unit_test(test_errors_of_names),
		cmocka_unit_test(test_a_map_of_many_unknown_fields_is_quick),
		cmocka_unit_test(test_errors_of_variants),
		cmocka_unit_test(test_all_errors_in_one_go_by_place),
		cmocka_unit_test(test_check_runs_when_the_fields_are_good),
		cmocka_unit_test(test_messages_are_one_clean_line),
		cmocka_unit_test(test_find_and_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
