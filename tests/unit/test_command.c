#include "slo_fixture.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "slo/state.h"

#define MS NSEC_PER_MSEC

static const struct stats *fault_stats(const struct slo_fixture *f)
{
	return &f->slo->windows[WINDOW_FAULT].stats;
}

static void begin(struct slo_fixture *f, const char *yaml, const char *base_dir)
{
	slo_fixture_bind(f, yaml, 0, 0);
	f->env.base_dir = base_dir;
	slo_fixture_start(f);
}

#define COMMAND(what, objective)                                                                   \
	"name: a\nindicator: {command: {interval: 50ms, " what "}}\nobjectives: ['" objective "']" \
											      "\n"

static void test_exit_code_is_the_success_and_run_time_the_latency(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, COMMAND("command: [sh, -c, sleep 0.02]", "p50 <= 10s"), "/");
	slo_fixture_run(&f, 20);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->failed, 0);
	assert_true(fault_stats(&f)->latency.min >= 20 * MS);
	/* On a busy machine some starts are left out, which is another test's business. */
	assert_true(f.result.objectives[0].value >= 20 * MS);
	slo_fixture_done(&f);
}

static void test_failure_keeps_the_first_line(void **state)
{
	struct slo_fixture f = {0};
	json_t *own;

	begin(&f, COMMAND("command: [sh, -c, 'echo queue is full >&2; exit 3']", "success >= 99%%"),
	      "/");
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	own = json_object_get(f.result.detail, "command");
	assert_int_equal(slo_fixture_report(&f, "exit"), 3);
	assert_string_equal(json_string_value(json_object_get(own, "last_error")),
			    "exit code 3: queue is full");
	assert_int_equal(fault_stats(&f)->latency.n, 0);
	slo_fixture_done(&f);
}

static void test_number_is_the_value(void **state)
{
	struct slo_fixture f = {0};

	/* Seldom enough for a busy machine to leave no start out. */
	begin(&f, "name: a\nindicator: {command: {interval: 1s, command: [echo, ' 12.5 '], "
		  "result: number}}\nobjectives: ['value <= 12.5']\n", "/");
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_HELD);
	assert_true(f.result.objectives[0].value == 12.5);
	slo_fixture_done(&f);
}

static void test_what_is_no_number_is_a_failed_reading(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, COMMAND("command: [echo, many], result: number", "value <= 5"), "/");
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(slo_fixture_report(&f, "number"), 3);
	assert_int_equal(f.result.state, SLO_INCONCLUSIVE);
	slo_fixture_done(&f);
}

static void test_a_number_that_is_missing_every_second_time_is_inconclusive(void **state)
{
	struct slo_fixture f = {0};
	char dir[] = "/tmp/brunt-test-XXXXXX", file[64];

	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof file, "%s/odd", dir);
	begin(&f, COMMAND("command: [sh, -c, 'if [ -e odd ]; then rm odd; exit 1; fi; touch odd; echo 1'], "
			  "result: number", "value <= 5"), dir);
	slo_fixture_run(&f, 10);
	slo_fixture_end(&f);
	slo_fixture_assert_inconclusive(&f, "sh answered ");
	slo_fixture_done(&f);
	unlink(file);
	rmdir(dir);
}

static void test_a_command_that_hangs_leaves_rounds_unanswered(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, COMMAND("command: [sh, -c, 'if [ -e /proc/self/none ]; then exit 1; fi; exec sleep 600'], "
			  "timeout: 3600s", "success >= 10%%"), "/");
	for (int k = 0; k < 3000 && f.slo->windows[WINDOW_FAULT].coverage.n == 0; k++)
		sd_event_run(f.loop, 20000);
	slo_fixture_run_silent(&f, "sh", 5);
	slo_fixture_end(&f);
	slo_fixture_assert_inconclusive(&f, "sh answered 0 of ");
	slo_fixture_done(&f);
}

