/* Whole runs, with a fault that breaks files and a source that lists them; the guard is real. */
#include "engine_fixture.h"

static void see_broken(struct fixture *fx, const struct event *ev)
{
	if (ev->type == EVENT_JOURNALED) {
		assert_file("default/a", "one\n");
		assert_int_equal(pending(), 2);
	}
	if (ev->type == EVENT_INJECTED)
		assert_file("default/a", "broken\n");
}

static void test_run_goes_through_every_stage_in_order(void **state)
{
	autofixture fx = {0};
	autoptr(journal) j = NULL;
	struct run_row row = {0};

	fixture_init(&fx);
	fx.hook = see_broken;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_string_equal(seen.s, "planned journaled injected effect recovered verdict");
	assert_restored();
	assert_int_equal(journal_open(state_dir, &j, NULL), 0);
	assert_int_equal(journal_run(j, "latest", &row, NULL), 0);
	assert_string_equal(row.id, engine_run_id(fx.en));
	assert_string_equal(row.state, "done");
	assert_string_equal(row.verdict, "passed");
	assert_non_null(strstr(row.record, "\"schema\":\"brunt.dev/record/v1\""));
	run_row_done(&row);
	assert_true(file_driver_knobs.n_ticks > 1);
	assert_int_equal(file_driver_knobs.n_offs, 1);
	assert_int_equal(file_driver_knobs.n_reverts, 1);
}

static void test_record_holds_targets_effect_timings_and_snapshots(void **state)
{
	autofixture fx = {0};
	const json_t *fault, *row;

	fixture_init(&fx);
	run(&fx);
	fault = json_array_get(json_object_get(engine_record(fx.en), "faults"), 0);
	assert_int_equal(json_array_size(json_object_get(fault, "targets")), 2);
	assert_string_equal(json_string_value(json_object_get(fault, "effect")), "measured");
	assert_string_equal(json_string_value(json_object_get(fault, "requested")), "broken");
	assert_true(json_integer_value(json_object_get(json_object_get(fault, "took_us"),
						       "journal")) > 0);
	assert_int_equal(json_integer_value(json_object_get(engine_record(fx.en), "seed")), 42);
	row = json_array_get(json_object_get(engine_record(fx.en), "residue"), 0);
	assert_true(json_is_true(json_object_get(row, "clean")));
	assert_string_equal(json_string_value(json_object_get(row, "before")),
			    json_string_value(json_object_get(row, "after")));
	assert_true(json_array_size(json_object_get(engine_record(fx.en), "events")) > 5);
}

/* When the fault told that, in ms from the start; it is a failure when it did not. */
static double told_at_ms(const struct fixture *fx, const char *fault, enum event_type type)
{
	const json_t *ev;
	size_t i;

	json_array_foreach(json_object_get(engine_record(fx->en), "events"), i, ev)
		if (streq(json_string_value(json_object_get(ev, "name")), fault) &&
		    streq(json_string_value(json_object_get(ev, "type")), event_type_name(type)))
			return json_number_value(json_object_get(ev, "at_ms"));
	fail_msg("%s of %s is missing in: %s", event_type_name(type), fault, seen.s);
	return 0;
}

static void test_fault_with_a_duration_ends_before_the_window(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.fault[0].duration_ns = 30 * MS;
	fx.x.fault_ns = 1000 * MS;
	fx.x.n_faults = 2; /* both on the same targets, the second longer */
	assert_int_equal(run(&fx), VERDICT_PASSED);
	/* In which order the two do the rest is the machine's business. */
	assert_true(told_at_ms(&fx, "break", EVENT_RECOVERED) + 300 <
		    told_at_ms(&fx, "second", EVENT_RECOVERED));
	assert_restored();
}

static void test_faults_in_conflict_are_refused_before_anything(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.n_faults = 2;
	file_driver_knobs.conflict = "there is one file";
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en),
			       "fault break and fault second cannot be on default/a at one time: "
			       "there is one file"));
	assert_int_equal(file_driver_knobs.n_reverts, 0);
}

static void test_blast_radius_refuses_before_anything(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.blast_radius.max_targets = 1;
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "2 targets, blastRadius.maxTargets allows 1"));
	assert_string_equal(seen.s, "verdict");
}

