/*
 * A pid may be given to another process between looking and signalling; a pidfd cannot. The start
 * time of /proc/PID/stat tells a reused pid where only a number was written down (lab and run
 * records that outlive their process).
 */
#include "pidfd.h"

#include "../base/clock.h"
#include "../base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/pidfd.h>

int pidfd_open_pid(pid_t pid, struct err *e)
{
	int fd = pidfd_open(pid, 0);

	return fd < 0 ? err_errno(e, errno, "open pidfd of process %d", (int)pid) : fd;
}

int pidfd_signal(int pidfd, int sig, struct err *e)
{
	if (pidfd_send_signal(pidfd, sig, NULL, 0) < 0)
		return err_errno(e, errno, "send signal %d through pidfd", sig);
	return 0;
}

int pidfd_wait(int pidfd, int timeout_ms)
{
	int64_t end_ns = clock_now_ns() + timeout_ms * NSEC_PER_MSEC;
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;

	while ((n = poll(&p, 1, timeout_ms)) < 0 && errno == EINTR)
		if (timeout_ms > 0)
			timeout_ms = MAX_OF((end_ns - clock_now_ns()) / NSEC_PER_MSEC, 0);
	return n > 0;
}

/* What /proc/PID/stat has after the name, which stands in parentheses and may hold spaces and
 * parentheses itself: " S 1 ..." from field 3, the state, on. */
static int pidfd_read_stat(pid_t pid, char *buf, size_t len, const char **ret)
{
	char path[64];
	autofd int fd = -1;
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	buf[n] = '\0';
	*ret = strrchr(buf, ')');
	if (!*ret)
		return -EIO;
	++*ret;
	return 0;
}

int pidfd_start_time(pid_t pid, unsigned long long *ret)
{
	const char *p;
	char buf[1024];
	int r = pidfd_read_stat(pid, buf, sizeof buf, &p);

	if (r < 0)
		return r;
	for (int field = 3; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, "%llu", ret) == 1 ? 0 : -EIO;
}

bool pidfd_stands_still(pid_t pid)
{
	const char *p;
	char buf[1024], state;

	return pidfd_read_stat(pid, buf, sizeof buf, &p) < 0 || sscanf(p, " %c", &state) != 1 ||
	       strchr("TtZXx", state);
}
