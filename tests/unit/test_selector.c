#include "target/selector.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Ten rooms in namespace live, room-0 to room-9; two gateways in namespace edge. */
static struct target_list pods;

static struct target *add_pod(const char *ns, const char *name, const char *app)
{
	struct target *t = target_new(ns, name);

	kvs_set(&t->labels, "app", app);
	kvs_set(&t->labels, "pod", name);
	kvs_set(&t->annotations, "owner", ns);
	strlist_add(&t->addresses, "10.0.0.1");
	t->node = xstrdup("node-1");
	target_set_phase(t, "Running");
	target_list_add(&pods, t);
	target_unref(t);
	return t;
}

static int make_pods(void **state)
{
	char name[16];

	(void)state;
	for (int i = 9; i >= 0; i--) { /* not in order, on purpose */
		snprintf(name, sizeof name, "room-%d", i);
		add_pod("live", name, "room");
	}
	add_pod("edge", "gateway-0", "gateway");
	add_pod("edge", "gateway-1", "gateway");
	return 0;
}

static int free_pods(void **state)
{
	(void)state;
	target_list_done(&pods);
	return 0;
}

/* Binds a selection from the text of its object. */
static void bind(const char *text, struct selection *s)
{
	autodiags d = {0};
	autoptr(yaml) y = NULL;
	struct field_ctx ctx = {.file = "f", .diags = &d};
	autofree char *all = NULL;

	*s = (struct selection){0};
	assert_int_equal(yaml_load_text("f", text, strlen(text), &d, &y), 0);
	field_bind(&selection_schema, y->docs[0], s, &ctx);
	all = diags_text(&d);
	assert_string_equal(all, "");
}

/* The names chosen, joined: "room-1 room-2". */
static char *choose_with(const char *text, uint64_t seed, const struct target_list *from,
			 const struct target_list *keep, size_t *ret_matched)
{
	struct selection s;
	autotargets chosen = {0};
	struct str names = {0};

	bind(text, &s);
	assert_int_equal(selection_choose(&s, from, seed, "t", keep, &chosen, ret_matched, NULL), 0);
	for (size_t i = 0; i < chosen.n; i++)
		str_addf(&names, "%s%s", i ? " " : "", chosen.items[i]->name);
	field_free(&selection_schema, &s);
	return str_take(&names);
}

static size_t count(const char *text, uint64_t seed)
{
	autofree char *names = choose_with(text, seed, &pods, NULL, NULL);
	size_t n = names[0] != '\0';

	for (const char *p = names; *p; p++)
		n += *p == ' ';
	return n;
}

static void assert_all_of(const char *selector, const char *want)
{
	autofree char *text = xasprintf("{mode: all, selector: %s}", selector);
	autofree char *names = choose_with(text, 1, &pods, NULL, NULL);

	assert_string_equal(names, want);
}

static void test_selector_by_each_part(void **state)
{
	(void)state;
	assert_all_of("{namespaces: [edge]}", "gateway-0 gateway-1");
	assert_all_of("{labelSelectors: {app: gateway, pod: gateway-1}}", "gateway-1");
	assert_all_of("{labelSelectors: {app: gateway, pod: room-1}}", "");
	assert_all_of("{annotationSelectors: {owner: edge}}", "gateway-0 gateway-1");
	assert_all_of("{pods: {live: [room-3, gateway-0], edge: [gateway-0]}}", "gateway-0 room-3");
	assert_all_of("{nodes: [node-2]}", "");
	assert_all_of("{nodes: [node-1], namespaces: [edge]}", "gateway-0 gateway-1");
	assert_all_of("{fieldSelectors: {metadata.name: room-7}}", "room-7");
	assert_all_of("{fieldSelectors: {metadata.namespace: edge, status.podIP: 10.0.0.1}}",
		      "gateway-0 gateway-1");
	assert_all_of("{fieldSelectors: {spec.nodeName: node-9}}", "");
}

static void test_selector_by_expressions(void **state)
{
	(void)state;
	assert_all_of("{expressionSelectors: [{key: pod, operator: In, values: [room-1, room-2]}]}",
		      "room-1 room-2");
	assert_all_of("{expressionSelectors: [{key: app, operator: NotIn, values: [room]}]}",
		      "gateway-0 gateway-1");
	assert_all_of("{expressionSelectors: [{key: none, operator: Exists}]}", "");
	assert_all_of("{namespaces: [edge], expressionSelectors: [{key: none, operator: "
		      "DoesNotExist}, {key: none, operator: NotIn, values: [a]}]}",
		      "gateway-0 gateway-1");
}

