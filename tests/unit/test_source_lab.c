/* The engine's way to a lab: started on a loop, listed as targets, gone with its owner. */
#include "lab/lab.h"
#include "target/target.h"

#include "base/clock.h"
#include "kernel/pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

static const char manifest[] =
	"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: s, annotations: {a: b}}\nspec:\n"
	"  replicas: 2\n  template:\n    metadata: {labels: {app: s}, annotations: {k: v}}\n    spec:\n"
	"      terminationGracePeriodSeconds: 0\n"
	"      containers: [{name: app, command: [sleep, \"1000\"]}]\n";

struct fixture {
	char dir[64];
	char *file;
	sd_event *loop;
	struct lab *lab;
	int result, stopped, events;
};

static void on_changed(void *data, struct lab *lab, int r, const struct err *e)
{
	struct fixture *f = data;

	if (r != -EINPROGRESS)
		f->result = r;
}

static void on_event(void *data, const struct event *ev)
{
	struct fixture *f = data;

	f->events += ev->type == EVENT_LAB;
}

static void on_stopped(void *data, struct lab *lab)
{
	struct fixture *f = data;

	f->stopped = 1;
}

static void turn(struct fixture *f, const int *until, int value)
{
	int64_t end_ns = clock_now_ns() + 30 * NSEC_PER_SEC;

	while ((*until == value) && clock_now_ns() < end_ns)
		sd_event_run(f->loop, 100000);
	assert_int_not_equal(*until, value);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);
	FILE *out;

	*state = f;
	strcpy(f->dir, "/tmp/bt-lab-src-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->file = xasprintf("%s/m.yaml", f->dir);
	out = fopen(f->file, "w");
	fputs(manifest, out);
	fclose(out);
	return sd_event_new(&f->loop) < 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lab_free(f->lab);
	sd_event_unref(f->loop);
	unlink(f->file);
	/* The lab's sweeper takes its folder away a moment after the lab has gone. */
	for (int i = 0; i < 1000 && rmdir(f->dir) < 0 && errno == ENOTEMPTY; i++)
		usleep(10000);
	free(f->file);
	free(f);
	return 0;
}

static void start(struct fixture *f)
{
	const struct listener listener = {.fn = on_event, .data = f};
	const char *const files[] = {f->file};
	const struct lab_options o = {.state_dir = f->dir, .manifests = files, .n_manifests = 1,
				      .listener = &listener};
	struct err e = {0};

	if (geteuid() != 0)
		skip();
	f->result = 1;
	assert_int_equal(lab_start(&o, f->loop, on_changed, f, &f->lab, &e), 0);
	turn(f, &f->result, 1);
	assert_int_equal(f->result, 0);
	assert_true(f->events >= 2);
}

/* Lists until the condition holds. */
static void list_until(struct target_source *s, struct target_list *ret,
		       bool (*holds)(const struct target_list *l))
{
	int64_t end_ns = clock_now_ns() + 30 * NSEC_PER_SEC;

	do {
		target_list_done(ret);
		assert_int_equal(target_source_list(s, ret, NULL), 0);
		if (holds(ret))
			return;
		usleep(10000);
	} while (clock_now_ns() < end_ns);
	fail_msg("waited in vain");
}

static bool has_two_running(const struct target_list *l)
{
	return l->n == 2 && l->items[0]->containers[0].pid && l->items[1]->containers[0].pid;
}

static bool first_was_restarted(const struct target_list *l)
{
	return has_two_running(l) && l->items[0]->containers[0].restarts == 1;
}

