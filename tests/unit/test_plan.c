/* What is planned for which of ten rooms, before anything is touched. */
#include "plan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "file_driver.h"

static struct target_list rooms; /* default/room-0 .. default/room-9, each a network namespace */

static int make_rooms(void **state)
{
	file_driver_setup();
	for (int i = 0; i < 10; i++) {
		autofree char *name = xasprintf("room-%d", i);
		autoptr(target) t = file_target(name, "whole\n");

		kvs_set(&t->labels, "app", i < 8 ? "room" : "gateway");
		t->netns_id = (struct netns_id){.dev = 4, .ino = 100 + (uint64_t)i, .cookie = 1};
		target_list_add(&rooms, t);
	}
	return 0;
}

static int free_rooms(void **state)
{
	target_list_done(&rooms);
	return file_driver_teardown();
}

/* An experiment of up to two faults in a window of 10 s. */
struct fixture {
	struct fault_common params[2];
	struct fault_spec specs[2];
	struct experiment x;
	struct fault_env env;
};

static void fixture_init(struct fixture *fx)
{
	static const char *const names[] = {"first", "second"};

	*fx = (struct fixture){.env.seed = 42};
	for (int i = 0; i < 2; i++) {
		fx->params[i].selection = (struct selection){.mode = SELECT_ALL, .given = true};
		fx->specs[i] = (struct fault_spec){
			.name = (char *)names[i], .driver = &file_driver, .params = &fx->params[i]};
	}
	fx->x = (struct experiment){
		.name = (char *)"x", .fault_ns = 10 * NSEC_PER_SEC, .faults = fx->specs, .n_faults = 1};
}

static struct plan *build(struct fixture *fx)
{
	struct plan *p = NULL;
	struct err e = {0};

	if (plan_build(&fx->x, &rooms, &fx->env, false, &p, &e) < 0)
		fail_msg("%s", e.text);
	return p;
}

static void expect_refusal(struct fixture *fx, int code, const char *text, const char *hint)
{
	struct plan *p = NULL;
	struct err e = {0};

	assert_int_equal(plan_build(&fx->x, &rooms, &fx->env, false, &p, &e), -code);
	assert_null(p);
	assert_string_equal(e.text, text);
	assert_string_equal(e.hint, hint);
}

static char *chosen(const struct plan *p, size_t fault)
{
	const struct target_list *l = &p->faults[fault]->fault.targets;
	struct str names = {0};

	for (size_t i = 0; i < l->n; i++)
		str_addf(&names, "%s%s", i ? " " : "", l->items[i]->name);
	return str_take(&names);
}

