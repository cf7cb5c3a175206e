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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"

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

static int try_write_file(void)
{
	return open("/dev/null", O_WRONLY) < 0 ? errno : 0;
}

static int try_update_file(void)
{
	return open("/dev/null", O_RDWR) < 0 ? errno : 0;
}

static int try_create_file(void)
{
	return open("/tmp/bt-sandbox", O_RDONLY | O_CREAT, 0600) < 0 ? errno : 0;
}

static int try_empty_file(void)
{
	return open("/dev/null", O_RDONLY | O_TRUNC) < 0 ? errno : 0;
}

static int try_unlink(void)
{
	return unlink("/tmp/bt-sandbox-nowhere") < 0 ? errno : 0;
}

static int try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL) < 0 ? errno : 0;
}

/* What a caller of the refused call says; 0 when it says it. */
static int try_journal(void)
{
	autoptr(journal) j = NULL;
	struct err e = {0};

	if (journal_open("/tmp/bt-sandbox-state", &j, &e) == 0)
		return 1;
	return strstr(e.text, "/tmp/bt-sandbox-state") && strstr(e.text, strerror(EPERM)) ? 0 : 2;
}

static void test_parser_changes_no_file(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_PARSER, try_write_file), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_update_file), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_create_file), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_empty_file), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_unlink), EPERM);
	assert_int_equal(in_role(SANDBOX_PARSER, try_io_uring), EPERM);
}

static void test_parser_is_told_what_was_refused(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_PARSER, try_journal), 0);
}

static void test_reader_writes_files_and_nothing_else(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_READER, try_write_file), 0);
	assert_int_equal(in_role(SANDBOX_READER, try_unlink), ENOENT);
	assert_int_equal(in_role(SANDBOX_READER, try_socket), EPERM);
	assert_int_equal(in_role(SANDBOX_READER, try_exec), EPERM);
	assert_int_equal(in_role(SANDBOX_READER, try_unshare), EPERM);
	assert_int_equal(in_role(SANDBOX_READER, try_io_uring), EPERM);
}

static int try_nothing(void)
{
	return 0;
}

static void test_no_role_gives_nothing_up(void **state)
{
	(void)state;
	assert_int_equal(in_role(SANDBOX_NONE, try_nothing), 0);
	assert_int_equal(in_role(SANDBOX_NONE, try_socket), 0);
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
		cmocka_unit_test(test_parser_changes_no_file),
		cmocka_unit_test(test_parser_is_told_what_was_refused),
		cmocka_unit_test(test_reader_writes_files_and_nothing_else),
		cmocka_unit_test(test_no_role_gives_nothing_up),
		cmocka_unit_test(test_broker_makes_sockets_but_runs_nothing),
		cmocka_unit_test(test_delay_engine_and_guard_run_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