static void test_empty_selection_is_an_error_unless_allowed(void **state)
{
	autofixture fx = {0}, allowed = {0};

	target_list_done(&listed);
	fixture_init(&fx);
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "--allow-empty"));
	fixture_init(&allowed);
	allowed.o.allow_empty = true;
	assert_int_equal(run(&allowed), VERDICT_PASSED);
	assert_non_null(strstr(engine_sentence(allowed.en), "nothing was tried"));
}

static void test_half_an_inject_is_reverted(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	file_driver_knobs.fail_inject = true;
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "fault break: default/a: would not break"));
	assert_restored();
}

static void test_effect_that_is_not_felt_is_ineffective(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	file_driver_knobs.effect = EFFECT_NONE;
	assert_int_equal(run(&fx), VERDICT_INEFFECTIVE);
	assert_restored();
}

static void test_effect_that_cannot_be_measured_is_inconclusive(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	file_driver_knobs.effect = EFFECT_UNKNOWN;
	assert_int_equal(run(&fx), VERDICT_INCONCLUSIVE);
	assert_restored();
}

static void test_residue_is_told_and_stays_pending(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	file_driver_knobs.keep_residue = true;
	assert_int_equal(run(&fx), VERDICT_NOT_RESTORED);
	assert_non_null(strstr(seen.s, "residue residue verdict"));
	assert_null(strstr(seen.s, "recovered"));
	assert_non_null(strstr(engine_sentence(fx.en), "+left over"));
	assert_non_null(strstr(engine_sentence(fx.en), "brunt recover "));
	assert_int_equal(verdict_exit_code(engine_verdict(fx.en)), 4);
	assert_int_equal(pending(), 2);
}

static void interrupt_on_inject(struct fixture *fx, const struct event *ev)
{
	if (ev->type == EVENT_INJECTED)
		engine_interrupt(fx->en, "Ctrl-C");
}

static void test_interrupt_recovers_at_once(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.fault_ns = 3600 * NSEC_PER_SEC;
	fx.hook = interrupt_on_inject;
	assert_int_equal(run(&fx), VERDICT_INTERRUPTED);
	assert_restored();
	assert_int_equal(verdict_exit_code(VERDICT_INTERRUPTED), 130);
}

/* One interrupt a phase and a stage, each in a run of its own. */
static enum event_type stop_type;
static const char *stop_name;

static void interrupt_there(struct fixture *fx, const struct event *ev)
{
	if (ev->type == stop_type && (!stop_name || streq(ev->name, stop_name)))
		engine_interrupt(fx->en, "test");
}

static void test_interrupt_at_any_stage_leaves_nothing(void **state)
{
	static const struct {
		enum event_type type;
		const char *name;
	} stages[] = {
		{EVENT_PHASE, "prepare"}, {EVENT_PLANNED, NULL},      {EVENT_PHASE, "baseline"},
		{EVENT_PHASE, "fault"},   {EVENT_JOURNALED, NULL},    {EVENT_INJECTED, NULL},
		{EVENT_EFFECT, NULL},     {EVENT_PHASE, "recovery"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		autofixture fx = {0};

		fixture_init(&fx);
		fx.x.baseline_ns = fx.x.recovery_ns = 20 * MS;
		fx.hook = interrupt_there;
		stop_type = stages[i].type;
		stop_name = stages[i].name;
		assert_int_equal(run(&fx), VERDICT_INTERRUPTED);
		assert_restored();
	}
}

static void kill_guard(struct fixture *fx, const struct event *ev)
{
	struct lock_holder h = {0};

	if (ev->type != EVENT_INJECTED)
		return;
	assert_int_equal(lock_holder_read(state_dir, engine_run_id(fx->en), &h, NULL), 0);
	assert_int_equal(kill(h.guard, SIGKILL), 0);
	lock_holder_done(&h);
}

static void test_run_reverts_when_the_guard_dies_first(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.fault_ns = 3600 * NSEC_PER_SEC;
	fx.hook = kill_guard;
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "the guard process ended before the run"));
	assert_restored();
}

static void add_target_on_inject(struct fixture *fx, const struct event *ev)
{
	autoptr(target) t = NULL;

	if (ev->type == EVENT_INJECTED) {
		t = file_target("c", "three\n");
		target_list_add(&listed, t);
	}
	if (ev->type == EVENT_CHANGED)
		assert_file("default/c", "broken\n");
}

