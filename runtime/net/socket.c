/*
 * Sockets: made non-blocking and registered as they come, so that accept and connect cost one
 * system call more than a blocking program's (epoll_ctl).
 */
#include "../sched/slow.h"
#include "poll.h"

#include "sys.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESS_MIN_MS = 2000 }; /* of rt_dial, for an address when time is shared among several */

static uint32_t flags_of_family(int family)
{
	return family == AF_INET || family == AF_INET6 ? DESC_SOCKET | DESC_STREAM : DESC_SOCKET;
}

static __attribute__((noinline)) int new_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* The errors of getaddrinfo that a caller may want to tell apart. */
static int lookup_error(int code)
{
	switch (code) {
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_MEMORY:
		return -ENOMEM;
	default:
		return -ENOENT;
	}
}

/* Listening ------------------------------------------------------------------------------------- */

static __attribute__((noinline)) int bind_listen(int fd, const struct addrinfo *a, int backlog)
{
	static const int one = 1, zero = 0;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (a->ai_family == AF_INET6) /* every address of either family when it is "::" */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	if (a->ai_family == AF_INET6 || a->ai_family == AF_INET) /* accepted sockets inherit it */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, backlog) < 0 ? -errno : 0;
}

static int listen_at(const struct addrinfo *a, int backlog)
{
	int fd = new_socket(a->ai_family), r;

	if (fd < 0)
		return fd;
	r = bind_listen(fd, a, backlog);
	if (r == 0)
		r = desc_open(fd, flags_of_family(a->ai_family));
	if (r < 0)
		rt_close_fd(fd);
	return r < 0 ? r : fd;
}

/* The first address that can be bound. */
static int listen_on(const char *host, const char *port, int family, int backlog)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_PASSIVE};
	struct addrinfo *list;
	int r = rt_lookup(host, port, &hints, &list), fd = -ENOENT;

	if (r)
		return lookup_error(r);
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = listen_at(a, backlog);
	freeaddrinfo(list);
	return fd;
}

int rt_listen(const char *host, const char *port, int backlog)
{
	bool every = !host || !strcmp(host, "*");
	int fd;

	if (!every)
		return listen_on(host, port, AF_UNSPEC, backlog);
	fd = listen_on(NULL, port, AF_INET6, backlog);
	return fd < 0 ? listen_on(NULL, port, AF_INET, backlog) : fd;
}

static int accept_blocking(int fd, struct sockaddr *addr, unsigned *addr_bytes, int64_t deadline)
{
	int r = 0;

	rt_enter_syscall();
	if (deadline != RT_FOREVER)
		r = sys_poll(fd, false, deadline);
	if (r == 0)
		r = sys_accept(fd, addr, addr_bytes, true);
	rt_exit_syscall();
	return r;
}

static int accept_open(struct desc *d, int fd, struct sockaddr *addr, unsigned *addr_bytes,
		       int64_t deadline)
{
	uint32_t seen;
	int r, w;

	for (;;) {
		slow_short_call();
		seen = desc_events(d, POLL_READ);
		r = sys_accept(fd, addr, addr_bytes, true);
		if (r != -EAGAIN)
			return r;
		w = desc_wait(d, POLL_READ, seen, deadline);
		if (w < 0)
			return w;
	}
}

int rt_accept(int fd, struct sockaddr *addr, unsigned *addr_bytes, int64_t deadline)
{
	struct desc *d;
	int r = desc_enter(fd, &d), conn;

	if (r < 0)
		return r;
	conn = d ? accept_open(d, fd, addr, addr_bytes, deadline)
		 : accept_blocking(fd, addr, addr_bytes, deadline);
	if (conn >= 0) {
		r = desc_open(conn, d ? d->flags : DESC_SOCKET);
		if (r < 0) {
			rt_close_fd(conn);
			conn = r;
		}
	}
	if (d)
		desc_leave(d);
	poll_here();
	return conn;
}

/* Connecting ------------------------------------------------------------------------------------ */

static __attribute__((noinline)) int begin_connect(int fd, const struct sockaddr *addr, socklen_t n)
{
	return connect(fd, addr, n) < 0 ? -errno : 0;
}

/* 0 connected, -EINPROGRESS still trying, or why it failed. */
static __attribute__((noinline)) int connect_result(int fd)
{
	struct sockaddr_storage peer;
	socklen_t n = sizeof(int), m = sizeof peer;
	int code;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
		return -errno;
	if (code)
		return -code;
	return getpeername(fd, (struct sockaddr *)&peer, &m) < 0 ? -EINPROGRESS : 0;
}

static int wait_connected(int fd, int64_t deadline)
{
	struct desc *d;
	int r = desc_enter(fd, &d);

	if (!d)
		return r < 0 ? r : -EBADF;
	/* What came while nobody waited is kept for the first who does. */
	do {
		uint32_t seen = desc_events(d, POLL_WRITE);

		r = desc_wait(d, POLL_WRITE, seen, deadline);
		if (r == 0)
			r = connect_result(fd);
	} while (r == -EINPROGRESS);
	desc_leave(d);
	return r;
}

static int connect_to(const struct sockaddr *addr, socklen_t n, int64_t deadline)
{
	int fd = new_socket(addr->sa_family), r, open;

	if (fd < 0)
		return fd;
	slow_short_call();
	/* An interrupted connect goes on in the background, as a non-blocking one does. */
	r = begin_connect(fd, addr, n);
	open = r == 0 || r == -EINPROGRESS || r == -EINTR
		       ? desc_open(fd, flags_of_family(addr->sa_family))
		       : r;
	if (open < 0)
		r = open;
	else if (r < 0)
		r = wait_connected(fd, deadline);
	if (r < 0)
		rt_close_fd(fd);
	return r < 0 ? r : fd;
}

int rt_connect(const struct sockaddr *addr, unsigned addr_bytes, int64_t deadline)
{
	int fd = connect_to(addr, addr_bytes, deadline);

	poll_here();
	return fd;
}

/* The time that is left is shared among the addresses that are left, so that one which swallows
 * packets does not use up all of it. */
static int64_t share_of(int64_t deadline, int left)
{
	int64_t now, share;

	if (deadline == RT_FOREVER || left <= 1)
		return deadline;
	now = rt_now();
	share = (deadline - now) / left;
	if (share < ADDRESS_MIN_MS * RT_MSEC)
		share = ADDRESS_MIN_MS * RT_MSEC;
	return deadline - now < share ? deadline : now + share;
}

int rt_dial(const char *host, const char *port, int64_t deadline)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int r = rt_lookup(host, port, &hints, &list), left = 0, fd = -ENOENT;

	if (r)
		return lookup_error(r);
	for (struct addrinfo *a = list; a; a = a->ai_next)
		left++;
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next, left--)
		fd = connect_to(a->ai_addr, a->ai_addrlen, share_of(deadline, left));
	freeaddrinfo(list);
	poll_here();
	return fd;
}