static void test_timeout_ends_the_whole_group(void **state)
{
	struct slo_fixture f = {0};
	char path[] = "/tmp/brunt-test-XXXXXX", yaml[512];
	int fd = mkstemp(path), pid = 0;
	FILE *file;

	assert_true(fd >= 0);
	snprintf(yaml, sizeof yaml,
		 COMMAND("timeout: 100ms, command: [sh, -c, 'sleep 600 & echo $! > %s; wait']",
			 "success >= 99%%%%"),
		 path);
	begin(&f, yaml, "/");
	slo_fixture_run(&f, 1);
	slo_fixture_end(&f);
	assert_true(slo_fixture_report(&f, "timeout") >= 1);
	file = fdopen(fd, "r");
	assert_int_equal(fscanf(file, "%d", &pid), 1);
	fclose(file);
	unlink(path);
	/* Its sleep is nobody's child any more and vanishes when it is reaped. */
	for (int k = 0; k < 5000 && kill(pid, 0) == 0; k++) {
		waitpid(-1, NULL, WNOHANG);
		usleep(1000);
	}
	assert_true(kill(pid, 0) < 0 && errno == ESRCH);
	slo_fixture_done(&f);
}

static void test_missing_program_is_a_failure_and_no_abort(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, COMMAND("command: [./no-such-program]", "success >= 99%%"), "/");
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(slo_fixture_report(&f, "start"), 3);
	assert_int_equal(fault_stats(&f)->failed, 3);
	slo_fixture_done(&f);
}

static void test_runs_in_the_experiments_folder(void **state)
{
	struct slo_fixture f = {0};
	char dir[] = "/tmp/brunt-test-XXXXXX", script[64];
	FILE *file;

	assert_non_null(mkdtemp(dir));
	snprintf(script, sizeof script, "%s/check", dir);
	file = fopen(script, "w");
	fputs("#!/bin/sh\ntest -f check\n", file);
	fclose(file);
	assert_int_equal(chmod(script, 0755), 0);
	begin(&f, COMMAND("command: [./check]", "success >= 99%%"), dir);
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(fault_stats(&f)->failed, 0);
	slo_fixture_done(&f);
	unlink(script);
	rmdir(dir);
}

static void test_stop_ends_what_still_runs(void **state)
{
	struct slo_fixture f = {0};

	begin(&f, COMMAND("command: [sleep, '600'], timeout: 3600s", "success >= 99%%"), "/");
	for (int k = 0; k < 20; k++)
		sd_event_run(f.loop, 20000);
	slo_fixture_end(&f); /* would wait for ten minutes */
	assert_int_equal(slo_fixture_report(&f, "runs"), 1);
	assert_true(slo_fixture_report(&f, "skipped") >= 1);
	slo_fixture_done(&f);
}

/* The test's own process stands for a container. */
static struct target *add_self(struct slo_fixture *f)
{
	struct target *t = target_new("default", "self");
	struct container *c = target_add_container(t, "main");

	target_set_phase(t, "Running");
	t->ready = true;
	c->pid = getpid();
	target_list_add(&f->targets, t);
	target_unref(t);
	return t;
}

#define TARGET(metric, objective)                                                                  \
	"name: a\nindicator: {target: {interval: 50ms, metric: " metric                            \
	"}}\nobjectives: ['" objective "']\n"

static void test_target_reads_memory_and_cpu(void **state)
{
	static const char *const yaml[] = {TARGET("memory", "value >= 1Ki"),
					   TARGET("cpu", "count >= 0")};

	for (size_t i = 0; i < ARRAY_SIZE(yaml); i++) {
		struct slo_fixture f = {0};

		slo_fixture_bind(&f, yaml[i], 0, 0);
		add_self(&f);
		slo_fixture_start(&f);
		slo_fixture_run(&f, 3);
		slo_fixture_end(&f);
		if (slo_fixture_report(&f, "failures"))
			print_message("no such controller here\n");
		else
			assert_int_equal(f.result.state, SLO_HELD);
		slo_fixture_done(&f);
	}
}