static void test_target_that_comes_is_journaled_and_broken_too(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.hook = add_target_on_inject;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_non_null(strstr(seen.s, "journaled changed"));
	assert_restored();
	assert_file("default/c", "three\n");
}

static void drop_target_on_inject(struct fixture *fx, const struct event *ev)
{
	autofree char *path = file_of("default/b");

	if (ev->type != EVENT_INJECTED)
		return;
	target_gone(listed.items[1]);
	target_unref(listed.items[1]);
	listed.n = 1;
	unlink(path);
}

static void test_target_that_dies_counts_as_recovered(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.hook = drop_target_on_inject;
	assert_int_equal(run(&fx), VERDICT_INCONCLUSIVE);
	assert_non_null(strstr(seen.s, "target-gone"));
	assert_non_null(strstr(engine_sentence(fx.en), "default/b: the target is gone"));
	assert_int_equal(file_driver_knobs.n_retargets, 1);
	assert_file("default/a", "one\n");
	assert_int_equal(pending(), 0);
}

static void change_on_inject(struct fixture *fx, const struct event *ev)
{
	if (ev->type == EVENT_INJECTED)
		file_write("default/b", "theirs\n");
}

static void test_a_gap_makes_the_run_inconclusive_and_is_named(void **state)
{
	autofixture fx = {0};
	const json_t *presence, *gap;

	fixture_init(&fx);
	file_driver_knobs.check = true;
	fx.hook = change_on_inject;
	assert_int_equal(run(&fx), VERDICT_INCONCLUSIVE);
	assert_non_null(strstr(seen.s, "injected gap"));
	assert_non_null(strstr(engine_sentence(fx.en),
			       "% of its time only: default/b: the file says \"theirs\""));
	presence = json_object_get(json_array_get(json_object_get(engine_record(fx.en), "faults"), 0),
				   "presence");
	gap = json_array_get(json_object_get(presence, "gaps"), 0);
	assert_string_equal(json_string_value(json_object_get(gap, "target")), "default/b");
	assert_true(json_real_value(json_object_get(presence, "share")) < 0.9);
	assert_true(json_real_value(json_object_get(presence, "longest_unseen_ms")) > 0);
}

static struct fixture *rival;

static void start_rival(struct fixture *fx, const struct event *ev)
{
	if (ev->type == EVENT_INJECTED && !rival->ended)
		run(rival);
}

static void test_two_runs_never_hold_one_target(void **state)
{
	autofixture fx = {0}, other = {0};
	autofree char *held = NULL;

	fixture_init(&fx);
	fixture_init(&other);
	other.x.name = (char *)"y";
	rival = &other;
	fx.hook = start_rival;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_int_equal(engine_verdict(other.en), VERDICT_ERROR);
	held = xasprintf("target default/a is held by run %s of experiment x",
			 engine_run_id(fx.en));
	assert_non_null(strstr(engine_sentence(other.en), held));
	assert_restored();
}

static void test_one_experiment_never_runs_twice_at_once(void **state)
{
	autofixture fx = {0}, other = {0};

	fixture_init(&fx);
	fixture_init(&other);
	rival = &other;
	fx.hook = start_rival;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_int_equal(engine_verdict(other.en), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(other.en), "experiment/x is held by run "));
}

static void start_queued_rival(struct fixture *fx, const struct event *ev)
{
	struct err e = {0};

	if (ev->type != EVENT_INJECTED)
		return;
	rival->loop = sd_event_ref(fx->loop);
	assert_int_equal(engine_new(&rival->x, &rival->o, fx->loop, &rival->en, &e), 0);
	assert_int_equal(engine_start(rival->en, on_done, rival, &e), 0);
}

static void test_wait_queues_behind_the_holder(void **state)
{
	autofixture fx = {0}, other = {0};

	fixture_init(&fx);
	fixture_init(&other);
	other.o.wait = true;
	other.o.listener = (struct listener){0};
	rival = &other;
	fx.hook = start_queued_rival;
	assert_int_equal(run(&fx), VERDICT_PASSED);
	assert_false(other.ended);
	for (int i = 0; i < 30000 && !other.ended; i++)
		sd_event_run(fx.loop, 1000);
	assert_int_equal(engine_verdict(other.en), VERDICT_PASSED);
	assert_restored();
}

