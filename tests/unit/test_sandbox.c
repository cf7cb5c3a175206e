#include "kernel/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <stdio.h>
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

static int try_local_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0 || socket(AF_NETLINK, SOCK_RAW, 0) < 0 ? errno : 0;
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
	assert_int_equal(in_role(SANDBOX_GUARD, try_local_socket), 0);
}

/*
 * What a process that fell into strange hands would try, called as the kernel knows it and with arguments
 * that the kernel would look at: EPERM is the filter's and no other's answer where root calls.
 */
enum {
	IN_ALL = ~0,
	NOT_IN_GUARD = ~(1 << SANDBOX_GUARD),
	NOT_IN_BROKER = ~(1 << SANDBOX_BROKER),
	IN_DELAY = 1 << SANDBOX_DELAY,
	IN_BROKER = 1 << SANDBOX_BROKER,
	NO_NEW_FILES = IN_DELAY | IN_BROKER | 1 << SANDBOX_PARSER,
	NO_THREADS = IN_DELAY | IN_BROKER,
};
#define NO_NET (NOT_IN_GUARD & NOT_IN_BROKER)

static char zeros[256];
static const struct {
	const char *name;
	int roles;
	long nr, a, b, c, d, e;
	int answer; /* EPERM when left out */
} forbidden[] = {
	{"ptrace", IN_ALL, SYS_ptrace, PTRACE_SEIZE, 1},
	{"open_by_handle_at", IN_ALL, SYS_open_by_handle_at, AT_FDCWD, (long)zeros},
	{"name_to_handle_at", IN_ALL, SYS_name_to_handle_at, AT_FDCWD, (long)"/", (long)zeros},
	{"process_vm_readv", IN_ALL, SYS_process_vm_readv, 1, (long)zeros, 1, (long)zeros, 1},
	{"process_vm_writev", IN_ALL, SYS_process_vm_writev, 1, (long)zeros, 1, (long)zeros, 1},
	{"pidfd_getfd", IN_ALL, SYS_pidfd_getfd, -1, 0},
	{"tgkill of another", IN_ALL, SYS_tgkill, 1, 1},
	{"tkill", IN_ALL, SYS_tkill, 1},
	{"clone with a user namespace", IN_ALL, SYS_clone, CLONE_NEWUSER | SIGCHLD},
	{"clone with a mount namespace", IN_ALL, SYS_clone, CLONE_NEWNS | SIGCHLD},
	{"clone with a network namespace", IN_ALL, SYS_clone, CLONE_NEWNET | SIGCHLD},
	{"clone3", IN_ALL, SYS_clone3, (long)zeros, 88, .answer = ENOSYS},
	{"unshare of users", IN_ALL, SYS_unshare, CLONE_NEWUSER},
	{"unshare of mounts", IN_ALL, SYS_unshare, CLONE_NEWNS},
	{"unshare of the network", NO_NET, SYS_unshare, CLONE_NEWNET},
	{"setns of mounts", IN_ALL, SYS_setns, -1, CLONE_NEWNS},
	{"setns of anything", IN_ALL, SYS_setns, -1, 0},
	{"setns of the network", NO_NET, SYS_setns, -1, CLONE_NEWNET},
	{"mount", IN_ALL, SYS_mount, 0, (long)"/", 0, MS_REMOUNT},
	{"umount2", IN_ALL, SYS_umount2, (long)"/nowhere"},
	{"fsopen", IN_ALL, SYS_fsopen, (long)"tmpfs"},
	{"pivot_root", IN_ALL, SYS_pivot_root, (long)"/nowhere", (long)"/nowhere"},
	{"chroot", IN_ALL, SYS_chroot, (long)"/"},
	{"bpf", NO_NET, SYS_bpf, 0, (long)zeros, sizeof zeros},
	{"perf_event_open", IN_ALL, SYS_perf_event_open, (long)zeros},
	{"userfaultfd", IN_ALL, SYS_userfaultfd, 0},
	{"io_uring_setup", IN_ALL, SYS_io_uring_setup, 1, (long)zeros},
	{"keyctl", IN_ALL, SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 0},
	{"add_key", IN_ALL, SYS_add_key, (long)"user", (long)"x", (long)"x", 1, KEY_SPEC_PROCESS_KEYRING},
	{"init_module", IN_ALL, SYS_init_module, (long)zeros, 1, (long)""},
	{"finit_module", IN_ALL, SYS_finit_module, -1, (long)"", 0},
	{"kexec_load", IN_ALL, SYS_kexec_load, 0, 1, 0, ~0L},
	{"reboot", IN_ALL, SYS_reboot, 0, 0, 0},
	{"swapon", IN_ALL, SYS_swapon, (long)"/nowhere"},
	{"settimeofday", IN_ALL, SYS_settimeofday, 0, 0},
	{"clock_settime", IN_ALL, SYS_clock_settime, 99, (long)zeros},
	{"personality", IN_ALL, SYS_personality, 0xffffffff},
	{"sethostname", IN_ALL, SYS_sethostname, (long)zeros, -1},
	{"execve", IN_ALL, SYS_execve, (long)"/bin/true", 0, 0},
	{"kill of another", NOT_IN_GUARD, SYS_kill, 1, 0},
	{"socket", NO_NET, SYS_socket, AF_PACKET, SOCK_RAW},
	{"open", IN_DELAY, SYS_openat, AT_FDCWD, (long)"/etc/shadow", O_RDONLY},
	{"open by the old call", IN_DELAY, SYS_open, (long)"/etc/passwd", O_RDONLY},
	{"openat2", NO_NEW_FILES, SYS_openat2, AT_FDCWD, (long)"/etc/passwd", (long)zeros, 24},
	{"readlink", NO_THREADS, SYS_readlink, (long)"/proc/self/exe", (long)zeros, 9},
	{"fork", IN_ALL, SYS_clone, SIGCHLD},
	{"fork by the old call", IN_ALL, SYS_fork},
	{"thread", NO_THREADS, SYS_clone, CLONE_THREAD},
	{"thread with a namespace", IN_ALL, SYS_clone, CLONE_THREAD | CLONE_NEWIPC},
	{"socket of the internet", NOT_IN_BROKER, SYS_socket, AF_INET, SOCK_STREAM},
	{"packet socket", NOT_IN_BROKER, SYS_socket, AF_PACKET, SOCK_RAW},
	{"connect", IN_BROKER | NO_NET, SYS_connect, -1, (long)zeros, 16},
	{"bind", IN_BROKER | NO_NET, SYS_bind, -1, (long)zeros, 16},
	{"listen", IN_ALL, SYS_listen, -1, 1},
	{"accept", IN_ALL, SYS_accept4, -1},
	{"limits of another", IN_ALL, SYS_prlimit64, 1, 7, 0, (long)zeros},
	{"ioctl that types into a terminal", IN_ALL, SYS_ioctl, 0, TIOCSTI, (long)zeros},
	{"symlink", IN_ALL, SYS_symlink, (long)"x", (long)"/nowhere/x"},
	{"link", IN_ALL, SYS_link, (long)"/nowhere", (long)"/nowhere/x"},
	{"rename", IN_ALL, SYS_rename, (long)"/nowhere", (long)"/nowhere/x"},
	{"mknod", IN_ALL, SYS_mknod, (long)"/nowhere/x", 0},
	{"chmod", NO_NEW_FILES, SYS_chmod, (long)"/nowhere", 0},
	{"chown", IN_ALL, SYS_chown, (long)"/nowhere", 0, 0},
	{"setxattr", IN_ALL, SYS_setxattr, (long)"/nowhere", (long)"user.x", (long)"", 0},
	{"inotify_init1", IN_ALL, SYS_inotify_init1, 0},
	{"fanotify_init", IN_ALL, SYS_fanotify_init, 0, 0},
	{"sched_setscheduler", IN_ALL, SYS_sched_setscheduler, 0, 0, (long)zeros},
	{"setpriority", IN_ALL, SYS_setpriority, 0, 0, 0},
	{"setuid", IN_ALL, SYS_setuid, 0},
	{"capset", IN_ALL, SYS_capset, (long)zeros, (long)zeros},
	{"seccomp", IN_ALL, SYS_seccomp, 0, 1},
	{"shmget", IN_ALL, SYS_shmget, 0, 4096, 0},
	{"socketpair", IN_ALL, SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, (long)zeros},
	{"ioctl", IN_ALL, SYS_ioctl, 0, 0},
	{"setresuid", IN_ALL, SYS_setresuid, 0, 0, 0},
	{"memfd_create", IN_ALL, SYS_memfd_create, (long)"x", 0},
	{"prctl", IN_ALL, SYS_prctl, PR_SET_DUMPABLE, 1},
	{"unlink", NO_NEW_FILES, SYS_unlink, (long)"/nowhere"},
	{"pidfd_open", NOT_IN_GUARD, SYS_pidfd_open, 1, 0},
};

