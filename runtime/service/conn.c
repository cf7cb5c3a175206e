/*
 * A connection is a loop: take requests out of the buffer while there are complete ones, answer
 * each into the out buffer, write that when the next request is not there yet, wait for more. So a
 * batch of pipelined requests costs one read and one write, and a lone one too.
 *
 * An answer's body goes into the out buffer when it fits, else it is written from where it lies
 * with what the buffer holds in front of it. Bodies of requests stay in the in buffer when they
 * have arrived with their head; others get memory of their own until the answer.
 */
#include "server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINGER_MS = 1000, LINGER_BYTES = 1 << 20 };

/* Writing ------------------------------------------------------------------------------------------ */

/* What is in the out buffer and a body behind it. False: the client is gone or too slow. */
static bool flush(struct conn *c, const char *body, size_t len)
{
	struct iovec v[2] = {{c->out, c->out_len}, {(char *)body, len}};
	int64_t deadline = c->now_ns + c->server->o.write_ns;
	size_t left = c->out_len + len;
	ssize_t n;

	while (left) {
		n = v[1].iov_len ? rt_writev(c->fd, v[0].iov_len ? v : v + 1,
					     v[0].iov_len ? 2 : 1, deadline)
				 : rt_write(c->fd, v[0].iov_base, v[0].iov_len, deadline);
		if (n < 0)
			return false;
		left -= (size_t)n;
		for (int i = 0; i < 2; i++) {
			size_t used = (size_t)n < v[i].iov_len ? (size_t)n : v[i].iov_len;

			v[i].iov_base = (char *)v[i].iov_base + used;
			v[i].iov_len -= used;
			n -= (ssize_t)used;
		}
	}
	c->out_len = 0;
	c->batch = 0;
	return true;
}

static const char *date_now(struct conn *c)
{
	int64_t s = time(NULL);

	if (s != c->date_s) {
		c->date_s = s;
		http_format_date(s, c->date);
	}
	return c->date;
}

static const char *connection_header(const struct conn *c)
{
	if (c->close_after)
		return "close";
	return c->req.http_1_0 ? "keep-alive" : NULL;
}

/* Adds an answer to what is to be written, and releases its body when that has been taken. */
static bool append(struct conn *c, struct http_answer *a, unsigned allow)
{
	struct http_head h = {.status = a->status ? a->status : 200,
			      .type = a->type ? a->type : "text/plain",
			      .length = a->len,
			      .date = date_now(c),
			      .connection = connection_header(c),
			      .allow = allow,
			      .retry_after_s = a->retry_after_s};
	size_t len = c->req.method == HTTP_HEAD ? 0 : a->len;
	bool ok = true;

	if (CONN_OUT - c->out_len < HTTP_ANSWER_HEAD_MAX)
		ok = flush(c, NULL, 0);
	if (ok) {
		c->out_len += http_format_head(c->out + c->out_len, &h);
		if (len <= CONN_OUT - c->out_len) {
			memcpy(c->out + c->out_len, a->body, len);
			c->out_len += len;
		} else {
			ok = flush(c, a->body, len);
		}
	}
	http_answer_done(a);
	atomic_store_explicit(&c->served, true, memory_order_relaxed);
	c->batch++;
	return ok;
}

/* Answers without a handler, and ends the connection. */
static bool refuse(struct conn *c, int status, unsigned allow)
{
	const struct http_listener *l = c->server->o.listener;
	struct http_answer a = {.text = c->text};

	if (l && l->refused)
		l->refused(status);
	http_text(&a, status, NULL, "%s\n", http_reason(status));
	a.retry_after_s = status == 503 || status == 429 ? 1 : 0;
	c->close_after = true;
	c->refuse = status;
	return append(c, &a, allow);
}

/* Reading ------------------------------------------------------------------------------------------ */

/* More bytes behind those in the buffer, which has room. The length, 0 at the end, or an error. */
static ssize_t receive(struct conn *c, int64_t deadline)
{
	ssize_t n;

	if (c->at == c->end)
		c->at = c->end = 0;
	if (c->at && c->end == sizeof c->in) {
		memmove(c->in, c->in + c->at, c->end - c->at);
		c->end -= c->at;
		c->at = 0;
	}
	n = rt_read(c->fd, c->in + c->end, sizeof c->in - c->end, deadline);
	if (n > 0)
		c->end += (size_t)n;
	c->now_ns = rt_now();
	return n;
}