static void test_load_that_cannot_start_is_an_error(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	strlist_add(&fx.x.load_command, "bt-core-no-such-load");
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en),
			       "load: bt-core-no-such-load: No such file or directory"));
	strlist_done(&fx.x.load_command);
}

static const char *output_of_load(struct fixture *fx, const char *script)
{
	fixture_init(fx);
	strlist_add(&fx->x.load_command, "sh");
	strlist_add(&fx->x.load_command, "-c");
	strlist_add(&fx->x.load_command, script);
	assert_int_equal(run(fx), VERDICT_PASSED);
	strlist_done(&fx->x.load_command);
	return json_string_value(json_object_get(json_object_get(engine_record(fx->en), "load"), "output"));
}

static void test_what_load_says_at_its_end_is_in_the_record(void **state)
{
	static const struct {
		const char *script, *output;
	} rows[] = {
		{"trap 'echo 42 done; exit 0' TERM; echo begun; while :; do :; done",
		 "begun\n42 done\n"},
		{"printf 'caf\\351\\n'; exec sleep 1000", "caf?\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		autofixture fx = {0};

		assert_string_equal(output_of_load(&fx, rows[i].script), rows[i].output);
	}
}

static void test_load_that_ends_early_is_an_error_with_its_last_line(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.x.fault_ns = 3600 * NSEC_PER_SEC;
	strlist_add(&fx.x.load_command, "sh");
	strlist_add(&fx.x.load_command, "-c");
	strlist_add(&fx.x.load_command, "echo first; echo port in use >&2; exit 7");
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en),
			       "load: sh ended early: exit code 7: port in use"));
	assert_restored();
	strlist_done(&fx.x.load_command);
}

static void test_plan_only_touches_nothing(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.o.plan_only = true;
	run(&fx);
	assert_null(engine_error(fx.en));
	assert_int_equal(access(state_dir, F_OK), -1);
	assert_file("default/a", "one\n");
	assert_int_equal(json_integer_value(json_object_get(engine_plan(fx.en), "targets")), 2);
}

static void test_state_directory_that_cannot_be_is_an_error(void **state)
{
	autofixture fx = {0};

	fixture_init(&fx);
	fx.o.state_dir = "/proc/brunt";
	assert_int_equal(run(&fx), VERDICT_ERROR);
	assert_non_null(strstr(engine_sentence(fx.en), "state directory /proc/brunt"));
	assert_file("default/a", "one\n");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_run_goes_through_every_stage_in_order),
		TEST(test_record_holds_targets_effect_timings_and_snapshots),
		TEST(test_fault_with_a_duration_ends_before_the_window),
		TEST(test_faults_in_conflict_are_refused_before_anything),
		TEST(test_blast_radius_refuses_before_anything),
		TEST(test_empty_selection_is_an_error_unless_allowed),
		TEST(test_half_an_inject_is_reverted),
		TEST(test_effect_that_is_not_felt_is_ineffective),
		TEST(test_effect_that_cannot_be_measured_is_inconclusive),
		TEST(test_residue_is_told_and_stays_pending),
		TEST(test_interrupt_recovers_at_once),
		TEST(test_interrupt_at_any_stage_leaves_nothing),
		TEST(test_run_reverts_when_the_guard_dies_first),
		TEST(test_target_that_comes_is_journaled_and_broken_too),
		TEST(test_target_that_dies_counts_as_recovered),
		TEST(test_a_gap_makes_the_run_inconclusive_and_is_named),
		TEST(test_two_runs_never_hold_one_target),
		TEST(test_one_experiment_never_runs_twice_at_once),
		TEST(test_wait_queues_behind_the_holder),
		TEST(test_load_that_cannot_start_is_an_error),
		TEST(test_load_that_ends_early_is_an_error_with_its_last_line),
		TEST(test_what_load_says_at_its_end_is_in_the_record),
		TEST(test_plan_only_touches_nothing),
		TEST(test_state_directory_that_cannot_be_is_an_error),
	};
	int code;

	if (is_role(argc, argv, &code))
		return code;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