/* The number of the first that was not refused, counted from 1. */
static int try_forbidden(enum sandbox_role role)
{
	for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
		int answer = forbidden[i].answer ? forbidden[i].answer : EPERM;
		long r;

		if (!(forbidden[i].roles & (1 << role)))
			continue;
		errno = 0;
		r = syscall(forbidden[i].nr, forbidden[i].a, forbidden[i].b, forbidden[i].c,
			    forbidden[i].d, forbidden[i].e);
		if (r == 0 && (forbidden[i].nr == SYS_clone || forbidden[i].nr == SYS_fork))
			_exit(0); /* the child, with its parent's stack */
		if (r >= 0 || errno != answer)
			return (int)i + 1;
	}
	return 0;
}

static int delay_tries(void) { return try_forbidden(SANDBOX_DELAY); }
static int broker_tries(void) { return try_forbidden(SANDBOX_BROKER); }
static int guard_tries(void) { return try_forbidden(SANDBOX_GUARD); }
static int parser_tries(void) { return try_forbidden(SANDBOX_PARSER); }
static int reader_tries(void) { return try_forbidden(SANDBOX_READER); }

static void assert_all_refused(enum sandbox_role role, const char *name, int (*fn)(void))
{
	int n = in_role(role, fn);

	if (n)
		fail_msg("%s: %s: wanted it refused, seen it let through (or the exit status %d)", name,
			 n <= (int)(sizeof forbidden / sizeof forbidden[0]) ? forbidden[n - 1].name : "?", n);
}

