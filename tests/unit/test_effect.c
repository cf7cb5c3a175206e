/* What was asked for beside what was measured: one judge for every kind of fault. */
#include "base/yaml.h"
#include "fault/effect.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1e6

static struct effect_figure rtt(double value_ms, double low_ms, double high_ms)
{
	return (struct effect_figure){.name = "round trip", .unit = EFFECT_NS, .asked = 200 * MS,
				      .value = value_ms * MS, .low = low_ms * MS, .high = high_ms * MS,
				      .samples = 38};
}

static struct effect_figure loss(double asked, double lost, double of)
{
	struct effect_figure g = {.name = "loss", .unit = EFFECT_PERCENT, .asked = asked};

	effect_share(&g, lost, of);
	return g;
}

static void expect(struct effect_figure g, enum effect_state want)
{
	char text[256];

	effect_figure_text(&g, text, sizeof text);
	if (effect_compare(&g) != want)
		fail_msg("%s: want %s, saw %s", text, effect_state_names[want],
			 effect_state_names[effect_compare(&g)]);
}

static void test_compare_takes_the_interval_before_the_figure(void **state)
{
	expect(rtt(201, 200, 203), EFFECT_MEASURED);
	expect(rtt(405, 404, 406), EFFECT_MORE);
	expect(rtt(120, 118, 125), EFFECT_LESS);
	expect(rtt(2, 1, 3), EFFECT_NONE);
	expect(rtt(-1, -2, 1), EFFECT_NONE);
	expect(rtt(240, 150, 400), EFFECT_MEASURED); /* across both edges, the figure inside */
	expect(rtt(270, 240, 300), EFFECT_UNKNOWN);  /* across an edge, the figure outside */
	expect(rtt(150, 100, 170), EFFECT_UNKNOWN);
}

static void test_compare_few_packets_tell_nothing(void **state)
{
	expect(loss(50, 1, 6), EFFECT_UNKNOWN);
	expect(loss(50, 30, 60), EFFECT_MEASURED);
	expect(loss(50, 100, 600), EFFECT_LESS);
	expect(loss(50, 0, 60), EFFECT_NONE);
	expect(loss(10, 400, 1000), EFFECT_MORE);
}

static void test_compare_a_partition_is_a_whole_one(void **state)
{
	struct effect_figure g = loss(100, 55, 75);

	g.tolerance = (struct tolerance){0.99, 1.01};
	expect(g, EFFECT_LESS);
	effect_share(&g, 74, 75);
	expect(g, EFFECT_UNKNOWN);
	effect_share(&g, 75, 75);
	expect(g, EFFECT_MEASURED);
}

/* The smaller a limit, the more the fault does. */
static void test_compare_of_a_limit_is_the_other_way_round(void **state)
{
	struct effect_figure g = {.name = "limit", .unit = EFFECT_BYTES, .asked = 1 << 20, .limit = true};

	g.value = g.low = g.high = 6.94 * (1 << 20);
	expect(g, EFFECT_LESS);
	g.value = g.low = g.high = 1 << 20;
	expect(g, EFFECT_MEASURED);
	g.value = g.low = g.high = 0;
	expect(g, EFFECT_MORE);
}

static void test_compare_what_was_not_measured_is_unknown(void **state)
{
	struct effect_figure g = rtt(200, 200, 200);

	snprintf(g.why, sizeof g.why, "2 samples are too few");
	expect(g, EFFECT_UNKNOWN);
	expect(rtt(NAN, NAN, NAN), EFFECT_UNKNOWN);
}

static void test_compare_nothing_asked_for(void **state)
{
	struct effect_figure g = rtt(0.4, 0.3, 0.5);

	g.asked = 0;
	g.slack = 1 * MS;
	expect(g, EFFECT_MEASURED);
	g.value = g.low = g.high = 30 * MS;
	expect(g, EFFECT_MORE);
}

static void test_compare_slack_is_for_what_measuring_adds(void **state)
{
	struct effect_figure g = rtt(1.9, 1.8, 2.0);

	g.asked = 1 * MS;
	expect(g, EFFECT_MORE);
	g.slack = 1 * MS;
	expect(g, EFFECT_MEASURED);
	g.value = g.low = g.high = 0.1 * MS; /* and never excuses too little */
	expect(g, EFFECT_LESS);
}

static void test_compare_others_may_add_to_some_figures(void **state)
{
	struct effect_figure g = rtt(900, 800, 1000);

	g.at_least = true;
	expect(g, EFFECT_MEASURED);
	g.value = g.low = g.high = 100 * MS;
	expect(g, EFFECT_LESS);
}

static void test_compare_with_a_tolerance_of_the_user(void **state)
{
	struct effect_figure g = rtt(405, 404, 406);

	g.tolerance = (struct tolerance){0.5, 2.5};
	expect(g, EFFECT_MEASURED);
	g = rtt(190, 189, 191);
	g.tolerance = (struct tolerance){0.98, 1.02};
	expect(g, EFFECT_LESS);
}

static void test_add_the_gravest_figure_decides(void **state)
{
	struct effect ef = {0};
	struct effect_figure good = rtt(201, 200, 203), more = rtt(405, 404, 406),
			     unsure = loss(50, 1, 6), none = loss(50, 0, 60);

	effect_add(&ef, &good);
	assert_int_equal(ef.state, EFFECT_MEASURED);
	effect_add(&ef, &unsure);
	assert_int_equal(ef.state, EFFECT_UNKNOWN);
	assert_string_equal(effect_decisive(&ef)->name, "loss");
	effect_add(&ef, &more);
	effect_add(&ef, &good);
	assert_int_equal(ef.state, EFFECT_MORE);
	assert_string_equal(effect_decisive(&ef)->name, "round trip");
	effect_add(&ef, &none);
	assert_int_equal(ef.state, EFFECT_NONE);
	assert_int_equal(ef.n_figures, 5);
}

