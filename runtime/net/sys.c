#include "../rt.h"
#include "sys.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static ssize_t once(enum sys_op op, int fd, void *arg, size_t n)
{
	struct msghdr m = {.msg_iov = arg, .msg_iovlen = n};

	switch (op) {
	case SYS_READ:
		return read(fd, arg, n);
	case SYS_WRITE:
		return write(fd, arg, n);
	case SYS_RECV:
		return recv(fd, arg, n, 0);
	case SYS_SEND:
		return send(fd, arg, n, MSG_NOSIGNAL);
	case SYS_WRITEV:
		return writev(fd, arg, (int)n);
	case SYS_SENDV:
		return sendmsg(fd, &m, MSG_NOSIGNAL);
	}
	errno = EINVAL;
	return -1;
}

__attribute__((noinline)) ssize_t sys_io(enum sys_op op, int fd, void *arg, size_t n)
{
	ssize_t r;

	do
		r = once(op, fd, arg, n);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

__attribute__((noinline)) int sys_accept(int fd, struct sockaddr *addr, unsigned *addr_bytes,
					 bool nonblock)
{
	int r;

	do
		r = accept4(fd, addr, addr_bytes, SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0));
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static void time_left(int64_t deadline, struct timespec *ret)
{
	int64_t left = deadline - rt_now();

	left = left < 0 ? 0 : left;
	*ret = (struct timespec){.tv_sec = left / RT_SEC, .tv_nsec = left % RT_SEC};

}

__attribute__((noinline)) int sys_poll(int fd, bool writable, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = writable ? POLLOUT : POLLIN};
	struct timespec ts;
	int r;

	do {
		if (deadline != RT_FOREVER)
			time_left(deadline, &ts);
		r = ppoll(&p, 1, deadline == RT_FOREVER ? NULL : &ts, NULL);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	return p.revents & POLLNVAL ? -EBADF : 0;
}
