/*
 * Files: the system call first, then the wait. Most calls find their data or their room and never
 * come near the poller; a non-blocking call is too short to be worth handing the scheduling context
 * over. A descriptor that is not registered blocks its thread between rt_enter_syscall() and
 * rt_exit_syscall(), and sysmon takes the context from it.
 */
#include "../sched/slow.h"
#include "poll.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t io_open(struct desc *d, enum sys_op op, int fd, void *arg, size_t n,
		       int64_t deadline)
{
	uint32_t seen;
	ssize_t r;
	int w;

	for (;;) {
		slow_short_call();
		seen = desc_events(d, POLL_WRITE);
		r = sys_io(op, fd, arg, n);
		if (r != -EAGAIN)
			return r;
		w = desc_wait(d, POLL_WRITE, seen, deadline);
		if (w < 0)
			return w;
	}
}

/* A socket that was emptied is waited for without a try, except the last one at the deadline. */
static ssize_t read_open(struct desc *d, int fd, void *buf, size_t n, int64_t deadline)
{
	enum sys_op op = d->flags & DESC_SOCKET ? SYS_RECV : SYS_READ;
	bool skip = desc_is_drained(d);
	uint32_t reading, seen;
	ssize_t r;
	int w;

	for (;;) {
		seen = desc_events(d, POLL_READ);
		if (!skip) {
			slow_short_call();
			reading = desc_reading(d);
			r = sys_io(op, fd, buf, n);
			if (r > 0 && (size_t)r < n)
				desc_drained(d, reading);
			if (r != -EAGAIN)
				return r;
		}
		w = desc_wait(d, POLL_READ, seen, deadline);
		if (w < 0 && !(skip && w == -ETIMEDOUT))
			return w;
		skip = false;
	}
}

static bool is_read(enum sys_op op)
{
	return op == SYS_READ || op == SYS_RECV;
}

static ssize_t io_blocking(enum sys_op op, int fd, void *arg, size_t n, int64_t deadline)
{
	ssize_t r = 0;

	rt_enter_syscall();
	if (deadline != RT_FOREVER)
		r = sys_poll(fd, !is_read(op), deadline);
	if (r == 0)
		r = sys_io(op, fd, arg, n);
	rt_exit_syscall();
	return r;
}

static enum sys_op of_socket(enum sys_op op)
{
	return op == SYS_WRITE ? SYS_SEND : op == SYS_WRITEV ? SYS_SENDV : op;
}

static ssize_t transfer(enum sys_op op, int fd, void *arg, size_t n, int64_t deadline)
{
	struct desc *d;
	ssize_t r = desc_enter(fd, &d);

	if (r < 0)
		return r;
	if (!d)
		return io_blocking(op, fd, arg, n, deadline);
	if (is_read(op))
		r = read_open(d, fd, arg, n, deadline);
	else
		r = io_open(d, d->flags & DESC_SOCKET ? of_socket(op) : op, fd, arg, n, deadline);
	desc_leave(d);
	return r;
}

ssize_t rt_read(int fd, void *buf, size_t n, int64_t deadline)
{
	ssize_t r = transfer(SYS_READ, fd, buf, n, deadline);

	poll_here();
	return r;
}

ssize_t rt_write(int fd, const void *buf, size_t n, int64_t deadline)
{
	ssize_t r = transfer(SYS_WRITE, fd, (void *)buf, n, deadline);

	poll_here();
	return r;
}

ssize_t rt_write_all(int fd, const void *buf, size_t n, int64_t deadline)
{
	size_t done = 0;
	ssize_t r = 0;

	while (r >= 0 && done < n) {
		r = transfer(SYS_WRITE, fd, (char *)buf + done, n - done, deadline);
		if (r > 0)
			done += (size_t)r;
	}
	poll_here();
	return r < 0 ? r : (ssize_t)done;
}

ssize_t rt_writev(int fd, const struct iovec *v, int n, int64_t deadline)
{
	ssize_t r = n < 0 ? -EINVAL
			  : transfer(SYS_WRITEV, fd, (struct iovec *)v, (size_t)n, deadline);

	poll_here();
	return r;
}

/* The level, then the next event: one that was taken in the past says nothing. */
static int wait_open(struct desc *d, int fd, bool writable, int64_t deadline)
{
	enum poll_dir dir = writable ? POLL_WRITE : POLL_READ;
	uint32_t seen;
	int r;

	for (;;) {
		slow_short_call();
		seen = desc_events(d, dir);
		r = sys_poll(fd, writable, 0);
		if (r != -ETIMEDOUT)
			return r;
		r = desc_wait(d, dir, seen, deadline);
		if (r < 0)
			return r;
	}
}

int rt_wait_fd(int fd, bool writable, int64_t deadline)
{
	struct desc *d;
	int r = desc_enter(fd, &d);

	if (d) {
		r = wait_open(d, fd, writable, deadline);
		desc_leave(d);
	} else if (r == 0) {
		rt_enter_syscall();
		r = sys_poll(fd, writable, deadline);
		rt_exit_syscall();
	}
	poll_here();
	return r;
}

static __attribute__((noinline)) uint32_t flags_of(int fd)
{
	int type, domain;
	socklen_t n = sizeof type, m = sizeof domain;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &m) < 0)
		return 0;
	if (type == SOCK_STREAM && (domain == AF_INET || domain == AF_INET6))
		return DESC_SOCKET | DESC_STREAM;
	return DESC_SOCKET;
}

static __attribute__((noinline)) int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int rt_fd_open(int fd)
{
	int r = desc_open(fd, flags_of(fd));

	if (r == 0)
		r = set_nonblocking(fd);
	poll_here();
	return r;
}

static __attribute__((noinline)) int sys_close(int fd)
{
	return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

int rt_close_fd(int fd)
{
	int r = desc_close(fd);

	if (r > 0) {
		slow_short_call();
		r = sys_close(fd);
	} else if (r == 0) { /* the last close of a file may write to a disk */
		rt_enter_syscall();
		r = sys_close(fd);
		rt_exit_syscall();
	}
	poll_here();
	return r;
}
