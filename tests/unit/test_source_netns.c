#include "target/target.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cmocka.h>

/* A folder in a mount namespace of the test's own: whatever happens, nothing stays mounted. */
struct fixture {
	char dir[64];
	struct target_source *source;
};

static char *path_of(const struct fixture *f, const char *name)
{
	return xasprintf("%s/%s", f->dir, name);
}

static void touch(const char *path)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
}

static void add_netns(const struct fixture *f, const char *name)
{
	autofd int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	autofree char *path = path_of(f, name);

	touch(path);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
}

static void remove_netns(const struct fixture *f, const char *name)
{
	autofree char *path = path_of(f, name);

	assert_int_equal(umount2(path, MNT_DETACH), 0);
	assert_int_equal(unlink(path), 0);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof *f);

	*state = f;
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
		return 0;
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	strcpy(f->dir, "/tmp/bt-lab-netns-XXXXXX");
	return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	target_source_close(f->source);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void open_source(struct fixture *f)
{
	const struct source_config c = {.netns_dir = f->dir};

	if (!f->dir[0])
		skip();
	assert_int_equal(target_source_open("netns", &c, &f->source, NULL), 0);
}

static void test_list_follows_names_that_come_and_go(void **state)
{
	struct fixture *f = *state;
	autotargets first = {0}, second = {0}, third = {0};
	struct target *b;

	open_source(f);
	add_netns(f, "b");
	add_netns(f, "a");
	assert_int_equal(target_source_list(f->source, &first, NULL), 0);
	assert_int_equal(first.n, 2);
	assert_string_equal(first.items[0]->name, "a");
	assert_string_equal(kvs_get(&first.items[1]->labels, "name"), "b");
	assert_string_equal(first.items[1]->phase, "Running");
	assert_true(first.items[1]->netns_fd >= 0);
	assert_false(first.items[1]->host_network);
	b = first.items[1];

	remove_netns(f, "a");
	assert_int_equal(target_source_list(f->source, &second, NULL), 0);
	assert_int_equal(second.n, 1);
	assert_ptr_equal(second.items[0], b);
	assert_string_equal(first.items[0]->phase, "");
	assert_int_equal(first.items[0]->netns_fd, -1);

	/* The same name on another namespace is another target. */
	remove_netns(f, "b");
	add_netns(f, "b");
	assert_int_equal(target_source_list(f->source, &third, NULL), 0);
	assert_int_equal(third.n, 1);
	assert_ptr_not_equal(third.items[0], b);
	assert_string_equal(b->phase, "");
	remove_netns(f, "b");
}

static void test_list_passes_over_what_is_no_namespace(void **state)
{
	struct fixture *f = *state;
	autofree char *stale = path_of(f, "stale");
	autotargets l = {0};

	open_source(f);
	touch(stale);
	assert_int_equal(target_source_list(f->source, &l, NULL), 0);
	assert_int_equal(l.n, 0);
	unlink(stale);
}

static void test_list_marks_the_hosts_own_namespace(void **state)
{
	struct fixture *f = *state;
	autofree char *path = path_of(f, "host");
	autotargets l = {0};

	open_source(f);
	touch(path);
	assert_int_equal(mount("/proc/self/ns/net", path, NULL, MS_BIND, NULL), 0);
	assert_int_equal(target_source_list(f->source, &l, NULL), 0);
	assert_int_equal(l.n, 1);
	assert_true(l.items[0]->host_network);
	remove_netns(f, "host");
}

static void test_list_of_a_folder_that_is_missing_is_empty(void **state)
{
	const struct source_config c = {.netns_dir = "/nonexistent/bt-lab"};
	autoptr(target_source) s = NULL;
	struct vantage v;
	autotargets l = {0};

	assert_int_equal(target_source_open("netns", &c, &s, NULL), 0);
	assert_int_equal(target_source_list(s, &l, NULL), 0);
	assert_int_equal(l.n, 0);
	assert_int_equal(target_source_vantage(s, &v, NULL), 0);
	assert_int_equal(v.netns_fd, -1);
}

static void test_list_of_a_file_says_so(void **state)
{
	const struct source_config c = {.netns_dir = "/dev/null"};
	autoptr(target_source) s = NULL;
	struct err e = {0};
	autotargets l = {0};

	assert_int_equal(target_source_open("netns", &c, &s, NULL), 0);
	assert_int_equal(target_source_list(s, &l, &e), -ENOTDIR);
	assert_string_equal(e.text, "source netns: /dev/null: Not a directory");
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_list_follows_names_that_come_and_go),
		WITH_FOLDER(test_list_passes_over_what_is_no_namespace),
		WITH_FOLDER(test_list_marks_the_hosts_own_namespace),
		cmocka_unit_test(test_list_of_a_folder_that_is_missing_is_empty),
		cmocka_unit_test(test_list_of_a_file_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
