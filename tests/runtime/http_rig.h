/*
 * http_rig - a service to ask, and clients that ask it, for the tests of the HTTP server
 *
 * Everything runs in one process and one runtime. The size of big is what no socket takes at once.
 */
#pragma once

#include "../../runtime/rt.h"
#include "../../runtime/service/http.h"
#include "expect.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline int64_t in_ms(int64_t ms)
{
	return rt_now() + ms * RT_MSEC;
}

static inline int64_t soon(void)
{
	return in_ms(60000);
}

/* The service under test ------------------------------------------------------------------------- */

enum { BIG = 3 << 20 };
static char big[BIG]; /* filled by the test that looks at it, before the runtime starts */
static _Atomic int connections, refused, slow_begun;
static struct rt_chan *slow_gate; /* closed: /slow goes on */

static inline void hello(const struct http_request *req, struct http_answer *a)
{
	a->body = "hello";
	a->len = 5;
}

static inline void number(const struct http_request *req, struct http_answer *a)
{
	http_text(a, 200, NULL, "%s;", req->query);
}

static inline void echo(const struct http_request *req, struct http_answer *a)
{
	char *copy = malloc(req->body_len + 1);

	memcpy(copy, req->body, req->body_len);
	http_give(a, "application/octet-stream", copy, req->body_len);
}

static inline void send_big(const struct http_request *req, struct http_answer *a)
{
	a->body = big;
	a->len = BIG;
}

static inline void slow(const struct http_request *req, struct http_answer *a)
{
	atomic_fetch_add(&slow_begun, 1);
	rt_recv(slow_gate, NULL);
	http_text(a, 200, NULL, "slow");
}

static const struct http_route routes[] = {
	{"/always", HTTP_GET, HTTP_ALWAYS, hello},
	{"/big", HTTP_GET, 0, send_big},
	{"/echo", HTTP_POST, 0, echo},
	{"/hello", HTTP_GET, 0, hello},
	{"/number", HTTP_GET, 0, number},
	{"/patient", HTTP_GET, HTTP_ALWAYS, slow},
	{"/slow", HTTP_GET, 0, slow},
	{0},
};

static inline void count_connections(int change)
{
	atomic_fetch_add(&connections, change);
}

static inline void count_refused(int status)
{
	atomic_fetch_add(&refused, 1);
}

static const struct http_listener listener = {
	.connections = count_connections,
	.refused = count_refused,
};

static inline struct http_server *serve(struct http_options o)
{
	struct http_server *s;
	int r;

	o.host = "127.0.0.1";
	o.port = "0";
	o.routes = routes;
	o.listener = &listener;
	r = http_serve(&o, &s);
	EXPECT_EQ(r, 0);
	return s;
}

static inline struct http_server *plain(void)
{
	return serve((struct http_options){0});
}

static inline void end(struct http_server *s)
{
	EXPECT(http_drain(s, 30 * RT_SEC));
	EXPECT_EQ(connections, 0);
}

static inline void wait_until(_Atomic int *counter, int value)
{
	int64_t limit = soon();

	while (atomic_load(counter) != value && rt_now() < limit)
		rt_sleep(RT_MSEC);
	EXPECT_EQ(atomic_load(counter), value);
}

/* Clients ----------------------------------------------------------------------------------------- */

static inline int dial(const struct http_server *s)
{
	const char *port = strrchr(http_address(s), ':') + 1;
	int fd = rt_dial("127.0.0.1", port, soon());

	EXPECT(fd >= 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	EXPECT_EQ(rt_write_all(fd, text, strlen(text), soon()), strlen(text));
}

/* All that comes until the end, NUL-terminated; the length. */
static inline size_t hear(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n < size - 1 && (r = rt_read(fd, buf + n, size - 1 - n, soon())) > 0)
		n += (size_t)r;
	buf[n] = '\0';
	return n;
}

/* One answer with a length, or less when the connection ends. */
static inline size_t hear_one(int fd, char *buf, size_t size)
{
	struct http_response head;
	size_t n = 0;
	int used = 0;
	ssize_t r;

	while ((used = http_parse_response(buf, n, &head)) == 0 ||
	       (used > 0 && n < (size_t)used + (size_t)head.content_length)) {
		r = rt_read(fd, buf + n, size - 1 - n, soon());
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	buf[n] = '\0';
	return n;
}

static inline int status_of(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) ? 0 : atoi(answer + 9);
}

/* Says it, says that this was all, and hears the rest. */
static inline size_t talk(const struct http_server *s, const char *text, size_t len, char *buf, size_t size)
{
	int fd = dial(s);
	size_t n;

	rt_write_all(fd, text, len, soon()); /* the server may have enough before the end */
	shutdown(fd, SHUT_WR);
	n = hear(fd, buf, size);
	rt_close_fd(fd);
	return n;
}

static inline size_t ask(const struct http_server *s, const char *text, char *buf, size_t size)
{
	return talk(s, text, strlen(text), buf, size);
}

static inline int count(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}
