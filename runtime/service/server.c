/*
 * The listening side: one coroutine that accepts, and the list of connections that a drain walks.
 *
 * A drain does not wake the coroutines of idle connections: it shuts the reading side of their
 * sockets, which looks to them like a client that has gone, so there is one way out of the wait.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BACKLOG = 1024, SWEEP_MS = 20, EXTRA_MAX = 256, BACKOFF_MAX_MS = 1000 };

static void count_connections(struct http_server *s, int change)
{
	if (s->o.listener && s->o.listener->connections)
		s->o.listener->connections(change);
}

static void server_unref(struct http_server *s)
{
	/* acq_rel: what the others did to it comes before the last one frees it */
	if (atomic_fetch_sub_explicit(&s->users, 1, memory_order_acq_rel) == 1)
		free(s);
}

void server_forget(struct http_server *s, struct conn *c)
{
	count_connections(s, -1); /* before a drain can find that it was the last */
	rt_lock(&s->lock);
	*(c->prev ? &c->prev->next : &s->conns) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	s->n_conns--;
	/* Under the lock: a drain that finds it in the list may still use the descriptor. */
	rt_close_fd(c->fd);
	rt_unlock(&s->lock);
	free(c);
	server_unref(s);
}

static void take_address(struct conn *c, const struct sockaddr_storage *sa)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (sa->ss_family == AF_INET6) {
		memcpy(c->client, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	} else if (sa->ss_family == AF_INET) {
		memcpy(c->client, mapped, 12);
		memcpy(c->client + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	}
}

static unsigned count_client(const struct http_server *s, const struct conn *as)
{
	unsigned n = 0;

	for (const struct conn *c = s->conns; c; c = c->next)
		n += !memcmp(c->client, as->client, sizeof c->client);
	return n;
}

/* Decides what a new connection may hear; false when there are too many to say even that. */
static bool link_conn(struct http_server *s, struct conn *c)
{
	unsigned max = s->o.max_connections, extra = max / 8 < EXTRA_MAX ? max / 8 + 1 : EXTRA_MAX;
	bool room;

	rt_lock(&s->lock);
	room = s->n_conns < max + extra;
	if (s->n_conns >= max)
		c->refuse = 503;
	else if (s->o.max_per_client && count_client(s, c) >= s->o.max_per_client)
		c->refuse = 429;
	if (room) {
		c->next = s->conns;
		if (c->next)
			c->next->prev = c;
		s->conns = c;
		s->n_conns++;
		atomic_fetch_add_explicit(&s->users, 1, memory_order_relaxed);
	}
	rt_unlock(&s->lock);
	return room;
}

static void adopt(struct http_server *s, int fd, const struct sockaddr_storage *sa)
{
	static const struct rt_attr attr = {.name = "http connection"};
	struct conn *c = malloc(sizeof *c);

	if (!c) {
		rt_close_fd(fd);
		return;
	}
	memset(c, 0, offsetof(struct conn, req)); /* the rest is buffers */
	c->server = s;
	c->fd = fd;
	c->opened_ns = c->now_ns = rt_now();
	c->req.http_1_0 = false;
	c->req.method = HTTP_GET;
	take_address(c, sa);
	if (!link_conn(s, c)) {
		rt_close_fd(fd);
		free(c);
		return;
	}
	count_connections(s, 1);
	if (rt_go_attr(conn_main, c, &attr) < 0)
		server_forget(s, c);
}

/* 0, or why there is none. */
static int accept_one(struct http_server *s, int64_t deadline)
{
	struct sockaddr_storage sa = {0};
	unsigned len = sizeof sa;
	int fd = rt_accept(s->fd, (struct sockaddr *)&sa, &len, deadline);

	if (fd < 0)
		return fd;
	adopt(s, fd, &sa);
	return 0;
}

static bool is_short_of_something(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* Out of descriptors, the next accept would fail as the last one did: wait, longer each time. What
 * happened to one connection (ECONNABORTED and the like) says nothing about the next. */
static void accept_main(void *arg)
{
	struct http_server *s = arg;
	int64_t pause_ms = 0;
	int r;

	while ((r = accept_one(s, RT_FOREVER)) != -ECANCELED && r != -EBADF) {
		if (!is_short_of_something(r)) {
			pause_ms = 0;
			continue;
		}
		pause_ms = pause_ms ? pause_ms * 2 : 5;
		if (pause_ms > BACKOFF_MAX_MS)
			pause_ms = BACKOFF_MAX_MS;
		rt_sleep(pause_ms * RT_MSEC);
	}
	rt_group_done(&s->accepting);
	server_unref(s);
}

static void learn_address(struct http_server *s)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&sa;
	const struct sockaddr_in *four = (const struct sockaddr_in *)&sa;
	char host[INET6_ADDRSTRLEN];

	if (getsockname(s->fd, (struct sockaddr *)&sa, &len) < 0)
		return;
	if (sa.ss_family == AF_INET6 &&
	    inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host))
		snprintf(s->address, sizeof s->address, "[%s]:%u", host, ntohs(six->sin6_port));
	else if (sa.ss_family == AF_INET && inet_ntop(AF_INET, &four->sin_addr, host, sizeof host))
		snprintf(s->address, sizeof s->address, "%s:%u", host, ntohs(four->sin_port));
}

