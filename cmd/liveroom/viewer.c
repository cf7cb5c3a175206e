/*
 * One request of a viewer, written down as it happens: connect, send, read the head, read the body.
 * Every step has the deadline of the whole.
 */
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>

enum { BODY_KEPT = 1024 };

/* An answer as far as the viewer wants it. */
struct answer {
	struct http_response head;
	char body[BODY_KEPT]; /* its beginning, NUL-terminated */
	size_t kept;
};

void viewer_stall(struct viewer *v)
{
	atomic_fetch_add_explicit(&v->stalls_untold, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&v->load->stalls, 1, memory_order_relaxed);
	metric_add(METRIC_live_stalls, 1);
}

void viewer_hang_up(struct viewer *v)
{
	if (v->fd >= 0)
		rt_close_fd(v->fd);
	v->fd = -1;
}

static void keep(struct answer *a, const char *bytes, size_t n)
{
	size_t space = sizeof a->body - 1 - a->kept;

	n = n < space ? n : space;
	memcpy(a->body + a->kept, bytes, n);
	a->kept += n;
	a->body[a->kept] = '\0';
}

static bool read_body(struct load *l, int fd, struct answer *a, char *buf, size_t size, size_t have,
		      int64_t deadline)
{
	int64_t left = a->head.content_length - (int64_t)have;
	ssize_t n;

	keep(a, buf, have);
	while (left > 0) {
		n = rt_read(fd, buf, size, deadline);
		if (n <= 0)
			return false;
		keep(a, buf, (size_t)n);
		left -= n;
	}
	atomic_fetch_add_explicit(&l->bytes, (uint64_t)a->head.content_length,
				  memory_order_relaxed);
	return left == 0;
}

/* Sends the request and takes its answer. */
static bool ask(struct load *l, int fd, const char *request, struct answer *a, int64_t deadline)
{
	char buf[HTTP_HEAD_MAX];
	size_t have = 0;
	ssize_t n;
	int used;

	*a = (struct answer){0};
	if (rt_write_all(fd, request, strlen(request), deadline) < 0)
		return false;
	while ((used = http_parse_response(buf, have, &a->head)) == 0) {
		n = rt_read(fd, buf + have, sizeof buf - have, deadline);
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	if (used < 0 || a->head.content_length < 0)
		return false;
	have -= (size_t)used;
	memmove(buf, buf + used, have);
	return read_body(l, fd, a, buf, sizeof buf, have, deadline) && a->head.status == 200;
}

/* Finds "name": in the flat JSON of a join's answer. */
static const char *json_value(const char *json, const char *name)
{
	char quoted[32];
	const char *at;

	snprintf(quoted, sizeof quoted, "\"%s\":", name);
	at = strstr(json, quoted);
	return at ? at + strlen(quoted) : NULL;
}

/* A gateway gives a number, and nobody is asked. Who is gateway and room in one gives the name that it
 * was asked by. */
static bool parse_address(const struct http_origin *at, struct viewer *v)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list;

	if (rt_lookup(at->host, at->port, &hints, &list))
		return false;
	memcpy(&v->room_sa, list->ai_addr, list->ai_addrlen);
	v->room_sa_len = list->ai_addrlen;
	freeaddrinfo(list);
	return true;
}

static bool enter_room(struct viewer *v, const char *json)
{
	const char *url = json_value(json, "url"), *seq = json_value(json, "seq");
	const char *session = json_value(json, "session");
	struct http_origin at;

	v->session[0] = '\0';
	if (session && sscanf(session, "\"%16[0-9a-f]\"", v->session) != 1)
		return false;
	if (!url || !seq || sscanf(url, "\"http://%127[^\"]", v->room_origin) != 1)
		return false;
	v->seq = strtoll(seq, NULL, 10);
	v->seq_at_ns = rt_now();
	return http_parse_origin(v->room_origin, &at) && parse_address(&at, v);
}

static bool join(struct viewer *v, int64_t deadline)
{
	const struct load_options *o = v->load->o;
	const struct http_origin *at = &o->target.origin;
	char request[512];
	struct answer a;
	int fd = load_connect(v->load, deadline);
	bool ok;

	if (fd < 0)
		return false;
	snprintf(request, sizeof request,
		 "GET /join?room=room-%u HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n",
		 v->number % o->rooms, at->host, at->port);
	ok = ask(v->load, fd, request, &a, deadline) && enter_room(v, a.body);
	rt_close_fd(fd);
	return ok;
}

/* A connection that the server has closed meanwhile shows it before it is used again. */
static void drop_dead_connection(struct viewer *v)
{
	char byte;

	if (v->fd >= 0 && rt_read(v->fd, &byte, 1, 0) != -ETIMEDOUT)
		viewer_hang_up(v);
}

