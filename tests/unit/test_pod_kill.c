#include "experiment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* A pod with one container whose process is a child of the test. */
struct pod {
	struct target *target;
	pid_t pid;
};

static pid_t child(bool ignores_term)
{
	int ready[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ignores_term)
			signal(SIGTERM, SIG_IGN);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void run_in(struct pod *p, bool ignores_term)
{
	struct container *c = &p->target->containers[0];

	p->pid = child(ignores_term);
	c->pid = p->pid;
	c->pidfd = pidfd_open_pid(p->pid, NULL);
	c->started_ns = clock_now_ns();
}

static struct pod pod_new(const char *name, bool ignores_term)
{
	struct pod p = {.target = target_new("default", name)};

	target_add_container(p.target, "app");
	target_set_phase(p.target, "Running");
	run_in(&p, ignores_term);
	return p;
}

static void pod_end(struct pod *p)
{
	if (p->pid) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	target_unref(p->target);
}

/* Waits for the signal that ended the process. */
static int ended_by(struct pod *p)
{
	int status;

	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	p->pid = 0;
	return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

static struct experiment_set *load(const char *spec)
{
	autofree char *text = xasprintf("apiVersion: chaos-mesh.org/v1alpha1\nkind: PodChaos\n"
					"metadata: {name: kill}\nspec: {mode: one, selector: {}, %s}\n",
					spec);
	struct experiment_set *set = NULL;
	autodiags d = {0};

	if (experiment_load_text("t.yaml", text, strlen(text), &d, &set) < 0)
		fail_msg("%s", d.items[0].text);
	return set;
}

static struct fault fault_of(const struct experiment_set *set)
{
	static const struct fault_env env = {.run_id = "t"};
	const struct fault_spec *s = &set->items[0]->faults[0];

	return (struct fault){.driver = s->driver, .params = s->params, .name = s->name,
			      .env = &env};
}

static void fault_end(struct fault *f)
{
	f->driver->release(f);
	target_list_done(&f->targets);
}

static void inject(struct fault *f)
{
	struct err e = {0};

	if (f->driver->inject(f, &e) < 0)
		fail_msg("%s", e.text);
}

static void expect_effect(struct fault *f, enum effect_state state, const char *measured)
{
	struct effect effect;

	assert_int_equal(f->driver->tick(f, NULL), 0);
	assert_int_equal(f->driver->effect(f, &effect, NULL), 0);
	assert_string_equal(effect.measured, measured);
	assert_int_equal(effect.state, state);
}

static void test_kill_reports_restart_and_ready(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill");
	struct pod p = pod_new("room-0", true);
	struct container *c = &p.target->containers[0];
	struct fault f = fault_of(set);
	json_t *report, *row;

	target_list_add(&f.targets, p.target);
	inject(&f);
	assert_int_equal(ended_by(&p), SIGKILL);
	container_stopped(c);
	expect_effect(&f, EFFECT_MEASURED, "killed 1 of 1, restarted 0 of 1, ready 0 of 1");

	run_in(&p, false);
	c->restarts = 1;
	assert_int_equal(f.driver->report(&f, &report, NULL), 0);
	row = json_array_get(json_object_get(report, "processes"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "target")), "default/room-0");
	assert_true(json_integer_value(json_object_get(row, "restartNs")) > 0);
	assert_true(json_is_null(json_object_get(row, "readyNs")));
	json_decref(report);

	c->ready_ns = clock_now_ns();
	assert_int_equal(f.driver->report(&f, &report, NULL), 0);
	row = json_array_get(json_object_get(report, "processes"), 0);
	assert_true(json_integer_value(json_object_get(row, "readyNs")) >=
		    json_integer_value(json_object_get(row, "restartNs")));
	json_decref(report);
	fault_end(&f);
	pod_end(&p);
}

static void test_grace_lets_a_process_end_itself(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill, gracePeriod: 3600");
	struct pod p = pod_new("room-0", false);
	struct fault f = fault_of(set);
	json_t *report, *row;

	target_list_add(&f.targets, p.target);
	inject(&f);
	assert_int_equal(ended_by(&p), SIGTERM);
	expect_effect(&f, EFFECT_MEASURED, "killed 1 of 1, restarted 0 of 1, ready 0 of 1");
	assert_int_equal(f.driver->report(&f, &report, NULL), 0);
	row = json_array_get(json_object_get(report, "processes"), 0);
	assert_true(json_is_true(json_object_get(row, "endedWithinGrace")));
	json_decref(report);
	fault_end(&f);
	pod_end(&p);
}

static void test_grace_over_kills_what_ignores_sigterm(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill, gracePeriod: 1");
	struct pod p = pod_new("room-0", true);
	struct fault f = fault_of(set);

	target_list_add(&f.targets, p.target);
	inject(&f);
	expect_effect(&f, EFFECT_NONE, "killed 0 of 1, restarted 0 of 1, ready 0 of 1");
	assert_int_equal(pidfd_wait(p.target->containers[0].pidfd, 1100), 0);
	assert_int_equal(f.driver->tick(&f, NULL), 0);
	assert_int_equal(ended_by(&p), SIGKILL);
	expect_effect(&f, EFFECT_MEASURED, "killed 1 of 1, restarted 0 of 1, ready 0 of 1");
	fault_end(&f);
	pod_end(&p);
}

static void test_one_that_lives_on_is_less_than_asked(void **state)
{
	enum { PODS = 10 };
	autoptr(experiment_set) set = load("action: pod-kill, gracePeriod: 3600");
	struct pod pods[PODS];
	struct fault f = fault_of(set);

	for (int i = 0; i < PODS; i++) {
		pods[i] = pod_new("room", i == 0);
		target_list_add(&f.targets, pods[i].target);
	}
	inject(&f);
	for (int i = 1; i < PODS; i++)
		assert_int_equal(ended_by(&pods[i]), SIGTERM);
	expect_effect(&f, EFFECT_LESS, "killed 9 of 10, restarted 0 of 10, ready 0 of 10");
	fault_end(&f);
	for (int i = 0; i < PODS; i++)
		pod_end(&pods[i]);
}

static void test_container_names_spare_the_others(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill, containerNames: [side]");
	struct pod p = pod_new("room-0", false);
	struct strlist ops = {0};
	struct fault f = fault_of(set);
	struct err e = {0};

	target_list_add(&f.targets, p.target);
	assert_int_equal(f.driver->plan(&f, &ops, &e), -ESRCH);
	assert_string_equal(e.text, "default/room-0 runs none of the containers in containerNames");
	assert_int_equal(f.driver->inject(&f, &e), -ESRCH);
	assert_int_equal(pidfd_wait(p.target->containers[0].pidfd, 0), 0);
	fault_end(&f);
	strlist_done(&ops);
	pod_end(&p);
}

static void test_plan_names_every_signal(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill, gracePeriod: 5");
	struct pod p = pod_new("room-0", false);
	autofree char *want = xasprintf("process %d (app in default/room-0): SIGTERM, after 5s "
					"SIGKILL", p.pid);
	struct fault f = fault_of(set);
	struct strlist ops = {0};

	target_list_add(&f.targets, p.target);
	assert_int_equal(f.driver->plan(&f, &ops, NULL), 0);
	assert_int_equal(ops.n, 1);
	assert_string_equal(ops.items[0], want);
	assert_int_equal(pidfd_wait(p.target->containers[0].pidfd, 0), 0);
	fault_end(&f);
	strlist_done(&ops);
	pod_end(&p);
}

/* Between plan and inject the process may be gone; its number may be somebody else's by then. */
static void test_a_process_that_ended_meanwhile_is_no_error(void **state)
{
	autoptr(experiment_set) set = load("action: pod-kill");
	struct pod a = pod_new("room-0", false), b = pod_new("room-1", false);
	struct fault f = fault_of(set);

	target_list_add(&f.targets, a.target);
	target_list_add(&f.targets, b.target);
	kill(a.pid, SIGKILL);
	assert_int_equal(ended_by(&a), SIGKILL);
	inject(&f);
	assert_int_equal(ended_by(&b), SIGKILL);
	expect_effect(&f, EFFECT_MEASURED, "killed 2 of 2, restarted 0 of 2, ready 0 of 2");
	fault_end(&f);
	pod_end(&a);
	pod_end(&b);
}

static void test_other_actions_say_so(void **state)
{
	static const char *const rows[][2] = {
		{"action: pod-failure", "pod-failure is not supported yet (only pod-kill is)"},
		{"action: container-kill", "container-kill is not supported yet (only pod-kill is)"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		autofree char *text = xasprintf(
			"apiVersion: chaos-mesh.org/v1alpha1\nkind: PodChaos\nmetadata: {name: k}\n"
			"spec: {mode: one, selector: {}, %s}\n", rows[i][0]);
		struct experiment_set *set = NULL;
		autodiags d = {0};

		assert_true(experiment_load_text("t.yaml", text, strlen(text), &d, &set) < 0);
		assert_int_equal(d.n, 1);
		assert_string_equal(d.items[0].text, rows[i][1]);
		assert_string_equal(d.items[0].path, "spec.action");
	}
}

static void test_doctor_kills_a_process_of_its_own(void **state)
{
	autocapabilities l = {0};

	assert_int_equal(fault_driver_by_kind("PodChaos")->doctor(NULL, &l, NULL), 0);
	assert_int_equal(l.n, 1);
	assert_true(l.items[0].ok);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_reports_restart_and_ready),
		cmocka_unit_test(test_grace_lets_a_process_end_itself),
		cmocka_unit_test(test_grace_over_kills_what_ignores_sigterm),
		cmocka_unit_test(test_one_that_lives_on_is_less_than_asked),
		cmocka_unit_test(test_container_names_spare_the_others),
		cmocka_unit_test(test_plan_names_every_signal),
		cmocka_unit_test(test_a_process_that_ended_meanwhile_is_no_error),
		cmocka_unit_test(test_other_actions_say_so),
		cmocka_unit_test(test_doctor_kills_a_process_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
