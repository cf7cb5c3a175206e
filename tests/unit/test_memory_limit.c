#include "experiment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernel/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { MIB = 1 << 20 };

/* A pod in a memory group of its own, whose process holds as much memory as it is told to. */
struct pod {
	struct target *target;
	struct cgroup group;
	pid_t pid;
	int command, answer;
};

static void hold(int command, int answer)
{
	char *held = NULL;
	int n, mib = 0;

	while (read(command, &n, sizeof n) == sizeof n) {
		if (held)
			munmap(held, (size_t)mib * MIB);
		mib = n;
		held = n ? mmap(NULL, (size_t)n * MIB, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
			 : NULL;
		if (held)
			memset(held, 1, (size_t)n * MIB);
		if (write(answer, "", 1) != 1)
			break;
	}
	_exit(0);
}

static void start(struct pod *p)
{
	int command[2], answer[2];

	assert_int_equal(pipe2(command, O_CLOEXEC), 0);
	assert_int_equal(pipe2(answer, O_CLOEXEC), 0);
	p->pid = fork();
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(command[1]);
		close(answer[0]);
		hold(command[0], answer[1]);
	}
	close(command[0]);
	close(answer[1]);
	p->command = command[1];
	p->answer = answer[0];
	assert_int_equal(cgroup_attach(&p->group, p->pid, NULL), 0);
	p->target->containers[0].pid = p->pid;
}

/* False when the process was killed while it took the memory. */
static bool tell_to_hold(struct pod *p, int mib)
{
	char c;

	assert_int_equal(write(p->command, &mib, sizeof mib), sizeof mib);
	return read(p->answer, &c, 1) == 1;
}

static bool pod_begin(struct pod *p)
{
	static unsigned number; /* what a failed test left does not meet the next one */
	autocgroup own = {0};
	char name[48];

	*p = (struct pod){0};
	snprintf(name, sizeof name, "bt-liveroom-mem-%d-%u", getpid(), number++);
	if (cgroup_own("memory", &own, NULL) < 0 || cgroup_make(&own, name, &p->group, NULL) < 0)
		return false;
	p->target = target_new("default", "room-0");
	target_add_container(p->target, "app");
	target_set_phase(p->target, "Running");
	start(p);
	return true;
}

static void pod_end(struct pod *p)
{
	close(p->command);
	close(p->answer);
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	for (int i = 0; i < 200 && cgroup_remove(&p->group, NULL) == -EBUSY; i++)
		usleep(10000);
	target_unref(p->target);
	cgroup_done(&p->group);
}

static const char *limit_file(const struct pod *p)
{
	return p->group.version == 1 ? "memory.limit_in_bytes" : "memory.max";
}

static uint64_t limit_of(const struct pod *p)
{
	uint64_t n = 0;

	assert_int_equal(cgroup_read_u64(&p->group, limit_file(p), &n, NULL), 0);
	return n;
}

static uint64_t usage_of(const struct pod *p)
{
	uint64_t n = 0;

	assert_int_equal(cgroup_read_u64(&p->group, p->group.version == 1 ? "memory.usage_in_bytes"
									  : "memory.current",
					 &n, NULL), 0);
	return n;
}

static void set_limit(const struct pod *p, uint64_t bytes)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, bytes);
	assert_int_equal(cgroup_write(&p->group, limit_file(p), text, NULL), 0);
}

/* A fault on the pod, planned; the manifest's set owns the params. */
struct rig {
	struct pod pod;
	struct experiment_set *set;
	struct fault fault;
};

static const struct fault_env env = {.run_id = "t"};

static void rig_fault(struct rig *r, const char *spec)
{
	autofree char *text = xasprintf("apiVersion: brunt.dev/v1alpha1\nkind: MemoryChaos\n"
					"metadata: {name: squeeze}\n"
					"spec: {mode: one, selector: {}, action: limit, %s}\n", spec);
	autodiags d = {0};

	if (experiment_load_text("t.yaml", text, strlen(text), &d, &r->set) < 0)
		fail_msg("%s", d.items[0].text);
	r->fault = (struct fault){.driver = r->set->items[0]->faults[0].driver,
				  .params = r->set->items[0]->faults[0].params,
				  .name = "squeeze", .env = &env};
}