/* Waits for the first byte of a request or for more of one. False: there will be no more. */
static bool wait_for_request(struct conn *c)
{
	bool served = atomic_load_explicit(&c->served, memory_order_relaxed);
	bool fresh = c->at == c->end;
	ssize_t n;

	if (fresh && served && atomic_load_explicit(&c->server->draining, memory_order_relaxed))
		return false;
	if (fresh) {
		/* A new connection has the time of a head, one that was served may idle. */
		c->head_deadline = c->now_ns + c->server->o.head_ns;
		atomic_store_explicit(&c->idle, true, memory_order_relaxed);
		n = receive(c, served ? c->now_ns + c->server->o.idle_ns : c->head_deadline);
		atomic_store_explicit(&c->idle, false, memory_order_relaxed);
		c->head_deadline = c->now_ns + c->server->o.head_ns;
	} else {
		n = receive(c, c->head_deadline);
		if (n == -ETIMEDOUT)
			refuse(c, 408, 0);
	}
	return n > 0;
}

static size_t take(struct conn *c, char *to, size_t n)
{
	size_t there = c->end - c->at, taken = n < there ? n : there;

	memcpy(to, c->in + c->at, taken);
	c->at += taken;
	return taken;
}

static int read_plain_body(struct conn *c, char *body, int64_t deadline)
{
	size_t want = (size_t)c->req.content_length, have = take(c, body, want);

	while (have < want) {
		ssize_t n = receive(c, deadline);

		if (n <= 0)
			return n == -ETIMEDOUT ? 408 : -1;
		have += take(c, body + have, want - have);
	}
	c->req.body_len = have;
	return 0;
}

static int read_chunked_body(struct conn *c, char *body, int64_t deadline)
{
	struct http_chunked chunks = {0};
	size_t used, made;
	int r;

	for (;;) {
		r = http_chunked_take(&chunks, c->in + c->at, c->end - c->at, body + c->req.body_len,
				      c->server->o.max_body - c->req.body_len, &used, &made);
		c->at += used;
		c->req.body_len += made;
		if (r)
			return r < 0 ? -r : 0;
		r = (int)receive(c, deadline);
		if (r <= 0)
			return r == -ETIMEDOUT ? 408 : -1;
	}
}

/* Takes the body in; *ret_owned is what must be freed after the answer. 0, a status to refuse it
 * with, or -1 when the client is gone. */
static int read_body(struct conn *c, char **ret_owned)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request *req = &c->req;
	int64_t deadline = c->now_ns + c->server->o.body_ns;
	int r;

	*ret_owned = NULL;
	if (!req->chunked && req->content_length <= (int64_t)(c->end - c->at)) {
		req->body = c->in + c->at;
		req->body_len = (size_t)req->content_length;
		c->at += req->body_len;
		return 0;
	}
	if (!flush(c, go_on, req->expect_continue && c->at == c->end ? sizeof go_on - 1 : 0))
		return -1;
	*ret_owned = malloc(req->chunked ? c->server->o.max_body : (size_t)req->content_length);
	if (!*ret_owned)
		return 503;
	req->body = *ret_owned;
	r = req->chunked ? read_chunked_body(c, *ret_owned, deadline)
			 : read_plain_body(c, *ret_owned, deadline);
	return r;
}

/* Answering ----------------------------------------------------------------------------------------- */

static bool matches(const struct http_route *r, const char *path)
{
	return r->flags & HTTP_BELOW ? !strncmp(r->path, path, strlen(r->path)) : !strcmp(r->path, path);
}

static const struct http_route *find_route(const struct http_server *s, const char *path,
					   unsigned method, unsigned *ret_allow)
{
	*ret_allow = 0;
	for (const struct http_route *r = s->o.routes; r->path; r++)
		if (matches(r, path)) {
			unsigned methods = r->methods | (r->methods & HTTP_GET ? HTTP_HEAD : 0);

			if (methods & method)
				return r;
			*ret_allow |= methods;
		}
	return NULL;
}