static bool segment(struct viewer *v, int64_t deadline)
{
	/* One behind the live edge, so that rounding never asks for what is not there yet. */
	int64_t seq = v->seq - 1 + (v->intended_ns - v->seq_at_ns) / RT_SEC;
	char request[512];
	struct answer a;
	bool ok;

	drop_dead_connection(v);
	if (v->fd < 0)
		v->fd = rt_connect((const struct sockaddr *)&v->room_sa, v->room_sa_len, deadline);
	if (v->fd < 0)
		return false;
	snprintf(request, sizeof request,
		 "GET /segment?room=room-%u&seq=%lld&stalled=%u%s%s HTTP/1.1\r\nHost: %s\r\n\r\n",
		 v->number % v->load->o->rooms, (long long)seq,
		 atomic_exchange_explicit(&v->stalls_untold, 0, memory_order_relaxed),
		 v->session[0] ? "&session=" : "", v->session, v->room_origin);
	ok = ask(v->load, v->fd, request, &a, deadline);
	if (!ok || !a.head.keep_alive)
		viewer_hang_up(v);
	return ok;
}

static void finish(struct viewer *v, enum op op, bool ok)
{
	static const char *const paths[OPS] = {"/join", "/segment", "/leave"};
	struct op_count *c = &v->load->ops[op];
	int64_t took = rt_now() - v->intended_ns;

	v->joined = ok;
	atomic_fetch_add_explicit(ok ? &c->done : &c->failed, 1, memory_order_relaxed);
	if (ok) {
		hist_add(&c->latency, took);
		metrics_request(paths[op], took);
	}
	if (op == OP_JOIN)
		metric_add(ok ? METRIC_live_joins : METRIC_live_join_failures, 1);
	else if (!ok)
		viewer_stall(v);
	/* release: pairs with the acquire in turn(), which gives the viewer its next request */
	atomic_store_explicit(&v->busy, false, memory_order_release);
	rt_group_done(&v->load->requests);
}

static void join_main(void *arg)
{
	struct viewer *v = arg;

	finish(v, OP_JOIN, join(v, v->intended_ns + v->load->o->timeout_ns));
}

static void segment_main(void *arg)
{
	struct viewer *v = arg;

	finish(v, OP_SEGMENT, segment(v, v->intended_ns + v->load->o->timeout_ns));
}

static void begin(struct viewer *v, enum op op, void (*fn)(void *arg), int64_t intended_ns)
{
	v->intended_ns = intended_ns;
	atomic_fetch_add_explicit(&v->load->ops[op].started, 1, memory_order_relaxed);
	atomic_store_explicit(&v->busy, true, memory_order_relaxed);
	rt_group_add(&v->load->requests, 1);
	if (rt_go(fn, v) < 0)
		finish(v, op, false);
}

void viewer_join(struct viewer *v, int64_t intended_ns)
{
	viewer_hang_up(v);
	begin(v, OP_JOIN, join_main, intended_ns);
}

void viewer_segment(struct viewer *v, int64_t intended_ns)
{
	metric_add(METRIC_live_segments, 1);
	begin(v, OP_SEGMENT, segment_main, intended_ns);
}

/* What a good-bye needs after the viewer is somebody else's. */
struct goodbye {
	struct load *load;
	int fd;
	int64_t begun_ns;
	char request[256];
};

static void goodbye_main(void *arg)
{
	struct goodbye *g = arg;
	struct op_count *c = &g->load->ops[OP_LEAVE];
	struct answer a;
	bool ok = ask(g->load, g->fd, g->request, &a, g->begun_ns + g->load->o->timeout_ns);

	rt_close_fd(g->fd);
	atomic_fetch_add_explicit(ok ? &c->done : &c->failed, 1, memory_order_relaxed);
	if (ok) {
		hist_add(&c->latency, rt_now() - g->begun_ns);
		metric_add(METRIC_live_leaves, 1);
	}
	rt_group_done(&g->load->requests);
	free(g);
}

void viewer_leave(struct viewer *v)
{
	struct goodbye *g;

	drop_dead_connection(v);
	if (v->fd < 0)
		return;
	g = malloc(sizeof *g);
	if (!g)
		abort();
	*g = (struct goodbye){.load = v->load, .fd = v->fd, .begun_ns = rt_now()};
	snprintf(g->request, sizeof g->request,
		 "POST /leave?room=room-%u%s%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
		 "Content-Length: 0\r\n\r\n",
		 v->number % v->load->o->rooms, v->session[0] ? "&session=" : "", v->session,
		 v->room_origin);
	v->fd = -1;
	atomic_fetch_add_explicit(&v->load->ops[OP_LEAVE].started, 1, memory_order_relaxed);
	rt_group_add(&v->load->requests, 1);
	if (rt_go(goodbye_main, g) < 0) {
		rt_close_fd(g->fd);
		rt_group_done(&v->load->requests);
		free(g);
	}
}
