/*
 * A connection per request: what a fault does to connecting is then part of what is measured, and
 * there is no pool whose stale members would have to be told from a pod that died.
 */
#include "upstream.h"

#include "metrics.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>

enum { ADDRESSES_MAX = 16 };

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* The present addresses; 0 when the name is unknown. */
static size_t resolve(const struct http_origin *o, struct address *ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	size_t n = 0;

	if (getaddrinfo(o->host, o->port, &hints, &list))
		return 0;
	for (struct addrinfo *a = list; a && n < ADDRESSES_MAX; a = a->ai_next, n++) {
		memcpy(&ret[n].sa, a->ai_addr, a->ai_addrlen);
		ret[n].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return n;
}

static int ms_until(int64_t deadline_ns)
{
	int64_t left = deadline_ns - now_ns();

	return left <= 0 ? 0 : (left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;
}

static bool wait_fd(int fd, short events, int64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = events};
	int r;

	do
		r = poll(&p, 1, ms_until(deadline_ns));
	while (r < 0 && errno == EINTR);
	return r > 0;
}

static int connect_to(const struct address *a, int64_t deadline_ns)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(int);
	int code = 0;

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0)
		return fd;
	if (errno == EINPROGRESS && wait_fd(fd, POLLOUT, deadline_ns) &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) == 0 && code == 0)
		return fd;
	close(fd);
	return -1;
}

static bool send_all(int fd, const char *text, size_t len, int64_t deadline_ns)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && (errno != EAGAIN || !wait_fd(fd, POLLOUT, deadline_ns)))
			return false;
		if (n > 0) {
			text += n;
			len -= n;
		}
	}
	return true;
}

/* Up to size bytes; 0 at the end of the stream, -1 on an error or when time is up. */
static ssize_t receive(int fd, char *buf, size_t size, int64_t deadline_ns)
{
	for (;;) {
		ssize_t n = recv(fd, buf, size, 0);

		if (n >= 0)
			return n;
		if (errno != EAGAIN || !wait_fd(fd, POLLIN, deadline_ns))
			return -1;
	}
}

static bool receive_answer(int fd, struct upstream_answer *ret, int64_t deadline_ns)
{
	struct http_response head;
	char buf[HTTP_HEAD_MAX];
	size_t len = 0;
	ssize_t n;
	int used;

	while ((used = http_parse_response(buf, len, &head)) == 0) {
		n = receive(fd, buf + len, sizeof buf - len, deadline_ns);
		if (n <= 0)
			return false;
		len += n;
	}
	if (used < 0 || head.content_length < 0 || head.content_length > UPSTREAM_BODY_MAX)
		return false;
	ret->body = malloc(head.content_length + 1);
	if (!ret->body)
		abort();
	ret->len = len - used > (size_t)head.content_length ? (size_t)head.content_length
							    : len - used;
	memcpy(ret->body, buf + used, ret->len);
	while (ret->len < (size_t)head.content_length) {
		n = receive(fd, ret->body + ret->len, head.content_length - ret->len, deadline_ns);
		if (n <= 0)
			return false;
		ret->len += n;
	}
	ret->body[ret->len] = '\0';
	ret->status = head.status;
	return true;
}

static void name_address(const struct address *a, char *ret, size_t size)
{
	char host[64], port[8];

	if (getnameinfo((const struct sockaddr *)&a->sa, a->len, host, sizeof host, port,
			sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(ret, size, a->sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static bool try_address(const struct upstream *u, const struct address *a, const char *target,
			struct upstream_answer *ret)
{
	int64_t start = now_ns(), end = start + UPSTREAM_TRY_MS * NSEC_PER_MSEC;
	autofd int fd = connect_to(a, start + UPSTREAM_CONNECT_MS * NSEC_PER_MSEC);
	char request[1024];
	int n = snprintf(request, sizeof request,
			 "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", target,
			 u->origin.host, u->origin.port);

	if (fd < 0 || n >= (int)sizeof request || !send_all(fd, request, n, end) ||
	    !receive_answer(fd, ret, end) || ret->status >= 500) {
		upstream_answer_done(ret);
		return false;
	}
	name_address(a, ret->address, sizeof ret->address);
	return true;
}

bool upstream_get(struct upstream *u, const char *target, struct upstream_answer *ret)
{
	int64_t end = now_ns() + UPSTREAM_TOTAL_MS * NSEC_PER_MSEC;
	struct address list[ADDRESSES_MAX];
	size_t n = resolve(&u->origin, list);
	unsigned turn = atomic_fetch_add(&u->turn, 1);

	*ret = (struct upstream_answer){0};
	for (int i = 0; n && i < UPSTREAM_TRIES && now_ns() < end; i++) {
		if (i)
			metric_add(METRIC_live_upstream_retries, 1);
		if (try_address(u, &list[(turn + i) % n], target, ret)) {
			ret->tries = i + 1;
			return true;
		}
		metric_add(METRIC_live_upstream_failures, 1);
	}
	return false;
}

void upstream_answer_done(struct upstream_answer *a)
{
	free(a->body);
	*a = (struct upstream_answer){0};
}

bool upstream_reachable(struct upstream *u)
{
	struct address list[ADDRESSES_MAX];
	size_t n = resolve(&u->origin, list);

	for (size_t i = 0; i < n; i++) {
		int fd = connect_to(&list[i], now_ns() + UPSTREAM_CONNECT_MS * NSEC_PER_MSEC);

		if (fd >= 0) {
			close(fd);
			return true;
		}
	}
	return false;
}
