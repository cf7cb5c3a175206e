#include "role.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static int self_is_brunt(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	char *deleted, *base;

	if (n < 0)
		return 0;
	path[n] = '\0';
	deleted = strstr(path, " (deleted)");
	if (deleted)
		*deleted = '\0';
	base = strrchr(path, '/');
	return base && streq(base + 1, "brunt");
}

/* Moves the descriptors out of each other's way, then to 3, 4, ... */
static int place_fds(const int *fds, size_t n)
{
	int high[ROLE_FDS_MAX];

	for (size_t i = 0; i < n; i++) {
		high[i] = fcntl(fds[i], F_DUPFD, ROLE_FD_FIRST + ROLE_FDS_MAX);
		if (high[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < n; i++)
		if (dup2(high[i], ROLE_FD_FIRST + (int)i) < 0)
			return -errno;
	return (int)syscall(SYS_close_range, ROLE_FD_FIRST + n, ~0U, 0);
}

static void child(const char *role, int (*role_main)(int argc, char **argv), const int *fds,
		  size_t n, int is_brunt)
{
	char *const argv[] = {"brunt", (char *)role, NULL};
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (place_fds(fds, n) < 0)
		_exit(127);
	if (!is_brunt)
		_exit(role_main(2, (char **)argv));
	execv("/proc/self/exe", argv);
	_exit(127);
}

int role_spawn(const char *role, int (*role_main)(int argc, char **argv), const int *fds, size_t n,
	       pid_t *ret_pid, struct err *e)
{
	int is_brunt = self_is_brunt(), pidfd;
	pid_t pid = fork();

	if (pid < 0)
		return err_errno(e, errno, "%s: fork", role);
	if (pid == 0)
		child(role, role_main, fds, n, is_brunt);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		int code = errno;

		kill(pid, SIGKILL);
		return err_errno(e, code, "%s: pidfd_open", role);
	}
	*ret_pid = pid;
	return pidfd;
}