static void test_selector_takes_running_ones_unless_told(void **state)
{
	struct target *t = target_list_find(&pods, "edge", "gateway-0");

	(void)state;
	target_set_phase(t, "Failed");
	assert_all_of("{namespaces: [edge]}", "gateway-1");
	assert_all_of("{podPhaseSelectors: [Failed]}", "gateway-0");
	assert_all_of("{namespaces: [edge], podPhaseSelectors: [Failed, Running]}",
		      "gateway-0 gateway-1");
	target_set_phase(t, "Running");
}

static void test_choice_is_in_order_of_names(void **state)
{
	(void)state;
	assert_all_of("{}", "gateway-0 gateway-1 room-0 room-1 room-2 room-3 room-4 room-5 room-6 "
			    "room-7 room-8 room-9");
}

static void test_modes_one_all_fixed(void **state)
{
	(void)state;
	assert_int_equal(count("{mode: one, selector: {}}", 1), 1);
	assert_int_equal(count("{mode: all, selector: {}}", 1), 12);
	assert_int_equal(count("{mode: fixed, value: 5, selector: {}}", 1), 5);
	assert_int_equal(count("{mode: fixed, value: 500, selector: {}}", 1), 12);
}

static void test_fixed_percent_is_rounded_up(void **state)
{
	(void)state;
	/* of 12: 8 % is 0.96, 9 % is 1.08, 50 % is 6, 99 % is 11.88 */
	assert_int_equal(count("{mode: fixed-percent, value: '8', selector: {}}", 1), 1);
	assert_int_equal(count("{mode: fixed-percent, value: '9', selector: {}}", 1), 2);
	assert_int_equal(count("{mode: fixed-percent, value: '50', selector: {}}", 1), 6);
	assert_int_equal(count("{mode: fixed-percent, value: '99', selector: {}}", 1), 12);
	assert_int_equal(count("{mode: fixed-percent, value: '100', selector: {}}", 1), 12);
}

static size_t matches(const char *text, const char *default_namespace, bool no_namespace)
{
	struct selection s;
	size_t n = 0;

	bind(text, &s);
	selector_set_default(&s.selector, default_namespace);
	for (size_t i = 0; i < pods.n; i++) {
		pods.items[i]->no_namespace = no_namespace;
		n += selector_matches(&s.selector, pods.items[i]);
		pods.items[i]->no_namespace = false;
	}
	selector_set_default(&s.selector, NULL);
	field_free(&selection_schema, &s);
	return n;
}

static void test_selector_without_namespaces_looks_in_the_default_one(void **state)
{
	(void)state;
	assert_int_equal(matches("{mode: all, selector: {}}", "nowhere", false), 0);
	assert_int_equal(matches("{mode: all, selector: {}}", NULL, false), 12);
	assert_int_equal(matches("{mode: all, selector: {}}", "nowhere", true), 12);
	assert_true(matches("{mode: all, selector: {namespaces: [live]}}", "nowhere", false) > 0);
}

static void test_named_pods_override_all_else(void **state)
{
	autofree char *text = xasprintf("{mode: all, selector: {namespaces: [nowhere], labelSelectors: {no: "
					"such}, pods: {%s: [%s]}}}", pods.items[0]->ns, pods.items[0]->name);

	(void)state;
	assert_int_equal(matches(text, "nowhere", false), 1);
}

static void test_container_that_no_target_has_is_an_error(void **state)
{
	char *names[] = {"app", "sidecat"};
	const struct selection s = {.container_names = {names, 2}};
	autoptr(target) t = target_new("default", "a");
	autotargets l = {0};
	struct err e = {0};

	(void)state;
	target_add_container(t, "app");
	target_list_add(&l, t);
	assert_int_equal(selection_check_containers(&s, &l, &e), -ENOENT);
	assert_string_equal(e.text, "containerNames: no chosen target has a container \"sidecat\" (there is "
				    "app)");
	target_add_container(t, "sidecat");
	assert_int_equal(selection_check_containers(&s, &l, &e), 0);
}

static void test_random_max_percent_reaches_all_sizes_up_to_its_value(void **state)
{
	bool seen[13] = {false};

	(void)state;
	for (uint64_t seed = 0; seed < 500; seed++)
		seen[count("{mode: random-max-percent, value: '50', selector: {}}", seed)] = true;
	for (size_t n = 0; n <= 12; n++)
		assert_int_equal(seen[n], n >= 1 && n <= 6);
}

static void test_seed_replays_and_another_chooses_otherwise(void **state)
{
	static const char text[] = "{mode: fixed, value: 3, selector: {}}";
	autofree char *first = choose_with(text, 42, &pods, NULL, NULL);
	autofree char *again = choose_with(text, 42, &pods, NULL, NULL);
	bool differs = false;

	(void)state;
	assert_string_equal(first, again);
	for (uint64_t seed = 0; seed < 10; seed++) {
		autofree char *other = choose_with(text, seed, &pods, NULL, NULL);

		differs |= !streq(first, other);
	}
	assert_true(differs);
}