static void test_build_chooses_by_mode_and_keeps_the_number_of_matches(void **state)
{
	static const struct {
		enum select_mode mode;
		const char *value;
		size_t min, max;
	} rows[] = {
		{SELECT_ONE, NULL, 1, 1},
		{SELECT_ALL, NULL, 10, 10},
		{SELECT_FIXED, "3", 3, 3},
		{SELECT_FIXED_PERCENT, "25", 3, 3}, /* of ten, rounded up */
		{SELECT_RANDOM_MAX_PERCENT, "40", 1, 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture fx;
		autoptr(plan) p = NULL;

		fixture_init(&fx);
		fx.params[0].selection.mode = rows[i].mode;
		fx.params[0].selection.value = (char *)rows[i].value;
		assert_int_equal(plan_build(&fx.x, &rooms, &fx.env, true, &p, NULL), 0);
		assert_in_range(p->faults[0]->fault.targets.n, rows[i].min, rows[i].max);
		assert_int_equal(p->faults[0]->n_matched, 10);
		assert_int_equal(p->faults[0]->ops.n, p->faults[0]->fault.targets.n);
	}
}

static void test_build_replays_a_choice_by_its_seed(void **state)
{
	bool differs = false;
	struct fixture fx;

	fixture_init(&fx);
	fx.params[0].selection.mode = SELECT_FIXED;
	fx.params[0].selection.value = (char *)"3";
	for (uint64_t seed = 1; seed <= 20; seed++) {
		autoptr(plan) a = NULL;
		autoptr(plan) b = NULL;
		autoptr(plan) other = NULL;
		autofree char *was = NULL, *is = NULL, *others = NULL;

		fx.env.seed = seed;
		a = build(&fx);
		b = build(&fx);
		fx.env.seed = seed + 100;
		other = build(&fx);
		was = chosen(a, 0);
		is = chosen(b, 0);
		others = chosen(other, 0);
		assert_string_equal(was, is);
		differs |= !streq(was, others);
	}
	assert_true(differs);
}

static void test_build_gives_faults_of_one_seed_different_luck(void **state)
{
	bool differs = false;
	struct fixture fx;

	fixture_init(&fx);
	fx.x.n_faults = 2;
	for (int i = 0; i < 2; i++)
		fx.params[i].selection.mode = SELECT_ONE;
	for (fx.env.seed = 1; fx.env.seed <= 20; fx.env.seed++) {
		autoptr(plan) p = build(&fx);
		autofree char *a = chosen(p, 0), *b = chosen(p, 1);

		differs |= !streq(a, b);
	}
	assert_true(differs);
}

static void test_build_refuses_an_empty_selection(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	kvs_set(&fx.params[0].selection.selector.label_selectors, "app", "rooms");
	expect_refusal(&fx, ENOENT,
		       "fault first: no target has label app=rooms (app is room or gateway)",
		       "correct the selector, or pass --allow-empty if that is no mistake");
	kvs_done(&fx.params[0].selection.selector.label_selectors);
}

static void test_build_allows_an_empty_selection_when_told_so(void **state)
{
	autoptr(plan) p = NULL;
	struct fixture fx;

	fixture_init(&fx);
	kvs_set(&fx.params[0].selection.selector.label_selectors, "app", "rooms");
	assert_int_equal(plan_build(&fx.x, &rooms, &fx.env, true, &p, NULL), 0);
	assert_int_equal(p->faults[0]->fault.targets.n, 0);
	assert_int_equal(p->faults[0]->ops.n, 0);
	kvs_done(&fx.params[0].selection.selector.label_selectors);
}

static void test_build_bounds_the_blast_radius_in_targets(void **state)
{
	autoptr(plan) p = NULL;
	struct fixture fx;

	fixture_init(&fx);
	fx.x.blast_radius.max_targets = 9;
	expect_refusal(&fx, EPERM, "10 targets, blastRadius.maxTargets allows 9",
		       "choose fewer targets (mode, value) or raise the bound");
	fx.x.blast_radius.max_targets = 10;
	/* The bound is on the whole experiment: two faults on the same ten are ten. */
	fx.x.n_faults = 2;
	p = build(&fx);
}

static void test_build_bounds_the_blast_radius_in_percent_of_the_matches(void **state)
{
	autoptr(plan) quarter = NULL;
	autoptr(plan) p = NULL;
	struct fixture fx;

	fixture_init(&fx);
	fx.params[0].selection.mode = SELECT_FIXED;
	fx.params[0].selection.value = (char *)"3";
	kvs_set(&fx.params[0].selection.selector.label_selectors, "app", "room");
	fx.x.blast_radius.max_percent = 37;
	expect_refusal(&fx, EPERM,
		       "fault first: 3 of 8 matching targets are 37 %, blastRadius.maxPercent allows 37",
		       "choose fewer targets (mode, value) or raise the bound");
	fx.x.blast_radius.max_percent = 38;
	p = build(&fx);
	fx.params[0].selection.value = (char *)"2";
	fx.x.blast_radius.max_percent = 25;
	quarter = build(&fx);
	kvs_done(&fx.params[0].selection.selector.label_selectors);
}

/* Each of the two stays within the bound alone. */
static void test_build_bounds_the_share_that_two_faults_have_together(void **state)
{
	autoptr(plan) p = NULL;
	struct fixture fx;

	fixture_init(&fx);
	fx.x.n_faults = 2;
	fx.x.blast_radius.max_percent = 20;
	for (int i = 0; i < 2; i++) {
		fx.params[i].selection.mode = SELECT_ONE;
		kvs_set(&fx.params[i].selection.selector.label_selectors, "app", "room");
	}
	expect_refusal(&fx, EPERM,
		       "fault first: 2 of 8 matching targets are 25 %, blastRadius.maxPercent allows 20",
		       "choose fewer targets (mode, value) or raise the bound");
	fx.x.blast_radius.max_percent = 25;
	p = build(&fx);
	for (int i = 0; i < 2; i++)
		kvs_done(&fx.params[i].selection.selector.label_selectors);
}

static void expect_held(struct fixture *fx, int room)
{
	autofree char *why = xasprintf("fault first and fault second cannot be on default/room-%d at one "
				       "time: a file has one text", room);

	expect_refusal(fx, EBUSY, why,
		       "merge them into one fault, or let one end before the other begins");
}

static void test_build_refuses_two_faults_on_one_target_at_one_time(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.x.n_faults = 2;
	file_driver_knobs.conflict = "a file has one text";
	expect_held(&fx, 0);
	file_driver_knobs.conflict = NULL;
}

static void test_build_accepts_two_faults_after_each_other(void **state)
{
	file_driver_knobs.conflict = "a file has one text";
	for (int later = 0; later < 2; later++) {
		autoptr(plan) p = NULL;
		struct fixture fx;

		fixture_init(&fx);
		fx.x.n_faults = 2;
		fx.specs[!later].duration_ns = 4 * NSEC_PER_SEC;
		fx.specs[later].at_ns = 4 * NSEC_PER_SEC;
		p = build(&fx);
		fx.specs[later].at_ns--;
		expect_held(&fx, 0);
	}
	file_driver_knobs.conflict = NULL;
}

/* Two sources may list one network namespace under two names. */
static void test_build_knows_a_namespace_under_two_names(void **state)
{
	autoptr(target) other = target_new("netns", "cni-7");
	struct fixture fx;

	target_set_phase(other, "Running");
	other->netns_id = rooms.items[7]->netns_id;
	target_list_add(&rooms, other);
	fixture_init(&fx);
	fx.x.n_faults = 2;
	strlist_add(&fx.params[0].selection.selector.pods, "default/room-7");
	strlist_add(&fx.params[1].selection.selector.pods, "netns/cni-7");
	file_driver_knobs.conflict = "a file has one text";
	expect_held(&fx, 7);
	file_driver_knobs.conflict = NULL;
	for (int i = 0; i < 2; i++)
		strlist_done(&fx.params[i].selection.selector.pods);
	target_unref(rooms.items[--rooms.n]);
}

static void test_choose_all_lists_each_target_once(void **state)
{
	autotargets all = {0};
	struct fixture fx;

	fixture_init(&fx);
	fx.x.n_faults = 2;
	fx.params[1].selection.mode = SELECT_ONE;
	assert_int_equal(plan_choose_all(&fx.x, &rooms, 42, &all, NULL), 0);
	assert_int_equal(all.n, 10);
}

static void test_end_of_a_fault_never_passes_the_end_of_the_window(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	assert_int_equal(plan_end_ns(&fx.x, &fx.specs[0]), fx.x.fault_ns);
	fx.specs[0].at_ns = 7 * NSEC_PER_SEC;
	fx.specs[0].duration_ns = 2 * NSEC_PER_SEC;
	assert_int_equal(plan_start_ns(&fx.specs[0]), 7 * NSEC_PER_SEC);
	assert_int_equal(plan_end_ns(&fx.x, &fx.specs[0]), 9 * NSEC_PER_SEC);
	fx.specs[0].duration_ns = 20 * NSEC_PER_SEC;
	assert_int_equal(plan_end_ns(&fx.x, &fx.specs[0]), fx.x.fault_ns);
}

static void test_target_name_is_its_namespace_unless_it_is_the_hosts(void **state)
{
	struct target *t = rooms.items[3];
	bool machine_wide;
	autofree char *own = plan_target_name(t, &machine_wide);
	autofree char *hosts = NULL;

	assert_string_equal(own, "target/netns/4:103:1");
	assert_true(machine_wide);
	t->host_network = true;
	hosts = plan_target_name(t, &machine_wide);
	t->host_network = false;
	assert_string_equal(hosts, "target/default/room-3");
	assert_false(machine_wide);
}

static void test_json_says_who_when_and_how(void **state)
{
	autofree char *text = NULL;
	autoptr(plan) p = NULL;
	struct fixture fx;
	json_t *o;

	fixture_init(&fx);
	fx.x.hypothesis = (char *)"It holds.";
	fx.specs[0].at_ns = 2 * NSEC_PER_SEC;
	strlist_add(&fx.params[0].selection.selector.pods, "default/room-1");
	p = build(&fx);
	o = plan_json(p);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	strlist_done(&fx.params[0].selection.selector.pods);
	assert_string_equal(text,
			    "{\"experiment\":\"x\",\"hypothesis\":\"It holds.\",\"targets\":1,\"faults\":[{"
			    "\"name\":\"first\",\"kind\":\"FileChaos\",\"backend\":\"file\","
			    "\"start_ms\":2000,\"end_ms\":10000,\"matched\":1,"
			    "\"targets\":[\"default/room-1\"],\"peers\":[],"
			    "\"ops\":[\"room-1: write \\\"broken\\\"\"]}]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build_chooses_by_mode_and_keeps_the_number_of_matches),
		cmocka_unit_test(test_build_replays_a_choice_by_its_seed),
		cmocka_unit_test(test_build_gives_faults_of_one_seed_different_luck),
		cmocka_unit_test(test_build_refuses_an_empty_selection),
		cmocka_unit_test(test_build_allows_an_empty_selection_when_told_so),
		cmocka_unit_test(test_build_bounds_the_blast_radius_in_targets),
		cmocka_unit_test(test_build_bounds_the_blast_radius_in_percent_of_the_matches),
		cmocka_unit_test(test_build_bounds_the_share_that_two_faults_have_together),
		cmocka_unit_test(test_build_refuses_two_faults_on_one_target_at_one_time),
		cmocka_unit_test(test_build_accepts_two_faults_after_each_other),
		cmocka_unit_test(test_build_knows_a_namespace_under_two_names),
		cmocka_unit_test(test_choose_all_lists_each_target_once),
		cmocka_unit_test(test_end_of_a_fault_never_passes_the_end_of_the_window),
		cmocka_unit_test(test_target_name_is_its_namespace_unless_it_is_the_hosts),
		cmocka_unit_test(test_json_says_who_when_and_how),
	};

	return cmocka_run_group_tests(tests, make_rooms, free_rooms);
}
