#include "lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/mem.h"

/* Two state directories and the machine's folder. */
static char base[64], dir[80], other[80], machine[80];

static int setup(void **state)
{
	snprintf(base, sizeof base, "/tmp/bt-core-lock-XXXXXX");
	if (!mkdtemp(base))
		return -1;
	snprintf(dir, sizeof dir, "%s/state", base);
	snprintf(other, sizeof other, "%s/other", base);
	snprintf(machine, sizeof machine, "%s/machine", base);
	setenv("BRUNT_RUN_DIR", machine, 1);
	return mkdir(dir, 0700) < 0 || mkdir(other, 0700) < 0;
}

static int teardown(void **state)
{
	autofree char *cmd = xasprintf("rm -rf %s", base);

	return system(cmd);
}

static struct lock *new_lock_in(const char *state_dir, const char *run)
{
	struct lock *l = NULL;
	struct err e = {0};

	if (lock_new(state_dir, run, "slow-uplink", &l, &e) < 0)
		fail_msg("%s", e.text);
	return l;
}

static struct lock *new_lock(const char *run)
{
	return new_lock_in(dir, run);
}

static void test_name_is_refused_with_its_holder(void **state)
{
	autoptr(lock) a = new_lock("r1");
	autoptr(lock) b = new_lock("r2");
	struct err e = {0};

	assert_int_equal(lock_name(a, LOCK_STATE_DIR, "target/live/room-0", NULL), 0);
	assert_int_equal(lock_name(a, LOCK_STATE_DIR, "target/live/room-0", NULL), 0);
	assert_int_equal(lock_name(b, LOCK_STATE_DIR, "target/live/room-1", NULL), 0);
	assert_int_equal(lock_name(b, LOCK_STATE_DIR, "target/live/room-0", &e), -EBUSY);
	assert_string_equal(e.text, "target/live/room-0 is held by run r1 of experiment slow-uplink");
	assert_non_null(strstr(e.hint, "--wait"));
	lock_drop_names(a);
	assert_int_equal(lock_name(b, LOCK_STATE_DIR, "target/live/room-0", NULL), 0);
}

static void test_machine_name_is_refused_across_state_directories(void **state)
{
	autoptr(lock) a = new_lock("r1");
	autoptr(lock) b = new_lock_in(other, "r2");
	autofree char *text = xasprintf("target/netns/4:5:6 is held by run r1 of experiment "
					"slow-uplink, in state directory %s", dir);
	autofree char *hint = xasprintf("brunt stop --state-dir %s r1", dir);
	struct strlist dirs = {0};
	struct err e = {0};

	assert_int_equal(lock_name(a, LOCK_MACHINE, "target/netns/4:5:6", NULL), 0);
	assert_int_equal(lock_name(b, LOCK_MACHINE, "target/netns/4:5:6", &e), -EBUSY);
	assert_string_equal(e.text, text);
	assert_non_null(strstr(e.hint, hint));
	assert_int_equal(lock_name(b, LOCK_MACHINE, "target/netns/4:5:7", NULL), 0);
	lock_other_state_dirs(other, &dirs);
	assert_int_equal(dirs.n, 1);
	assert_string_equal(dirs.items[0], dir);
	strlist_done(&dirs);
	lock_drop_names(a);
	assert_int_equal(lock_name(b, LOCK_MACHINE, "target/netns/4:5:6", NULL), 0);
}

static void test_experiment_is_free_in_another_state_directory(void **state)
{
	autoptr(lock) a = new_lock("r1");
	autoptr(lock) b = new_lock_in(other, "r2");

	assert_int_equal(lock_name(a, LOCK_STATE_DIR, "experiment/x", NULL), 0);
	assert_int_equal(lock_name(b, LOCK_STATE_DIR, "experiment/x", NULL), 0);
}

static void test_machine_name_falls_back_to_the_state_directory(void **state)
{
	autofree char *file = xasprintf("%s/file", base);
	autoptr(lock) a = NULL;
	autoptr(lock) b = NULL;
	struct err e = {0};

	fclose(fopen(file, "w"));
	setenv("BRUNT_RUN_DIR", file, 1); /* a file is no folder: nothing can be made in it */
	a = new_lock("r1");
	b = new_lock("r2");
	assert_int_equal(lock_name(a, LOCK_MACHINE, "target/netns/4:5:6", NULL), 0);
	assert_int_equal(lock_name(b, LOCK_MACHINE, "target/netns/4:5:6", &e), -EBUSY);
	assert_string_equal(e.text,
			    "target/netns/4:5:6 is held by run r1 of experiment slow-uplink");
}