/* A hundred targets have more figures than are kept: the one that is wrong is not lost. */
static void test_add_keeps_the_gravest_when_there_are_many(void **state)
{
	struct effect_figure good = rtt(201, 200, 203), more = rtt(405, 404, 406);
	struct effect ef = {0};

	for (int i = 0; i < 20; i++)
		effect_add(&ef, &good);
	effect_add(&ef, &more);
	for (int i = 0; i < 20; i++)
		effect_add(&ef, &good);
	assert_int_equal(ef.state, EFFECT_MORE);
	assert_true(effect_decisive(&ef)->value == 405 * MS);
}

static void test_add_a_witness_contradicts_and_proves_nothing(void **state)
{
	struct effect ef = {0};
	struct effect_figure good = rtt(201, 200, 203), more = rtt(405, 404, 406);

	good.witness = more.witness = true;
	effect_add(&ef, &good);
	assert_false(ef.folded);
	assert_int_equal(ef.state, EFFECT_UNKNOWN);
	effect_add(&ef, &more);
	assert_int_equal(ef.state, EFFECT_MORE);
}

static void test_figure_text_has_both_numbers(void **state)
{
	struct effect_figure g = rtt(405, 404, 406), six = loss(50, 1, 6);
	char text[256];

	effect_figure_text(&g, text, sizeof text);
	assert_string_equal(text,
			    "round trip: asked 200 ms, measured 405 ms (404 ms to 406 ms, 38 samples)");
	effect_figure_text(&six, text, sizeof text);
	assert_string_equal(text, "loss: asked 50 %, measured 16.7 % (1.99 % to 66.4 %, 6 samples)");
}

/* "" when it is good, else the complaint. */
static struct tolerance parse(const char *yaml, char *why, size_t size)
{
	static const struct field fields[] = {
		{.name = "tolerance", .type = FIELD_CUSTOM, .parse = tolerance_parse},
	};
	static const struct schema schema = {
		.name = "t", .size = sizeof(struct tolerance), .fields = fields, .n_fields = 1};
	struct tolerance t = {0};
	struct diags d = {0};
	struct field_ctx ctx = {.file = "t.yaml", .diags = &d};
	struct yaml *y = NULL;

	*why = '\0';
	assert_int_equal(yaml_load_text("t.yaml", yaml, strlen(yaml), &d, &y), 0);
	field_bind(&schema, y->docs[0], &t, &ctx);
	if (d.n)
		snprintf(why, size, "%s", d.items[0].text);
	diags_done(&d);
	yaml_release(y);
	return t;
}

static void test_tolerance_forms(void **state)
{
	static const struct {
		const char *yaml;
		struct tolerance want;
	} good[] = {
		{"tolerance: 0.8..1.25\n", {0.8, 1.25}},	   {"tolerance: 0..3\n", {0, 3}},
		{"tolerance: \"0.5 .. 2\"\n", {0.5, 2}},	   {"tolerance: 1..1\n", {1, 1}},
		{"tolerance: {min: 0.5, max: 2}\n", {0.5, 2}}, {"tolerance: {max: 2}\n", {0.8, 2}},
	};
	static const char *const bad[] = {
		"tolerance: 20\n",	  "tolerance: 1.25..0.8\n", "tolerance: 0.1..0.2\n",
		"tolerance: 1.1..2\n",	  "tolerance: -1..2\n",	    "tolerance: 0.8..\n",
		"tolerance: ..1.25\n",	  "tolerance: 0.8..inf\n",  "tolerance: nan..2\n",
		"tolerance: 0.8..1e300\n", "tolerance: {min: a}\n",  "tolerance: {least: 1}\n",
		"tolerance: [0.8, 1.2]\n", "tolerance: {min: 2}\n",  "tolerance: 0.8..1.25x\n",
	};
	char why[256];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct tolerance t = parse(good[i].yaml, why, sizeof why);

		if (why[0] || t.min != good[i].want.min || t.max != good[i].want.max)
			fail_msg("%s: want %g..%g, saw %g..%g %s", good[i].yaml, good[i].want.min,
				 good[i].want.max, t.min, t.max, why);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		parse(bad[i], why, sizeof why);
		if (!why[0])
			fail_msg("%s was taken", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare_takes_the_interval_before_the_figure),
		cmocka_unit_test(test_compare_few_packets_tell_nothing),
		cmocka_unit_test(test_compare_a_partition_is_a_whole_one),
		cmocka_unit_test(test_compare_of_a_limit_is_the_other_way_round),
		cmocka_unit_test(test_compare_what_was_not_measured_is_unknown),
		cmocka_unit_test(test_compare_nothing_asked_for),
		cmocka_unit_test(test_compare_slack_is_for_what_measuring_adds),
		cmocka_unit_test(test_compare_others_may_add_to_some_figures),
		cmocka_unit_test(test_compare_with_a_tolerance_of_the_user),
		cmocka_unit_test(test_add_the_gravest_figure_decides),
		cmocka_unit_test(test_add_keeps_the_gravest_when_there_are_many),
		cmocka_unit_test(test_add_a_witness_contradicts_and_proves_nothing),
		cmocka_unit_test(test_figure_text_has_both_numbers),
		cmocka_unit_test(test_tolerance_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