static void set_default(int64_t *value, int64_t standard)
{
	if (*value <= 0)
		*value = standard;
}

static struct http_server *new_server(const struct http_options *o)
{
	struct http_server *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	s->o = *o;
	if (!s->o.max_connections)
		s->o.max_connections = 4096;
	if (!s->o.max_requests)
		s->o.max_requests = 1024;
	if (!s->o.max_body)
		s->o.max_body = 64 << 10;
	set_default(&s->o.head_ns, 10 * RT_SEC);
	set_default(&s->o.body_ns, 20 * RT_SEC);
	set_default(&s->o.idle_ns, 60 * RT_SEC);
	set_default(&s->o.write_ns, 20 * RT_SEC);
	return s;
}

int http_serve(const struct http_options *o, struct http_server **ret)
{
	static const struct rt_attr attr = {.name = "http accept"};
	struct http_server *s;
	int fd = rt_listen(o->host, o->port, BACKLOG);

	if (fd < 0)
		return fd;
	s = new_server(o);
	s->fd = fd;
	atomic_store(&s->users, 2);
	learn_address(s);
	rt_group_add(&s->accepting, 1);
	if (rt_go_attr(accept_main, s, &attr) < 0) {
		rt_close_fd(fd);
		free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

const char *http_address(const struct http_server *s)
{
	return s->address;
}

/* A connection that never had an answer may have its first request on the way: it gets a second. */
static void close_idle(struct http_server *s)
{
	int64_t now = rt_now();

	rt_lock(&s->lock);
	for (struct conn *c = s->conns; c; c = c->next)
		if (atomic_load_explicit(&c->idle, memory_order_relaxed) &&
		    (atomic_load_explicit(&c->served, memory_order_relaxed) ||
		     now > c->opened_ns + RT_SEC))
			shutdown(c->fd, SHUT_RD);
	rt_unlock(&s->lock);
}

/* True when there were none. */
static bool shut_down_all(struct http_server *s)
{
	bool none;

	rt_lock(&s->lock);
	none = !s->conns;
	for (struct conn *c = s->conns; c; c = c->next)
		shutdown(c->fd, SHUT_RDWR);
	rt_unlock(&s->lock);
	return none;
}

static bool is_empty(struct http_server *s)
{
	bool empty;

	rt_lock(&s->lock);
	empty = !s->conns;
	rt_unlock(&s->lock);
	return empty;
}

bool http_drain(struct http_server *s, int64_t timeout_ns)
{
	int64_t end = rt_now() + timeout_ns;
	bool drained;

	atomic_store(&s->draining, true);
	while (accept_one(s, 0) == 0) /* what clients have opened already */
		;
	rt_close_fd(s->fd);
	rt_group_wait(&s->accepting);
	while (!is_empty(s) && rt_now() < end) {
		close_idle(s);
		rt_sleep(SWEEP_MS * RT_MSEC);
	}
	drained = shut_down_all(s);
	server_unref(s);
	return drained;
}