static void test_lists_pods_and_follows_a_restart(void **state)
{
	struct fixture *f = *state;
	autoptr(target_source) s = NULL;
	autotargets l = {0};
	struct vantage v = {0};
	struct target *first;
	struct container *c;
	int64_t started_ns;
	pid_t pid;

	start(f);
	assert_int_equal(target_source_open("lab", &(struct source_config){.lab_dir = lab_dir(f->lab)},
					    &s, NULL), 0);
	list_until(s, &l, has_two_running);
	first = l.items[0];
	c = &first->containers[0];
	assert_string_equal(first->name, "s-0");
	assert_string_equal(first->ns, "default");
	assert_string_equal(first->phase, "Running");
	assert_string_equal(kvs_get(&first->labels, "app"), "s");
	assert_string_equal(kvs_get(&first->annotations, "k"), "v");
	assert_true(first->ready && first->netns_fd >= 0 && first->netns_id.ino && !first->host_network);
	assert_true(c->pidfd >= 0 && c->started_ns > 0 && c->ready_ns >= c->started_ns);
	assert_int_equal(target_source_vantage(s, &v, NULL), 0);
	assert_true(v.netns_fd >= 0);
	assert_string_equal(kvs_get(&v.hosts, "s-1"), "10.77.0.3,fd00:77::3");
	kvs_done(&v.hosts);

	pid = c->pid;
	started_ns = c->started_ns;
	assert_int_equal(pidfd_signal(c->pidfd, SIGKILL, NULL), 0);
	list_until(s, &l, first_was_restarted);
	assert_ptr_equal(l.items[0], first);
	c = &first->containers[0];
	assert_int_not_equal(c->pid, pid);
	assert_true(c->started_ns > started_ns);
}

static void test_stop_leaves_no_folder_and_targets_are_gone(void **state)
{
	struct fixture *f = *state;
	autoptr(target_source) s = NULL;
	autotargets l = {0}, none = {0};
	int r = 0;

	start(f);
	assert_int_equal(target_source_open("lab", &(struct source_config){.lab_dir = lab_dir(f->lab)},
					    &s, NULL), 0);
	list_until(s, &l, has_two_running);
	lab_stop(f->lab, false, on_stopped, f);
	turn(f, &f->stopped, 0);
	assert_int_equal(access(lab_dir(f->lab), F_OK), -1);
	for (int i = 0; r == 0 && i < 100; i++)
		r = target_source_list(s, &none, NULL);
	assert_int_equal(r, -EPIPE);
	assert_string_equal(l.items[0]->phase, "");
	assert_int_equal(l.items[0]->netns_fd, -1);
}

static void test_a_lab_of_its_own_dies_with_its_handle(void **state)
{
	struct fixture *f = *state;
	autofree char *dir = NULL;
	int64_t end_ns = clock_now_ns() + 30 * NSEC_PER_SEC;

	start(f);
	dir = xstrdup(lab_dir(f->lab));
	lab_free(take(f->lab));
	while (access(dir, F_OK) == 0 && clock_now_ns() < end_ns)
		usleep(10000);
	assert_int_equal(access(dir, F_OK), -1);
}

static void test_a_killed_supervisor_is_told(void **state)
{
	struct fixture *f = *state;
	autofree char *path = NULL, *dir = NULL;
	int64_t end_ns = clock_now_ns() + 30 * NSEC_PER_SEC;
	FILE *in;
	int pid = 0;

	start(f);
	dir = xstrdup(lab_dir(f->lab));
	path = xasprintf("%s/record.json", dir);
	in = fopen(path, "r");
	assert_int_equal(fscanf(in, "{ \"pid\": %d", &pid), 1);
	fclose(in);
	f->result = 1;
	kill(pid, SIGKILL);
	turn(f, &f->result, 1);
	assert_int_equal(f->result, -EPIPE);
	lab_stop(f->lab, true, on_stopped, f);
	turn(f, &f->stopped, 0);
	while (access(dir, F_OK) == 0 && clock_now_ns() < end_ns)
		usleep(10000);
	assert_int_equal(access(dir, F_OK), -1);
}

#define WITH_LAB(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LAB(test_lists_pods_and_follows_a_restart),
		WITH_LAB(test_stop_leaves_no_folder_and_targets_are_gone),
		WITH_LAB(test_a_lab_of_its_own_dies_with_its_handle),
		WITH_LAB(test_a_killed_supervisor_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
