/* How far a run reaches while targets come and go, and whether its seed brings it again. */
#include "engine_fixture.h"

static void list_again(const char *name)
{
	autoptr(target) t = file_target(name, "more\n");

	target_list_add(&listed, t);
}

static void forget(const char *name)
{
	for (size_t i = 0; i < listed.n; i++)
		if (streq(listed.items[i]->name, name)) {
			target_unref(listed.items[i]);
			listed.items[i] = listed.items[--listed.n];
		}
}

static void come_when(struct fixture *fx, const struct event *ev, enum event_type type)
{
	if (ev->type == type && fx->rounds++ == 0)
		list_again("late");
}

static void come_after_the_plan(struct fixture *fx, const struct event *ev)
{
	come_when(fx, ev, EVENT_PLANNED);
}

static void come_while_it_is_on(struct fixture *fx, const struct event *ev)
{
	come_when(fx, ev, EVENT_INJECTED);
}

static void assert_untouched(const char *target)
{
	assert_file(target, "more\n");
}

/* What was planned is planned anew when the fault's time has come. */
static void test_blast_radius_holds_for_targets_that_came_before_the_fault(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.blast_radius.max_targets = 2;
	fx.hook = come_after_the_plan;
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "3 targets, blastRadius.maxTargets allows 2"));
	assert_untouched("default/late");
	forget("late");
	assert_restored();
}

static void go_after_the_plan(struct fixture *fx, const struct event *ev)
{
	if (ev->type == EVENT_PLANNED && fx->rounds++ == 0)
		forget("late");
}

static void test_share_is_of_the_targets_that_are_there_when_the_fault_begins(void **state)
{
	autofixture fx = {0};

	list_again("late");
	fixture_init(&fx);
	fx.params[0].selection.mode = SELECT_FIXED;
	fx.params[0].selection.value = (char *)"1";
	fx.x.blast_radius.max_percent = 34;
	fx.x.seed = 1;
	fx.hook = go_after_the_plan;
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "1 of 2 matching targets are 50 %"));
	assert_restored();
}

static void test_blast_radius_holds_for_targets_that_come_during_the_fault(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.blast_radius.max_targets = 2;
	fx.hook = come_while_it_is_on;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_int_equal(json_array_size(json_object_get(engine_record(fx.en), "faults")), 1);
	forget("late");
	assert_restored();
}

static const json_t *reasons_of(const struct fixture *fx)
{
	return json_object_get(engine_record(fx->en), "not_replayable");
}

static void test_run_is_replayable_only_when_all_of_it_is(void **state)
{
	autofixture fx = {0}, moved = {0}, loaded = {0}, drawn = {0};
	char *load[] = {"/bin/sleep", "60"};

	fixture_init(&fx);
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_true(json_is_true(json_object_get(engine_record(fx.en), "replayable")));
	assert_int_equal(json_array_size(reasons_of(&fx)), 0);

	fixture_init(&moved);
	moved.hook = come_while_it_is_on;
	run(&moved);
	assert_true(json_is_false(json_object_get(engine_record(moved.en), "replayable")));
	assert_string_equal(json_string_value(json_array_get(reasons_of(&moved), 0)),
			    "break: a target came while it was on");
	forget("late");

	fixture_init(&loaded);
	loaded.x.load_command = (struct strlist){load, 2};
	run(&loaded);
	assert_string_equal(json_string_value(json_array_get(reasons_of(&loaded), 0)),
			    "load: the command's own choices are not known");

	fixture_init(&drawn);
	file_driver_knobs.unseeded = "its dice have no seed";
	run(&drawn);
	assert_string_equal(json_string_value(json_array_get(reasons_of(&drawn), 0)),
			    "break: its dice have no seed");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_blast_radius_holds_for_targets_that_came_before_the_fault),
		TEST(test_share_is_of_the_targets_that_are_there_when_the_fault_begins),
		TEST(test_blast_radius_holds_for_targets_that_come_during_the_fault),
		TEST(test_run_is_replayable_only_when_all_of_it_is),
	};
	int code;

	if (is_role(argc, argv, &code))
		return code;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