static void test_no_role_does_what_is_forbidden(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	print_message("its leak checker needs ptrace; the plain build covers this\n");
	return;
#endif
	assert_all_refused(SANDBOX_PARSER, "parser", parser_tries);
	assert_all_refused(SANDBOX_READER, "reader", reader_tries);
	assert_all_refused(SANDBOX_GUARD, "guard", guard_tries);
	assert_all_refused(SANDBOX_BROKER, "broker", broker_tries);
	assert_all_refused(SANDBOX_DELAY, "delay engine", delay_tries);
}

/* The owner's children run what they like, but for this. */
static int try_as_owner(void)
{
	static const long refused[] = {
		SYS_acct, SYS_delete_module, SYS_finit_module, SYS_init_module, SYS_kexec_load,
		SYS_open_by_handle_at, SYS_reboot, SYS_swapoff, SYS_swapon,
	};
	char *const argv[] = {"true", NULL};

	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (syscall(refused[i], -1, -1, -1, -1) >= 0 || errno != EPERM)
			return (int)i + 2;
	if (try_socket() || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) ||
	    unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return 1;
	execv("/bin/true", argv);
	return 1;
}

static void test_owner_is_refused_little(void **state)
{
	if (geteuid() == 0)
		assert_int_equal(in_role(SANDBOX_OWNER, try_as_owner), 0);
}

static int is_nobody(void)
{
	return getuid() == 65534 && geteuid() == 65534 && getgid() == 65534 ? 0 : 1;
}

static void *thread(void *data)
{
	return data;
}

/* clone3 is told not to exist; glibc then takes clone. */
static int start_thread(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, thread, NULL) == 0 ? pthread_join(t, NULL) : 1;
}

static int raise_in_itself(void)
{
	signal(SIGUSR1, SIG_IGN);
	return raise(SIGUSR1);
}

/* getpid of the x32 ABI, whose numbers have a bit of their own. */
static int call_of_another_abi(void)
{
	return syscall(0x40000000L | SYS_getpid) < 0 ? errno : 0;
}

static void test_delay_engine_is_nobody(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	bool stays = true; /* for its leak checker */
#else
	bool stays = geteuid() != 0;
#endif

	if (!stays)
		assert_int_equal(in_role(SANDBOX_DELAY, is_nobody), 0);
}

static void test_roles_start_threads_and_signal_themselves(void **state)
{
	assert_int_equal(in_role(SANDBOX_GUARD, start_thread), 0);
	assert_int_equal(in_role(SANDBOX_READER, start_thread), 0);
	assert_int_equal(in_role(SANDBOX_DELAY, raise_in_itself), 0);
	assert_int_equal(in_role(SANDBOX_GUARD, raise_in_itself), 0);
}

static void test_call_of_another_abi_ends_the_process(void **state)
{
#ifdef __x86_64__
	assert_int_equal(in_role(SANDBOX_DELAY, call_of_another_abi), 128 + SIGSYS);
	assert_int_equal(in_role(SANDBOX_GUARD, call_of_another_abi), 128 + SIGSYS);
#endif
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
		cmocka_unit_test(test_no_role_does_what_is_forbidden),
		cmocka_unit_test(test_owner_is_refused_little),
		cmocka_unit_test(test_delay_engine_is_nobody),
		cmocka_unit_test(test_roles_start_threads_and_signal_themselves),
		cmocka_unit_test(test_call_of_another_abi_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