/* Every pod is somebody's first choice: none is favoured by its name or place. */
static void test_mode_one_reaches_every_target(void **state)
{
	struct strlist seen = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 300; seed++) {
		autofree char *name = choose_with("{mode: one, selector: {}}", seed, &pods, NULL, NULL);

		if (!strlist_has(&seen, name))
			strlist_add(&seen, name);
	}
	assert_int_equal(seen.n, 12);
	strlist_done(&seen);
}

static void test_keep_stays_and_is_filled_up_when_one_is_gone(void **state)
{
	static const char text[] = "{mode: fixed, value: 2, selector: {namespaces: [live]}}";
	struct target *gone = target_list_find(&pods, "live", "room-8");
	autotargets keep = {0};
	autofree char *kept = NULL, *filled = NULL;

	(void)state;
	target_list_add(&keep, target_list_find(&pods, "live", "room-3"));
	target_list_add(&keep, gone);
	for (uint64_t seed = 0; seed < 20; seed++) {
		autofree char *names = choose_with(text, seed, &pods, &keep, NULL);

		assert_string_equal(names, "room-3 room-8");
	}
	target_set_phase(gone, "Failed");
	filled = choose_with(text, 7, &pods, &keep, NULL);
	target_set_phase(gone, "Running");
	assert_non_null(strstr(filled, "room-3"));
	assert_null(strstr(filled, "room-8"));
	assert_non_null(strchr(filled, ' '));
}

static void test_matches_are_counted_before_thinning(void **state)
{
	size_t matched = 0;
	autofree char *names =
		choose_with("{mode: one, selector: {namespaces: [live]}}", 1, &pods, NULL, &matched);

	(void)state;
	assert_int_equal(matched, 10);
	assert_null(strchr(names, ' '));
}

static void assert_empty_because(const char *text, const struct target_list *all, const char *want)
{
	struct selection s;
	struct err e = {0};

	bind(text, &s);
	assert_int_equal(selection_explain_empty(&s, all, &e), -ENOENT);
	assert_string_equal(e.text, want);
	field_free(&selection_schema, &s);
}

static void assert_empty_because_it_is_idle(void)
{
	const struct target *t = pods.items[0];
	autofree char *text = xasprintf("{mode: all, selector: {pods: {%s: [%s]}}}", t->ns, t->name);
	autofree char *want = xasprintf("none of 12 targets matches the selector: %s/%s would, and is Failed",
					t->ns, t->name);

	assert_empty_because(text, &pods, want);
}

static void test_empty_choice_says_why(void **state)
{
	struct target_list none = {0};

	(void)state;
	assert_empty_because("{mode: all, selector: {}}", &none, "there are no targets at all");
	assert_empty_because("{mode: all, selector: {labelSelectors: {app: rooms}}}", &pods,
			     "no target has label app=rooms (app is room or gateway)");
	assert_empty_because("{mode: all, selector: {labelSelectors: {tier: web}}}", &pods,
			     "no target has label tier=web (none has a label tier)");
	assert_empty_because("{mode: all, selector: {namespaces: [prod]}}", &pods,
			     "none of 12 targets matches the selector");
	target_set_phase(pods.items[0], "Failed");
	assert_empty_because_it_is_idle();
	target_set_phase(pods.items[0], "Running");
	assert_empty_because("{mode: fixed-percent, value: 5, selector: {}}", &pods,
			     "mode fixed-percent of 12 matching targets, value 5, is none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_selector_by_each_part),
		cmocka_unit_test(test_selector_by_expressions),
		cmocka_unit_test(test_selector_takes_running_ones_unless_told),
		cmocka_unit_test(test_choice_is_in_order_of_names),
		cmocka_unit_test(test_modes_one_all_fixed),
		cmocka_unit_test(test_fixed_percent_is_rounded_up),
		cmocka_unit_test(test_selector_without_namespaces_looks_in_the_default_one),
		cmocka_unit_test(test_named_pods_override_all_else),
		cmocka_unit_test(test_container_that_no_target_has_is_an_error),
		cmocka_unit_test(test_random_max_percent_reaches_all_sizes_up_to_its_value),
		cmocka_unit_test(test_seed_replays_and_another_chooses_otherwise),
		cmocka_unit_test(test_mode_one_reaches_every_target),
		cmocka_unit_test(test_keep_stays_and_is_filled_up_when_one_is_gone),
		cmocka_unit_test(test_matches_are_counted_before_thinning),
		cmocka_unit_test(test_empty_choice_says_why),
	};

	return cmocka_run_group_tests(tests, make_pods, free_pods);
}