static void test_target_counts_restarts_and_ready(void **state)
{
	struct slo_fixture f = {0};
	struct target *t;

	slo_fixture_bind(&f, TARGET("restarts", "count <= 1"), 0, 0);
	t = add_self(&f);
	t->containers[0].restarts = 5;
	slo_fixture_start(&f);
	slo_fixture_run(&f, 2);
	t->containers[0].restarts = 7;
	slo_fixture_run(&f, 4);
	slo_fixture_end(&f);
	assert_true(f.result.objectives[0].value == 2);
	assert_int_equal(f.result.state, SLO_BREACHED);
	slo_fixture_done(&f);

	f = (struct slo_fixture){0};
	slo_fixture_bind(&f, TARGET("ready", "value >= 1"), 0, 0);
	t = add_self(&f);
	slo_fixture_start(&f);
	slo_fixture_run(&f, 2);
	t->ready = false;
	slo_fixture_run(&f, 4);
	slo_fixture_end(&f);
	assert_true(f.result.objectives[0].value == 0);
	slo_fixture_done(&f);
}

static void test_a_target_that_is_gone_is_missed_unless_this_runs_fault_took_it(void **state)
{
	static const char *const yaml[] = {TARGET("restarts", "count <= 1"),
					   TARGET("ready, across: min", "value >= 1")};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(yaml); i++) {
		struct slo_fixture f = {.hit = i >= ARRAY_SIZE(yaml)};
		const struct coverage_source *c;

		slo_fixture_bind(&f, yaml[i % ARRAY_SIZE(yaml)], 0, 0);
		add_self(&f);
		free(add_self(&f)->name);
		f.targets.items[1]->name = xstrdup("other");
		slo_fixture_start(&f);
		slo_fixture_run(&f, 4);
		slo_fixture_lose_target(&f);
		for (c = slo_fixture_coverage(&f, "default/other"); c->silent_run + c->down < 4;)
			sd_event_run(f.loop, 20000);
		slo_fixture_end(&f);
		if (f.hit) {
			assert_int_equal(f.result.state, SLO_HELD);
			slo_fixture_assert_note(&f, "default/other was down for ");
		} else {
			slo_fixture_assert_inconclusive(&f, "default/other answered ");
		}
		slo_fixture_done(&f);
	}
}

static void test_target_without_targets_goes_on(void **state)
{
	struct slo_fixture f = {0};

	slo_fixture_bind(&f, TARGET("memory", "value <= 1Gi"), 0, 0);
	slo_fixture_start(&f);
	slo_fixture_run(&f, 3);
	slo_fixture_end(&f);
	assert_int_equal(f.result.state, SLO_INCONCLUSIVE);
	assert_true(slo_fixture_report(&f, "failures") >= 3);
	slo_fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_code_is_the_success_and_run_time_the_latency),
		cmocka_unit_test(test_failure_keeps_the_first_line),
		cmocka_unit_test(test_number_is_the_value),
		cmocka_unit_test(test_what_is_no_number_is_a_failed_reading),
		cmocka_unit_test(test_a_number_that_is_missing_every_second_time_is_inconclusive),
		cmocka_unit_test(test_a_command_that_hangs_leaves_rounds_unanswered),
		cmocka_unit_test(test_timeout_ends_the_whole_group),
		cmocka_unit_test(test_missing_program_is_a_failure_and_no_abort),
		cmocka_unit_test(test_runs_in_the_experiments_folder),
		cmocka_unit_test(test_stop_ends_what_still_runs),
		cmocka_unit_test(test_target_reads_memory_and_cpu),
		cmocka_unit_test(test_target_counts_restarts_and_ready),
		cmocka_unit_test(test_a_target_that_is_gone_is_missed_unless_this_runs_fault_took_it),
		cmocka_unit_test(test_target_without_targets_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
