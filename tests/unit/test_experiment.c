#include "experiment.h"
#include "fixture_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct experiment_set *load(const char *file, const char *text)
{
	autodiags d = {0};
	struct experiment_set *set;
	int r = experiment_load_text(file, text, strlen(text), &d, &set);
	autofree char *all = diags_text(&d);

	if (r < 0)
		fail_msg("%s", all);
	return set;
}

static char *said(const char *text)
{
	autodiags d = {0};
	struct experiment_set *set;

	assert_true(experiment_load_text("f", text, strlen(text), &d, &set) < 0);
	assert_null(set);
	return diags_text(&d);
}

#define HEAD "apiVersion: brunt.dev/v1alpha1\nkind: Experiment\nmetadata: {name: x}\n"
#define LONE "apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\nmetadata: {name: y}\n"
#define WAIT "{selector: {}, mode: all, action: wait, wait: 1s}"

static void test_every_field_of_an_experiment(void **state)
{
	autoptr(experiment_set) set = load(
		TESTS_DIR "/x.yaml",
		"apiVersion: brunt.dev/v1alpha1\n"
		"kind: Experiment\n"
		"metadata:\n"
		"  name: slow.uplink-1\n"
		"  labels: {suite: gameday}\n"
		"  annotations: {experiment.chaos-mesh.org/pause: \"true\"}\n"
		"  uid: 7\n"
		"spec:\n"
		"  hypothesis: It holds.\n"
		"  seed: 42\n"
		"  source: netns\n"
		"  lab: {manifests: [../experiments/lab/liveroom.yaml, /dev/null]}\n"
		"  load: {command: [liveroom, load, --viewers, 200]}\n"
		"  timeline: {baseline: 1s, fault: 20s, recovery: 2s}\n"
		"  slos:\n"
		"    - name: join\n"
		"      indicator: {http: {url: \"http://gateway:8080/join\", rate: 50/s}}\n"
		"      objectives: [p99 <= 1.2s]\n"
		"  abort: [{slo: join, when: p99 > 5s, for: 3s}]\n"
		"  blastRadius: {maxTargets: 1, maxPercent: 34}\n"
		"  faults:\n"
		"    - {name: one, fixtureChaos: " WAIT "}\n"
		"    - {at: 10s, duration: 5s, fixtureChaos: " WAIT "}\n");
	const struct experiment *x = set->items[0];
	const struct fixture_params *p = x->faults[0].params;

	(void)state;
	assert_int_equal(set->n, 1);
	assert_string_equal(x->name, "slow.uplink-1");
	assert_string_equal(kvs_get(&x->annotations, "experiment.chaos-mesh.org/pause"), "true");
	assert_string_equal(x->hypothesis, "It holds.");
	assert_true(x->seed_given);
	assert_int_equal(x->seed, 42);
	assert_string_equal(x->source, "netns");
	assert_true(x->has_lab);
	assert_string_equal(x->lab_manifests.items[0], TESTS_DIR "/../experiments/lab/liveroom.yaml");
	assert_string_equal(x->lab_manifests.items[1], "/dev/null");
	assert_string_equal(x->load_command.items[3], "200");
	assert_int_equal(x->baseline_ns, NSEC_PER_SEC);
	assert_int_equal(x->fault_ns, 20 * NSEC_PER_SEC);
	assert_int_equal(x->recovery_ns, 2 * NSEC_PER_SEC);
	assert_int_equal(x->n_slos, 1);
	assert_string_equal(x->slos[0].type->name, "http");
	assert_string_equal(x->slos[0].file, TESTS_DIR "/x.yaml");
	assert_string_equal(x->aborts[0].when, "p99 > 5s");
	assert_int_equal(x->aborts[0].condition.op, OP_GT);
	assert_int_equal(x->aborts[0].for_ns, 3 * NSEC_PER_SEC);
	assert_int_equal(x->aborts[0].window_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(x->blast_radius.max_percent, 34);
	assert_int_equal(x->n_faults, 2);
	assert_ptr_equal(x->faults[0].driver, &fixture_driver);
	assert_int_equal(p->wait_ns, NSEC_PER_SEC);
	assert_int_equal(x->faults[0].line, 22);
	assert_string_equal(x->faults[1].name, "fault-2");
	assert_int_equal(x->faults[1].duration_ns, 5 * NSEC_PER_SEC);
}

/* In the entry or in the kind's own spec; one of them only, unless they agree. */
static void test_tolerance_of_a_fault_from_either_place(void **state)
{
	autoptr(experiment_set) set = load("x",
		HEAD "spec:\n  faults:\n"
		     "    - {tolerance: 0.5..2, fixtureChaos: " WAIT "}\n"
		     "    - {fixtureChaos: {selector: {}, mode: one, action: wait, wait: 1s, "
		     "tolerance: {min: 0.9, max: 1.1}}}\n"
		     "    - {fixtureChaos: " WAIT "}\n");
	const struct fault_common *entry = set->items[0]->faults[0].params,
				  *own = set->items[0]->faults[1].params,
				  *none = set->items[0]->faults[2].params;

	assert_true(entry->tolerance.min == 0.5 && entry->tolerance.max == 2);
	assert_true(own->tolerance.min == 0.9 && own->tolerance.max == 1.1);
	assert_false(tolerance_given(&none->tolerance));
}

static void test_defaults_of_an_experiment(void **state)
{
	autoptr(experiment_set) set =
		load("f", HEAD "spec: {faults: [{fixtureChaos: " WAIT "}]}\n");
	const struct experiment *x = set->items[0];

	(void)state;
	assert_int_equal(x->baseline_ns, 10 * NSEC_PER_SEC);
	assert_int_equal(x->fault_ns, 30 * NSEC_PER_SEC);
	assert_int_equal(x->recovery_ns, 15 * NSEC_PER_SEC);
	assert_false(x->seed_given);
	assert_false(x->has_lab);
	assert_null(x->source);
	assert_int_equal(x->blast_radius.max_targets, 0);
}

static void test_fault_standing_alone(void **state)
{
	autoptr(experiment_set) set =
		load("f", LONE "spec: {selector: {}, mode: one, action: fail, duration: 5m}\n---\n"
			       "apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\n"
			       "metadata: {name: z}\nspec: {selector: {}, mode: one, action: fail}\n"
			       "status: {experiment: {desiredPhase: Run}}\n");
	const struct experiment *x = set->items[0];

	(void)state;
	assert_int_equal(set->n, 2);
	assert_string_equal(x->kind, "FixtureChaos");
	assert_string_equal(x->faults[0].name, "y");
	assert_int_equal(x->fault_ns, 300 * NSEC_PER_SEC);
	assert_int_equal(x->baseline_ns, 0);
	assert_int_equal(x->n_slos, 0);
	assert_int_equal(set->items[1]->fault_ns, EXPERIMENT_FAULT_NS);
}

#define EVERY "mode: all, selector: {}"

/* Whichever of the two places says it, and for every kind that there is. */
static void test_fault_has_one_duration_wherever_it_is_given(void **state)
{
	static const char *const kinds[] = {
		"cpuChaos: {" EVERY ", action: quota, cpu: 250m",
		"memoryChaos: {" EVERY ", action: limit, size: 70%",
		"networkChaos: {" EVERY ", action: delay, delay: {latency: 1ms}",
		"podChaos: {" EVERY ", action: pod-kill",
		"runtimeChaos: {" EVERY ", action: gc-pause, control: /dev/shm/x",
	};
	static const struct {
		const char *entry, *inner;
		int64_t seconds;
	} rows[] = {
		{"", ", duration: 2s", 2},
		{", duration: 2s", "", 2},
		{", duration: 2s", ", duration: 2000ms", 2},
		{"", "", 7}, /* what is left of the window */
	};
	size_t n;

	(void)state;
	fault_drivers(&n);
	assert_int_equal(n, ARRAY_SIZE(kinds));
	for (size_t i = 0; i < ARRAY_SIZE(kinds) * ARRAY_SIZE(rows); i++) {
		size_t row = i % ARRAY_SIZE(rows);
		autofree char *text = xasprintf(
			HEAD "spec: {timeline: {fault: 12s}, faults: [{at: 5s%s, %s%s}}]}\n",
			rows[row].entry, kinds[i / ARRAY_SIZE(rows)], rows[row].inner);
		autoptr(experiment_set) set = load("f", text);

		assert_int_equal(set->items[0]->faults[0].duration_ns,
				 rows[row].seconds * NSEC_PER_SEC);
	}
}

static void test_two_durations_of_one_fault_are_an_error(void **state)
{
	autofree char *got = said(HEAD "spec:\n  faults:\n    - duration: 3s\n      networkChaos: {"
				       EVERY ", action: loss, loss: {loss: 5}, duration: 2s}\n");

	(void)state;
	assert_non_null(strstr(got, "spec.faults[0].networkChaos.duration: differs from the fault's own "
				    "duration: give one of them"));
}

static void test_namespace_is_the_selectors_default(void **state)
{
	autoptr(experiment_set) set =
		load("f", "apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\n"
			  "metadata: {name: y, namespace: live}\n"
			  "spec:\n  selector: {labelSelectors: {app: room}}\n  mode: all\n"
			  "  action: fail\n  target: {selector: {namespaces: [other]}, mode: all}\n");
	const struct fixture_params *p = set->items[0]->faults[0].params;

	(void)state;
	assert_string_equal(p->common.selection.selector.default_namespace, "live");
	assert_string_equal(p->target.selector.namespaces.items[0], "other");
	assert_int_equal(p->target.selector.namespaces.n, 1);
}

static void test_namespace_is_the_default_of_an_slo_too(void **state)
{
	autoptr(experiment_set) set =
		load("f", "apiVersion: brunt.dev/v1alpha1\nkind: Experiment\n"
			  "metadata: {name: y, namespace: live}\n"
			  "spec:\n  slos: [{name: s, objectives: [count == 0],\n"
			  "    indicator: {target: {metric: oomKills, selector: {}}}}]\n");
	const struct slo_spec *spec = &set->items[0]->slos[0];
	const struct field *f = spec->type->schema->fields;

	(void)state;
	while (!streq(f->name, "selector"))
		f++;
	assert_string_equal(((const struct selector *)((char *)spec->params + f->offset))->default_namespace,
			    "live");
}

static size_t notes;

static void count_note(void *data, const char *text)
{
	(void)data;
	(void)text;
	notes++;
}

static void test_objects_of_one_file_are_joined(void **state)
{
	static const char text[] =
		"apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\n"
		"metadata: {name: a, namespace: live}\n"
		"spec: {selector: {}, mode: all, action: fail, duration: 1s}\n---\n"
		"apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\n"
		"metadata: {name: p, annotations: {experiment.chaos-mesh.org/pause: 'true'}}\n"
		"spec: {selector: {}, mode: all, action: fail}\n---\n"
		"apiVersion: chaos-mesh.org/v1alpha1\nkind: FixtureChaos\n"
		"metadata: {name: a}\n"
		"spec: {selector: {}, mode: all, action: fail, duration: 3s}\n";
	autoptr(experiment_set) set = load("f", text);
	const struct experiment *x;
	const struct fixture_params *p;

	(void)state;
	experiment_set_join(set, count_note, NULL);
	assert_int_equal(notes, 1);
	assert_int_equal(set->n, 2); /* and the one that is paused */
	x = set->items[0];
	assert_string_equal(x->name, "a-and-1-more");
	assert_int_equal(x->fault_ns, 3 * NSEC_PER_SEC);
	assert_int_equal(x->n_faults, 2);
	assert_string_equal(x->faults[1].name, "a-2");
	assert_int_equal(x->faults[0].duration_ns, NSEC_PER_SEC);
	p = x->faults[0].params;
	assert_string_equal(p->common.selection.selector.default_namespace, "live");
	p = x->faults[1].params;
	assert_string_equal(p->common.selection.selector.default_namespace, "default");
	assert_string_equal(set->items[1]->name, "p");
}

static void test_one_document_through_anchors_and_merge_keys(void **state)
{
	autoptr(experiment_set) set =
		load("f", HEAD "spec:\n  faults:\n    - name: a\n      fixtureChaos: &base " WAIT "\n"
			       "    - name: b\n      fixtureChaos: {<<: *base, wait: 2s}\n");
	const struct fixture_params *p = set->items[0]->faults[1].params;

	(void)state;
	assert_int_equal(p->wait_ns, 2 * NSEC_PER_SEC);
	assert_int_equal(p->common.selection.mode, SELECT_ALL);
}

static void test_all_errors_of_all_documents(void **state)
{
	autofree char *got = said(LONE "spec: {mode: on, action: fial}\n---\nkind: Pod\n---\n5\n");

	(void)state;
	assert_string_equal(
		got, "f:4:14: spec.mode: \"on\" is not one of one, all, fixed, fixed-percent, "
		     "random-max-percent (did you mean \"one\"?)\n"
		     "f:4:26: spec.action: \"fial\" is not one of wait, fail (did you mean \"fail\"?)\n"
		     "f:6:1: apiVersion: is required\n"
		     "f:6:1: metadata: is required\n"
		     "f:6:1: spec: is required\n"
		     "f:6:7: kind: Pod is a lab's manifest: start it with `brunt lab up`, or name its "
		     "file under spec.lab.manifests of an Experiment\n"
		     "f:8:1: want a map, not \"5\"\n");
}

/* One of everything that the reference shows, with the drivers and indicators that there are. */
static void test_the_reference_example(void **state)
{
	const char *path = TESTS_DIR "/unit/data/design_example.yaml";
	autodiags d = {0};
	autoptr(experiment_set) set = NULL;
	const struct experiment *x;

	(void)state;
	experiment_load(&path, 1, &d, &set);
	assert_int_equal(d.n, 0);
	x = set->items[0];
	assert_string_equal(x->faults[0].driver->kind, "NetworkChaos");
	assert_string_equal(x->faults[1].driver->kind, "MemoryChaos");
	assert_int_equal(x->faults[1].at_ns, 10 * NSEC_PER_SEC);
	assert_string_equal(x->slos[1].type->name, "metrics");
	assert_int_equal(x->slos[0].n_objectives, 2);
}

static void test_chaos_mesh_manifests_run_unchanged(void **state)
{
	const char *path = TESTS_DIR "/unit/data/chaos_mesh.yaml";
	autodiags d = {0};
	autoptr(experiment_set) set = NULL;
	autofree char *said = NULL;

	(void)state;
	experiment_load(&path, 1, &d, &set);
	said = diags_text(&d);
	assert_string_equal(said, "");
	assert_int_equal(set->n, 5);
	assert_string_equal(kvs_get(&set->items[0]->annotations, "experiment.chaos-mesh.org/pause"),
			    "true");
	assert_int_equal(set->items[3]->fault_ns, 30 * NSEC_PER_SEC);
}

static char *path_of(const char *dir, const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void write_file(const char *dir, const char *name, const char *text)
{
	autofree char *path = path_of(dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void remove_file(const char *dir, const char *name)
{
	autofree char *path = path_of(dir, name);

	assert_int_equal(unlink(path), 0);
}

static void test_directory_sorted_and_only_manifests(void **state)
{
	char dir[] = "/tmp/brunt-manifest-XXXXXX";
	const char *paths[] = {mkdtemp(dir)};
	autodiags d = {0};
	autoptr(experiment_set) set = NULL;

	(void)state;
	write_file(dir, "b.yml", HEAD "spec: {faults: [{fixtureChaos: " WAIT "}]}\n");
	write_file(dir, "a.yaml", LONE "spec: " WAIT "\n");
	write_file(dir, ".hidden.yaml", "nonsense");
	write_file(dir, "notes.txt", "nonsense");
	assert_int_equal(experiment_load(paths, 1, &d, &set), 0);
	assert_int_equal(set->n, 2);
	assert_string_equal(set->items[0]->name, "y");
	assert_string_equal(set->items[1]->name, "x");
	remove_file(dir, "b.yml");
	remove_file(dir, "a.yaml");
	remove_file(dir, ".hidden.yaml");
	remove_file(dir, "notes.txt");
	assert_int_equal(rmdir(dir), 0);
}

static void test_files_that_hold_nothing(void **state)
{
	char dir[] = "/tmp/brunt-manifest-XXXXXX";
	const char *paths[] = {mkdtemp(dir), "/nonexistent.yaml", "/dev/null"};
	autodiags d = {0};
	struct experiment_set *set;
	autofree char *all = NULL, *want = NULL;

	(void)state;
	assert_true(experiment_load(paths, 3, &d, &set) < 0);
	all = diags_text(&d);
	want = xasprintf("/dev/null: holds no document\n"
			 "/nonexistent.yaml: cannot be read: No such file or directory\n"
			 "%s: holds no *.yaml or *.yml file\n",
			 dir);
	assert_string_equal(all, want);
	assert_int_equal(rmdir(dir), 0);
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
		cmocka_unit_test(test_every_field_of_an_experiment),
		cmocka_unit_test(test_tolerance_of_a_fault_from_either_place),
		cmocka_unit_test(test_defaults_of_an_experiment),
		cmocka_unit_test(test_fault_standing_alone),
		cmocka_unit_test(test_fault_has_one_duration_wherever_it_is_given),
		cmocka_unit_test(test_two_durations_of_one_fault_are_an_error),
		cmocka_unit_test(test_namespace_is_the_selectors_default),
		cmocka_unit_test(test_namespace_is_the_default_of_an_slo_too),
		cmocka_unit_test(test_objects_of_one_file_are_joined),
		cmocka_unit_test(test_one_document_through_anchors_and_merge_keys),
		cmocka_unit_test(test_all_errors_of_all_documents),
		cmocka_unit_test(test_the_reference_example),
		cmocka_unit_test(test_chaos_mesh_manifests_run_unchanged),
		cmocka_unit_test(test_directory_sorted_and_only_manifests),
		cmocka_unit_test(test_files_that_hold_nothing),
	};

	return cmocka_run_group_tests(tests, use_fixture, NULL);
}
