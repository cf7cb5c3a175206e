/*
 * engine_fixture - whole runs, with a fault that breaks files and a source that lists them; the
 * guard is real
 */
#pragma once

#include "engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "file_driver.h"
#include "guard.h"
#include "journal.h"
#include "kernel/broker.h"

#define MS NSEC_PER_MSEC

static struct target_list listed; /* what the source says */
static char *state_dir;
static struct str seen; /* the events' types in order, without samples and phases */

static int files_open(struct target_source *s, const struct source_config *c, struct err *e)
{
	return 0;
}

static int files_list(struct target_source *s, struct target_list *ret, struct err *e)
{
	target_list_copy(ret, &listed);
	return 0;
}

static int files_vantage(struct target_source *s, struct vantage *ret, struct err *e)
{
	*ret = (struct vantage){.netns_fd = -1};
	return 0;
}

static void files_close(struct target_source *s)
{
}

static const struct target_source_type files = {
	.name = "files",
	.open = files_open,
	.list = files_list,
	.vantage = files_vantage,
	.close = files_close,
};

static int setup(void **state)
{
	file_driver_setup();
	setenv("BT_FILE_DIR", file_dir, 1); /* for the guard's process */
	target_source_for_tests = &files;
	state_dir = xasprintf("%s/state", file_dir);
	for (int i = 0; i < 2; i++) {
		autoptr(target) t = file_target(i ? "b" : "a", i ? "two\n" : "one\n");

		target_list_add(&listed, t);
	}
	return 0;
}

static int teardown(void **state)
{
	target_list_done(&listed);
	str_done(&seen);
	free(state_dir);
	return file_driver_teardown();
}

/* An experiment of one fault on all targets, 10 ms into a window of 150 ms. */
struct fixture {
	struct experiment x;
	struct fault_spec fault[2];
	struct fault_common params[2];
	struct engine_options o;
	struct engine *en;
	sd_event *loop;
	int rounds;
	void (*hook)(struct fixture *fx, const struct event *ev); /* an event came */
	bool ended;
};

static void on_event(void *data, const struct event *ev)
{
	struct fixture *fx = data;

	if (ev->type != EVENT_SAMPLE && ev->type != EVENT_PHASE)
		str_addf(&seen, "%s%s", seen.len ? " " : "", event_type_name(ev->type));
	if (fx->hook)
		fx->hook(fx, ev);
}

static void fixture_init(struct fixture *fx)
{
	for (int i = 0; i < 2; i++) {
		fx->params[i].selection = (struct selection){.mode = SELECT_ALL, .given = true};
		fx->fault[i] = (struct fault_spec){
			.name = (char *)(i ? "second" : "break"),
			.at_ns = 10 * MS,
			.driver = &file_driver,
			.params = &fx->params[i],
		};
	}
	fx->x = (struct experiment){
		.name = (char *)"x",
		.source = (char *)"files",
		.seed_given = true,
		.seed = 42,
		.fault_ns = 150 * MS,
		.faults = fx->fault,
		.n_faults = 1,
	};
	fx->o = (struct engine_options){
		.state_dir = state_dir,
		.evaluation_ns = 10 * MS,
		.listener = {.fn = on_event, .data = fx},
	};
}

static void on_done(void *data, struct engine *en)
{
	((struct fixture *)data)->ended = true;
}

/* Runs the loop until the engine is done; 30 s are for a machine that is busy elsewhere. */
static enum verdict run(struct fixture *fx)
{
	struct err e = {0};

	assert_true(sd_event_new(&fx->loop) >= 0);
	assert_int_equal(engine_new(&fx->x, &fx->o, fx->loop, &fx->en, &e), 0);
	if (engine_start(fx->en, on_done, fx, &e) < 0)
		fail_msg("%s", e.text);
	for (int i = 0; i < 30000 && !fx->ended; i++)
		assert_true(sd_event_run(fx->loop, 1000) >= 0);
	assert_true(fx->ended);
	return engine_verdict(fx->en);
}

static void fixture_done(struct fixture *fx)
{
	engine_free(fx->en);
	sd_event_unref(fx->loop);
}

#define autofixture __attribute__((cleanup(fixture_done))) struct fixture

static void assert_file(const char *target, const char *text)
{
	autofree char *now = file_read(target);

	assert_string_equal(now, text);
}

static size_t pending(void)
{
	autoptr(journal) j = NULL;
	struct undo_list l = {0};
	size_t n;

	assert_int_equal(journal_open(state_dir, &j, NULL), 0);
	assert_int_equal(journal_pending(j, NULL, &l, NULL), 0);
	n = l.n;
	undo_list_done(&l);
	return n;
}

static void assert_restored(void)
{
	assert_file("default/a", "one\n");
	assert_file("default/b", "two\n");
	assert_int_equal(pending(), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* The guard and the broker are the test program, started anew: false when this is neither. */
static bool is_role(int argc, char **argv, int *ret_code)
{
	if (argc > 1 && streq(argv[1], BROKER_ROLE)) {
		*ret_code = broker_main(argc, argv);
		return true;
	}
	if (argc < 2 || !streq(argv[1], GUARD_ROLE))
		return false;
	fault_driver_for_tests = &file_driver;
	snprintf(file_dir, sizeof file_dir, "%s", getenv("BT_FILE_DIR"));
	*ret_code = guard_main(argc, argv);
	return true;
}
