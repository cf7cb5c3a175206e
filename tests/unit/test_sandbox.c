#include "kernel/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit status of fn run in a child that has entered the role. */
static int in_role(enum sandbox_role role, int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct err e = {0};

		_exit(sandbox_enter(role, &e) < 0 ? 99 : fn());
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int try_exec(void)
{
	char *const argv[] = {"true", NULL};

	execv("/bin/true", argv);
	return errno;
}

static int try_unshare(void)
{
	return unshare(CLONE_NEWNET) < 0 ? errno : 0;
}

static int try_read_file(void)
{
	return open("/proc/self/stat", O_RDONLY) < 0 ? errno : 0;
}

static void test_parser_cannot_open_sockets_or_run_programs(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_PARSER, try_socket), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_exec), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_unshare), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_read_file), 0);
}

static void test_broker_makes_sockets_but_runs_nothing(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_BROKER, try_socket), 0);
	assert_int_equal(in_role(SANDBOX_BROKER, try_exec), EPERM);
	if (geteuid() == 0)
		assert_int_equal(in_role(SANDBOX_BROKER, try_unshare), 0);
}

static void test_delay_engine_and_guard_run_nothing(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_DELAY, try_exec), EPERM);
	assert_int_equal(in_role(SANDBOX_DELAY, try_socket), EPERM);
	assert_int_equal(in_role(SANDBOX_GUARD, try_exec), EPERM);
	assert_int_equal(in_role(SANDBOX_GUARD, try_socket), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parser_cannot_open_sockets_or_run_programs),
		cmocka_unit_test(test_broker_makes_sockets_but_runs_nothing),
		cmocka_unit_test(test_delay_engine_and_guard_run_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