/* Probes neither wait for others nor take their place. */
static bool enter_request(struct http_server *s, const struct http_route *route)
{
	if (route->flags & HTTP_ALWAYS ||
	    atomic_fetch_add_explicit(&s->requests, 1, memory_order_relaxed) < s->o.max_requests)
		return true;
	atomic_fetch_sub_explicit(&s->requests, 1, memory_order_relaxed);
	return false;
}

static void leave_request(struct http_server *s, const struct http_route *route)
{
	if (!(route->flags & HTTP_ALWAYS))
		atomic_fetch_sub_explicit(&s->requests, 1, memory_order_relaxed);
}

static bool handle(struct conn *c, const struct http_route *route)
{
	const struct http_listener *l = c->server->o.listener;
	struct http_answer a = {.text = c->text};
	int64_t start = c->batch || c->req.body_len ? rt_now() : c->now_ns;
	int status;

	route->handle(&c->req, &a);
	status = a.status ? a.status : 200;
	c->now_ns = rt_now();
	if (l && l->answered)
		l->answered(route->path, status, c->now_ns - start);
	c->close_after = !c->req.keep_alive ||
			 atomic_load_explicit(&c->server->draining, memory_order_relaxed);
	return append(c, &a, 0);
}

static bool answer_unknown(struct conn *c)
{
	struct http_answer a = {.text = c->text};

	http_text(&a, 404, NULL, "no such path\n");
	c->close_after = !c->req.keep_alive ||
			 atomic_load_explicit(&c->server->draining, memory_order_relaxed);
	return append(c, &a, 0);
}

/* A complete head was taken. False: the connection cannot be used any more. */
static bool serve_request(struct conn *c)
{
	struct http_server *s = c->server;
	unsigned allow;
	const struct http_route *route = find_route(s, c->req.path, c->req.method, &allow);
	bool overloaded = route && !enter_request(s, route), ok;
	char *owned = NULL;
	int r = 0;

	if (!route && allow)
		return refuse(c, 405, allow);
	if (overloaded)
		return refuse(c, 503, 0);
	if (c->req.content_length > (int64_t)s->o.max_body)
		r = 413;
	else if (c->req.chunked || c->req.content_length)
		r = read_body(c, &owned);
	if (r)
		ok = r > 0 && refuse(c, r, 0);
	else
		ok = route ? handle(c, route) : answer_unknown(c);
	free(owned);
	if (route)
		leave_request(s, route);
	return ok;
}

/* One turn: a request out of the buffer, or the wait for more of it. */
static bool turn(struct conn *c)
{
	int n = http_parse_request(c->in + c->at, c->end - c->at, &c->req);

	if (n == 0)
		return flush(c, NULL, 0) && wait_for_request(c);
	if (n < 0)
		return refuse(c, -n, n == -405 ? HTTP_GET | HTTP_HEAD | HTTP_POST : 0);
	c->at += (size_t)n;
	c->head_deadline = c->now_ns + c->server->o.head_ns; /* the next one's, if it has begun */
	memcpy(c->req.client, c->client, sizeof c->req.client);
	if (!serve_request(c))
		return false;
	if (c->batch < HTTP_BATCH)
		return true;
	if (!flush(c, NULL, 0))
		return false;
	rt_yield();
	c->now_ns = rt_now();
	return true;
}

/* A close with unread input would send a reset that can overtake the answer: tell the client that
 * no more follows, and read what it still sends. */
static void linger(struct conn *c)
{
	int64_t deadline = rt_now() + (c->refuse ? LINGER_MS * RT_MSEC : 0);
	size_t total = 0;
	ssize_t n;

	shutdown(c->fd, SHUT_WR);
	while (total < LINGER_BYTES && (n = rt_read(c->fd, c->in, sizeof c->in, deadline)) > 0)
		total += (size_t)n;
}

/* Beyond a bound: hears the request, so that the client hears the answer. */
static void turn_away(struct conn *c)
{
	if (receive(c, c->now_ns + LINGER_MS * RT_MSEC) > 0)
		refuse(c, c->refuse, 0);
}

void conn_main(void *arg)
{
	struct conn *c = arg;

	if (c->refuse)
		turn_away(c);
	else
		while (turn(c) && !c->close_after)
			;
	if (flush(c, NULL, 0) && c->close_after)
		linger(c);
	server_forget(c->server, c);
}
