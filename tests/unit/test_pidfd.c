#include "kernel/pidfd.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/own.h"

static pid_t child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_NAME, "a) b (c");
		for (;;)
			pause();
	}
	return pid;
}

static void test_signal_reaches_the_process_and_wait_sees_it(void **state)
{
	pid_t pid = child();
	autofd int fd = pidfd_open_pid(pid, NULL);

	assert_true(fd >= 0);
	assert_int_equal(pidfd_wait(fd, 10), 0);
	assert_int_equal(pidfd_signal(fd, SIGKILL, NULL), 0);
	assert_int_equal(pidfd_wait(fd, -1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_open_and_signal_a_process_that_is_gone(void **state)
{
	pid_t pid = child();
	autofd int fd = pidfd_open_pid(pid, NULL);
	struct err e = {0};

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(pidfd_signal(fd, SIGTERM, &e), -ESRCH);
	assert_string_equal(e.text, "send signal 15 through pidfd: No such process");
	assert_int_equal(pidfd_open_pid(pid, &e), -ESRCH);
}

static void test_start_time_reads_past_a_name_with_parentheses(void **state)
{
	unsigned long long mine = 0, again = 0, childs = 0;
	pid_t pid = child();

	assert_int_equal(pidfd_start_time(getpid(), &mine), 0);
	assert_int_equal(pidfd_start_time(getpid(), &again), 0);
	assert_int_equal(pidfd_start_time(pid, &childs), 0);
	assert_true(mine > 0);
	assert_true(mine == again);
	assert_true(childs >= mine);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(pidfd_start_time(pid, &childs), -ENOENT);
}

/* The state follows the signal a moment later. */
static void wait_until(pid_t pid, bool still)
{
	for (int i = 0; i < 30000 && pidfd_stands_still(pid) != still; i++)
		usleep(1000);
	assert_int_equal(pidfd_stands_still(pid), still);
}

static void test_stands_still_tells_a_stopped_or_dead_process_from_one_that_sleeps(void **state)
{
	pid_t pid = child();

	assert_false(pidfd_stands_still(getpid()));
	assert_false(pidfd_stands_still(pid));
	kill(pid, SIGSTOP);
	wait_until(pid, true);
	kill(pid, SIGCONT);
	wait_until(pid, false);
	kill(pid, SIGKILL);
	wait_until(pid, true); /* a zombie */
	waitpid(pid, NULL, 0);
	assert_true(pidfd_stands_still(pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signal_reaches_the_process_and_wait_sees_it),
		cmocka_unit_test(test_open_and_signal_a_process_that_is_gone),
		cmocka_unit_test(test_start_time_reads_past_a_name_with_parentheses),
		cmocka_unit_test(
			test_stands_still_tells_a_stopped_or_dead_process_from_one_that_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