static size_t count_links(void)
{
	DIR *d = opendir(machine);
	size_t n = 0;

	for (struct dirent *de; (de = readdir(d));)
		n += de->d_type == DT_LNK;
	closedir(d);
	return n;
}

static void test_no_link_stays_among_the_machines(void **state)
{
	autofree char *rm = xasprintf("rm -r %s", other);
	struct lock *a = new_lock("r1"), *b = new_lock_in(other, "r2");
	pid_t pid;

	assert_int_equal(count_links(), 2);
	lock_free(a);
	assert_int_equal(count_links(), 1);
	assert_int_equal(system(rm), 0);
	a = new_lock("r3"); /* sweeps the one that leads nowhere */
	assert_int_equal(count_links(), 1);
	lock_free(a);
	lock_free(b);
	pid = fork();
	if (pid == 0) {
		new_lock("r4");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	assert_int_equal(count_links(), 1);
	lock_forget(dir, "r4");
	assert_int_equal(count_links(), 0);
}

static void test_live_run_is_not_taken_over(void **state)
{
	struct lock *l = new_lock("r1");
	int fd = -1;

	assert_int_equal(lock_take_over(dir, "r1", &fd, NULL), 0);
	lock_free(l);
	assert_int_equal(lock_take_over(dir, "r1", &fd, NULL), 1);
	close(fd);
}

static void test_holder_is_read_back(void **state)
{
	autoptr(lock) l = new_lock("r1");
	struct lock_holder h = {0};
	autofd int pidfd = -1;

	assert_int_equal(lock_set_guard(l, getppid(), NULL), 0);
	assert_int_equal(lock_holder_read(dir, "r1", &h, NULL), 0);
	assert_string_equal(h.experiment, "slow-uplink");
	assert_true(h.live);
	assert_int_equal(h.owner, getpid());
	assert_int_equal(h.guard, getppid());
	pidfd = lock_holder_pidfd(h.owner, h.owner_start, NULL);
	assert_true(pidfd >= 0);
	assert_int_equal(lock_holder_pidfd(h.owner, h.owner_start + 1, NULL), -ESRCH);
	lock_holder_done(&h);
}

/* A child that holds the lock of r1 and a name, and says so through a pipe. */
static pid_t child_with_lock(void)
{
	int pair[2];
	char ok = 0;
	pid_t pid;

	assert_int_equal(pipe(pair), 0);
	pid = fork();
	if (pid == 0) {
		struct lock *l;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (lock_new(dir, "r1", "x", &l, NULL) < 0 ||
		    lock_name(l, LOCK_STATE_DIR, "experiment/x", NULL) < 0 ||
		    write(pair[1], "1", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &ok, 1), 1);
	close(pair[0]);
	return pid;
}

static void test_lock_dies_with_its_process(void **state)
{
	int fd = -1;
	pid_t pid = child_with_lock();
	autoptr(lock) mine = new_lock("r2");
	struct lock_holder h = {0};

	assert_int_equal(lock_take_over(dir, "r1", &fd, NULL), 0);
	assert_int_equal(lock_name(mine, LOCK_STATE_DIR, "experiment/x", NULL), -EBUSY);
	assert_int_equal(lock_holder_read(dir, "r1", &h, NULL), 0);
	assert_true(lock_holder_lives(h.owner, h.owner_start));
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT);
	assert_false(lock_holder_lives(h.owner, h.owner_start)); /* a zombie */
	waitpid(pid, NULL, 0);
	lock_holder_done(&h);
	assert_int_equal(lock_holder_read(dir, "r1", &h, NULL), 0);
	assert_false(h.live);
	assert_int_equal(lock_holder_pidfd(h.owner, h.owner_start, NULL), -ESRCH);
	lock_holder_done(&h);
	assert_int_equal(lock_name(mine, LOCK_STATE_DIR, "experiment/x", NULL), 0);
	assert_int_equal(lock_take_over(dir, "r1", &fd, NULL), 1);
	close(fd);
	lock_forget(dir, "r1");
	assert_int_equal(lock_holder_read(dir, "r1", &h, NULL), -ENOENT);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_name_is_refused_with_its_holder),
		TEST(test_machine_name_is_refused_across_state_directories),
		TEST(test_experiment_is_free_in_another_state_directory),
		TEST(test_machine_name_falls_back_to_the_state_directory),
		TEST(test_no_link_stays_among_the_machines),
		TEST(test_live_run_is_not_taken_over),
		TEST(test_holder_is_read_back),
		TEST(test_lock_dies_with_its_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