static int rig_plan(struct rig *r, struct err *e)
{
	struct strlist ops = {0};
	int n;

	target_list_add(&r->fault.targets, r->pod.target);
	n = r->fault.driver->plan(&r->fault, &ops, e);
	strlist_done(&ops);
	return n;
}

/* Plans, keeps the snapshot in the record, injects. */
static void rig_inject(struct rig *r)
{
	struct fault *f = &r->fault;
	autostr before = {0};
	struct err e = {0};

	if (rig_plan(r, &e) < 0 || f->driver->snapshot(f, r->pod.target, &before, &e) < 0 ||
	    f->driver->prepare(f, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(f->undo.n, 1);
	f->undo.items[0].before = xstrdup(before.s);
	if (f->driver->inject(f, &e) < 0)
		fail_msg("%s", e.text);
}

static enum undo_outcome rig_revert(struct rig *r, char *text, size_t size)
{
	struct undo_result result = {0};

	assert_int_equal(r->fault.driver->revert(r->fault.undo.items, 1, NULL, &result, NULL), 0);
	snprintf(text, size, "%s", result.text);
	return result.outcome;
}

static void expect_restored(struct rig *r)
{
	autostr now = {0};
	char text[256];

	assert_int_equal(rig_revert(r, text, sizeof text), UNDO_REVERTED);
	assert_int_equal(r->fault.driver->resnapshot(&r->fault.undo.items[0], NULL, &now, NULL), 0);
	assert_string_equal(now.s, r->fault.undo.items[0].before);
}

static void rig_end(struct rig *r)
{
	r->fault.driver->release(&r->fault);
	undo_list_done(&r->fault.undo);
	target_list_done(&r->fault.targets);
	experiment_set_free(r->set);
	pod_end(&r->pod);
}

static int64_t reported(struct rig *r, const char *name)
{
	json_t *report = NULL;
	int64_t n;

	assert_int_equal(r->fault.driver->tick(&r->fault, NULL), 0);
	assert_int_equal(r->fault.driver->report(&r->fault, &report, NULL), 0);
	n = json_integer_value(json_object_get(
		json_array_get(json_object_get(report, "groups"), 0), name));
	json_decref(report);
	return n;
}

#define RIG(r, spec)                                                                               \
	struct rig r = {0};                                                                        \
	if (!pod_begin(&(r).pod)) {                                                                \
		print_message("no writable memory cgroup here\n");                                 \
		skip();                                                                            \
	}                                                                                          \
	rig_fault(&(r), spec)

static void test_limit_shrinks_and_is_put_back_exactly(void **state)
{
	RIG(r, "size: 32MiB");

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	assert_int_equal(limit_of(&r.pod), 32 * MIB);
	expect_restored(&r);
	assert_int_equal(limit_of(&r.pod), 64 * MIB);
	expect_restored(&r); /* a second time changes nothing */
	rig_end(&r);
}

static void test_unlimited_is_put_back(void **state)
{
	RIG(r, "size: 48MiB");
	uint64_t before = limit_of(&r.pod);

	assert_true(before > INT64_MAX / 2);
	assert_true(tell_to_hold(&r.pod, 4));
	rig_inject(&r);
	assert_int_equal(limit_of(&r.pod), 48 * MIB);
	expect_restored(&r);
	assert_true(limit_of(&r.pod) == before);
	rig_end(&r);
}

static void test_percentage_of_the_limit(void **state)
{
	RIG(r, "size: 50%, of: limit");

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	assert_int_equal(limit_of(&r.pod), 32 * MIB);
	expect_restored(&r);
	rig_end(&r);
}

/* v1 refuses what it cannot reclaim: the limit stays near usage and follows it down. */
static void test_below_usage_on_v1_goes_as_far_as_it_can(void **state)
{
	RIG(r, "size: 8MiB");
	struct effect effect;

	set_limit(&r.pod, 64 * MIB);
	if (r.pod.group.version == 2) {
		rig_plan(&r, NULL);
		rig_end(&r);
		print_message("cgroup v1 only; on v2 the kernel takes the limit and kills\n");
		skip();
	}
	assert_true(tell_to_hold(&r.pod, 24));
	rig_inject(&r);
	assert_true(limit_of(&r.pod) >= usage_of(&r.pod));
	assert_in_range(limit_of(&r.pod), 24 * MIB, 40 * MIB);
	assert_int_equal(r.fault.driver->effect(&r.fault, &effect, NULL), 0);
	assert_non_null(strstr(effect.measured, "no more can be reclaimed"));
	assert_true(tell_to_hold(&r.pod, 0));
	assert_int_equal(r.fault.driver->tick(&r.fault, NULL), 0);
	assert_int_equal(limit_of(&r.pod), 8 * MIB);
	assert_int_equal(waitpid(r.pod.pid, NULL, WNOHANG), 0);
	expect_restored(&r);
	rig_end(&r);
}

/* 1 MiB was asked for, and a sixteenth of the way (8 MiB) is not how near it can get. */
static void test_the_lowest_limit_on_v1_is_found_and_compared(void **state)
{
	RIG(r, "size: 1MiB");
	struct effect effect;
	uint64_t limit, usage;

	set_limit(&r.pod, 128 * MIB);
	if (r.pod.group.version == 2) {
		rig_plan(&r, NULL);
		rig_end(&r);
		print_message("cgroup v1 only; on v2 the kernel takes the limit and kills\n");
		skip();
	}
	assert_true(tell_to_hold(&r.pod, 3));
	rig_inject(&r);
	limit = limit_of(&r.pod);
	usage = usage_of(&r.pod);
	if (limit > usage + usage / 10 + MIB / 4)
		fail_msg("want the limit near the usage of %" PRIu64 " bytes, saw %" PRIu64, usage, limit);
	/* One that nobody meets would be no effect at all. */
	assert_false(tell_to_hold(&r.pod, 40));
	assert_int_equal(r.fault.driver->effect(&r.fault, &effect, NULL), 0);
	assert_string_equal(effect_state_names[effect.state], "less than asked");
	assert_true(effect_decisive(&effect)->asked == MIB);
	assert_true(effect_decisive(&effect)->value == (double)limit);
	expect_restored(&r);
	rig_end(&r);
}

static void test_oom_kill_is_counted(void **state)
{
	RIG(r, "size: 16MiB");
	struct effect effect;

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	assert_false(tell_to_hold(&r.pod, 40));
	assert_true(reported(&r, "oom_kills") >= 1);
	assert_int_equal(r.fault.driver->effect(&r.fault, &effect, NULL), 0);
	assert_int_equal(effect.state, EFFECT_MEASURED);
	expect_restored(&r);
	assert_int_equal(limit_of(&r.pod), 64 * MIB);
	rig_end(&r);
}

static void test_a_limit_that_nobody_meets_has_no_effect(void **state)
{
	RIG(r, "size: 48MiB");
	struct effect effect;

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	assert_int_equal(r.fault.driver->tick(&r.fault, NULL), 0);
	assert_int_equal(r.fault.driver->effect(&r.fault, &effect, NULL), 0);
	assert_int_equal(effect.state, EFFECT_NONE);
	expect_restored(&r);
	rig_end(&r);
}

static void test_somebody_elses_value_is_left_and_reported(void **state)
{
	RIG(r, "size: 32MiB");
	uint64_t memsw = UINT64_MAX;
	char text[256];

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	set_limit(&r.pod, 20 * MIB + 4096);
	assert_int_equal(rig_revert(&r, text, sizeof text), UNDO_FOREIGN);
	/* The other limit was still ours: unlimited before, unlimited again (v1 with swap). */
	cgroup_read_u64(&r.pod.group, "memory.memsw.limit_in_bytes", &memsw, NULL);
	assert_true(memsw > INT64_MAX / 2);
	assert_non_null(strstr(text, r.pod.group.path));
	assert_int_equal(limit_of(&r.pod), 20 * MIB + 4096);
	rig_end(&r);
}

static void test_a_group_that_is_gone_counts_as_recovered(void **state)
{
	RIG(r, "size: 32MiB");
	autofree char *path = xstrdup(r.pod.group.path);
	char text[256];

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	kill(r.pod.pid, SIGKILL);
	waitpid(r.pod.pid, NULL, 0);
	for (int i = 0; i < 200 && cgroup_remove(&r.pod.group, NULL) == -EBUSY; i++)
		usleep(10000);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rig_revert(&r, text, sizeof text), UNDO_GONE);
	r.pod.pid = fork(); /* for pod_end */
	if (r.pod.pid == 0)
		_exit(0);
	rig_end(&r);
}

static void test_steps_go_down_one_by_one(void **state)
{
	RIG(r, "size: 16MiB, steps: 4, over: 1h");

	set_limit(&r.pod, 64 * MIB);
	rig_inject(&r);
	assert_int_equal(limit_of(&r.pod), 52 * MIB);
	assert_int_equal(r.fault.driver->tick(&r.fault, NULL), 0);
	assert_int_equal(limit_of(&r.pod), 52 * MIB);
	expect_restored(&r);
	rig_end(&r);
}

static void test_plan_refuses_to_raise_a_limit(void **state)
{
	RIG(r, "size: 64MiB");
	struct err e = {0};

	set_limit(&r.pod, 32 * MIB);
	assert_int_equal(rig_plan(&r, &e), -EINVAL);
	assert_int_equal(limit_of(&r.pod), 32 * MIB);
	rig_end(&r);
}

static void test_plan_refuses_a_share_of_no_limit(void **state)
{
	RIG(r, "size: 50%");
	struct err e = {0};

	assert_int_equal(rig_plan(&r, &e), -EINVAL);
	assert_non_null(strstr(e.hint, "of: usage"));
	rig_end(&r);
}

static void test_plan_refuses_brunts_own_group(void **state)
{
	RIG(r, "size: 32MiB");
	struct err e = {0};

	r.pod.target->containers[0].pid = getpid();
	assert_int_equal(rig_plan(&r, &e), -EPERM);
	assert_non_null(strstr(e.text, "holds brunt itself"));
	rig_end(&r);
}

static void test_plan_of_no_targets(void **state)
{
	struct rig r = {0};
	struct strlist ops = {0};
	struct effect effect;

	rig_fault(&r, "size: 32MiB");
	assert_int_equal(r.fault.driver->plan(&r.fault, &ops, NULL), 0);
	assert_int_equal(r.fault.driver->effect(&r.fault, &effect, NULL), 0);
	assert_int_equal(effect.state, EFFECT_UNKNOWN);
	r.fault.driver->release(&r.fault);
	experiment_set_free(r.set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_shrinks_and_is_put_back_exactly),
		cmocka_unit_test(test_unlimited_is_put_back),
		cmocka_unit_test(test_percentage_of_the_limit),
		cmocka_unit_test(test_below_usage_on_v1_goes_as_far_as_it_can),
		cmocka_unit_test(test_the_lowest_limit_on_v1_is_found_and_compared),
		cmocka_unit_test(test_oom_kill_is_counted),
		cmocka_unit_test(test_a_limit_that_nobody_meets_has_no_effect),
		cmocka_unit_test(test_somebody_elses_value_is_left_and_reported),
		cmocka_unit_test(test_a_group_that_is_gone_counts_as_recovered),
		cmocka_unit_test(test_steps_go_down_one_by_one),
		cmocka_unit_test(test_plan_refuses_to_raise_a_limit),
		cmocka_unit_test(test_plan_refuses_a_share_of_no_limit),
		cmocka_unit_test(test_plan_refuses_brunts_own_group),
		cmocka_unit_test(test_plan_of_no_targets),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
