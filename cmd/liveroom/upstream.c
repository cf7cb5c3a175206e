/*
 * A connection per request: what a fault does to connecting is then part of what is measured, and
 * there is no pool whose stale members would have to be told from a pod that died.
 */
#include "upstream.h"

#include "metrics.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
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

	if (rt_lookup(o->host, o->port, &hints, &list))
		return 0;
	for (struct addrinfo *a = list; a && n < ADDRESSES_MAX; a = a->ai_next, n++) {
		memcpy(&ret[n].sa, a->ai_addr, a->ai_addrlen);
		ret[n].len = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return n;
}

static bool receive_answer(int fd, struct upstream_answer *ret, int64_t deadline)
{
	struct http_response head;
	char buf[HTTP_HEAD_MAX];
	size_t len = 0;
	ssize_t n;
	int used;

	while ((used = http_parse_response(buf, len, &head)) == 0) {
		n = rt_read(fd, buf + len, sizeof buf - len, deadline);
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
		n = rt_read(fd, ret->body + ret->len, head.content_length - ret->len, deadline);
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
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&a->sa;
	const struct sockaddr_in *four = (const struct sockaddr_in *)&a->sa;
	char host[INET6_ADDRSTRLEN] = "";

	if (a->sa.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
		snprintf(ret, size, "[%s]:%u", host, ntohs(six->sin6_port));
	} else {
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
		snprintf(ret, size, "%s:%u", host, ntohs(four->sin_port));
	}
}

static int connect_to(const struct address *a, int64_t deadline)
{
	return rt_connect((const struct sockaddr *)&a->sa, a->len, deadline);
}

static bool try_address(const struct upstream *u, const struct address *a, const char *target,
			struct upstream_answer *ret)
{
	int64_t start = rt_now(), end = start + UPSTREAM_TRY_MS * RT_MSEC;
	autofd int fd = connect_to(a, start + UPSTREAM_CONNECT_MS * RT_MSEC);
	char request[1024];
	int n = snprintf(request, sizeof request,
			 "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", target,
			 u->origin.host, u->origin.port);

	if (fd < 0 || n >= (int)sizeof request || rt_write_all(fd, request, n, end) < 0 ||
	    !receive_answer(fd, ret, end) || ret->status >= 500) {
		upstream_answer_done(ret);
		return false;
	}
	name_address(a, ret->address, sizeof ret->address);
	return true;
}

bool upstream_get(struct upstream *u, const char *target, struct upstream_answer *ret)
{
	int64_t end = rt_now() + UPSTREAM_TOTAL_MS * RT_MSEC;
	struct address list[ADDRESSES_MAX];
	size_t n = resolve(&u->origin, list);
	unsigned turn = atomic_fetch_add(&u->turn, 1);

	*ret = (struct upstream_answer){0};
	for (int i = 0; n && i < UPSTREAM_TRIES && rt_now() < end; i++) {
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
		autofd int fd = connect_to(&list[i], rt_now() + UPSTREAM_CONNECT_MS * RT_MSEC);

		if (fd >= 0)
			return true;
	}
	return false;
}
