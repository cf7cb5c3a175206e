/* The HTTP server from its clients' side: what it answers, what it bounds, and how it ends. */
#include "../../runtime/rt.h"
#include "../../runtime/service/http.h"
#include "expect.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* What the process asks of the kernel and of malloc, counted: these stand before libc's. */
static _Atomic int answers_written, failed_accepts, mallocs;

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	if (n > 8 && !memcmp(buf, "HTTP/1.1", 8))
		atomic_fetch_add(&answers_written, 1);
	return syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int r = (int)syscall(SYS_accept4, fd, addr, len, flags);

	if (r < 0)
		atomic_fetch_add(&failed_accepts, 1);
	return r;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);

void *malloc(size_t n)
{
	atomic_fetch_add(&mallocs, 1);
	return __libc_malloc(n);
}
#endif

static int64_t in_ms(int64_t ms)
{
	return rt_now() + ms * RT_MSEC;
}

static int64_t soon(void)
{
	return in_ms(60000);
}

/* The service under test ------------------------------------------------------------------------- */

enum { BIG = 3 << 20 };
static char big[BIG];
static _Atomic int connections, refused, slow_begun;
static struct rt_chan *slow_gate; /* closed: /slow goes on */

static void hello(const struct http_request *req, struct http_answer *a)
{
	a->body = "hello";
	a->len = 5;
}

static void number(const struct http_request *req, struct http_answer *a)
{
	http_text(a, 200, NULL, "%s;", req->query);
}

static void echo(const struct http_request *req, struct http_answer *a)
{
	char *copy = malloc(req->body_len + 1);

	memcpy(copy, req->body, req->body_len);
	http_give(a, "application/octet-stream", copy, req->body_len);
}

static void send_big(const struct http_request *req, struct http_answer *a)
{
	a->body = big;
	a->len = BIG;
}

static void slow(const struct http_request *req, struct http_answer *a)
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
	{"/slow", HTTP_GET, 0, slow},
	{0},
};

static void count_connections(int change)
{
	atomic_fetch_add(&connections, change);
}

static void count_refused(int status)
{
	atomic_fetch_add(&refused, 1);
}

static const struct http_listener listener = {
	.connections = count_connections,
	.refused = count_refused,
};

static struct http_server *serve(struct http_options o)
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

static struct http_server *plain(void)
{
	return serve((struct http_options){0});
}

static void end(struct http_server *s)
{
	EXPECT(http_drain(s, 30 * RT_SEC));
	EXPECT_EQ(connections, 0);
}

static void wait_until(_Atomic int *counter, int value)
{
	int64_t limit = soon();

	while (atomic_load(counter) != value && rt_now() < limit)
		rt_sleep(RT_MSEC);
	EXPECT_EQ(atomic_load(counter), value);
}

/* Clients ----------------------------------------------------------------------------------------- */

static int dial(const struct http_server *s)
{
	const char *port = strrchr(http_address(s), ':') + 1;
	int fd = rt_dial("127.0.0.1", port, soon());

	EXPECT(fd >= 0);
	return fd;
}

static void say(int fd, const char *text)
{
	EXPECT_EQ(rt_write_all(fd, text, strlen(text), soon()), strlen(text));
}

/* All that comes until the end, NUL-terminated; the length. */
static size_t hear(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t r;

	while (n < size - 1 && (r = rt_read(fd, buf + n, size - 1 - n, soon())) > 0)
		n += (size_t)r;
	buf[n] = '\0';
	return n;
}

/* One answer with a length, or less when the connection ends. */
static size_t hear_one(int fd, char *buf, size_t size)
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

static int status_of(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) ? 0 : atoi(answer + 9);
}

/* Says it, says that this was all, and hears the rest. */
static size_t talk(const struct http_server *s, const char *text, size_t len, char *buf, size_t size)
{
	int fd = dial(s);
	size_t n;

	rt_write_all(fd, text, len, soon()); /* the server may have enough before the end */
	shutdown(fd, SHUT_WR);
	n = hear(fd, buf, size);
	rt_close_fd(fd);
	return n;
}

static size_t ask(const struct http_server *s, const char *text, char *buf, size_t size)
{
	return talk(s, text, strlen(text), buf, size);
}

static int count(const char *text, const char *what)
{
	int n = 0;

	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* Answers ------------------------------------------------------------------------------------------ */

static void malformed_requests_are_refused_and_closed(void)
{
	static const struct {
		const char *text;
		int status;
	} rows[] = {
		{"\r\n\r\n", 400},
		{"GET / HTTP/1.1\nHost: x\n\n", 400},
		{"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405},
		{"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"
		 "\r\n", 400},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc", 400},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413},
		{"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999\r\n\r\n", 413},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 413},
		{"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: rain\r\n\r\n", 417},
		{"GET /hello HTTP/7.0\r\nHost: x\r\n\r\n", 505},
		{"\x16\x03\x01\x02", 400}, /* TLS: no line will ever end */
	};
	struct http_server *s = plain();
	static char buf[4096];
	int before = refused;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t n = ask(s, rows[i].text, buf, sizeof buf);

		if (status_of(buf) != rows[i].status || count(buf, "HTTP/1.1") != 1 ||
		    !strstr(buf, "\r\nConnection: close\r\n"))
			expect_failed(__FILE__, __LINE__, "row %zu: %zu bytes: %s", i, n, buf);
		if (status_of(buf) == 405)
			EXPECT(strstr(buf, "\r\nAllow: "));
	}
	EXPECT_EQ(refused - before, ARRAY_SIZE(rows));
	EXPECT_EQ(ask(s, "GET /hel", buf, sizeof buf), 0);
	EXPECT_EQ(ask(s, "", buf, sizeof buf), 0);
	ask(s, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 404);
	end(s);
}

static void noise_does_not_crash_it(void)
{
	struct http_server *s = plain();
	static char noise[9000], buf[65536];
	uint64_t x = 88172645463325252;

	for (int i = 0; i < 300; i++) {
		size_t n = (size_t)(x % sizeof noise);

		for (size_t at = 0; at < n; at++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			noise[at] = i % 3 ? (char)x : "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"[x % 32];
		}
		talk(s, noise, n, buf, sizeof buf);
		EXPECT(buf[0] == '\0' || status_of(buf) >= 400);
	}
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	end(s);
}

static void requests_in_single_bytes_are_answered(void)
{
	static const char text[] = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "3;x\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n"
				   "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfghi"
				   "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
	struct http_server *s = plain();
	char buf[4096];
	int fd = dial(s);

	for (size_t i = 0; i < sizeof text - 1; i++) {
		EXPECT_EQ(rt_write_all(fd, text + i, 1, soon()), 1);
		if (i % 8 == 0)
			rt_sleep(100 * RT_USEC);
	}
	hear(fd, buf, sizeof buf);
	EXPECT_EQ(count(buf, "HTTP/1.1 200 OK\r\n"), 3);
	EXPECT(strstr(buf, "\r\n\r\nabcdeHTTP/1.1") && strstr(buf, "\r\n\r\nfghiHTTP/1.1"));
	EXPECT(strstr(buf, "\r\n\r\nhello"));
	rt_close_fd(fd);
	end(s);
}

static void versions_and_head(void)
{
	static const struct {
		const char *text, *end;
		bool open;
	} rows[] = {
		{"HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n", "Content-Length: 5\r\n\r\n", true},
		{"GET /hello HTTP/1.0\r\n\r\n", "Connection: close\r\n\r\nhello", false},
		{"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		 "Connection: keep-alive\r\n\r\nhello", true},
		{"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", "Content-Length: 5\r\n\r\nhello", true},
	};
	struct http_server *s = plain();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char buf[1024] = "";
		int fd = dial(s);
		size_t n = 0;
		ssize_t r;

		say(fd, rows[i].text);
		while (!strstr(buf, rows[i].end) && (r = rt_read(fd, buf + n, 1000 - n, soon())) > 0)
			buf[n += (size_t)r] = '\0';
		EXPECT(strstr(buf, rows[i].end));
		EXPECT_EQ(rt_read(fd, buf, sizeof buf, rows[i].open ? in_ms(50) : soon()),
			  rows[i].open ? -ETIMEDOUT : 0);
		rt_close_fd(fd);
	}
	end(s);
}

/* More than the in buffer holds at one time: heads are cut anywhere. */
static void pipelined_requests_are_answered_in_order_with_few_writes(void)
{
	enum { N = 500 };
	struct http_server *s = plain();
	static char text[N * 100], want[4096], buf[N * 200], bodies[4096];
	int fd = dial(s), before;
	size_t n = 0, w = 0;

	for (int i = 0; i < N; i++) {
		n += (size_t)sprintf(text + n, "GET /number?%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
		w += (size_t)sprintf(want + w, "%d;", i);
	}
	before = answers_written;
	say(fd, text);
	for (size_t have = 0; count(bodies, ";") < N && have < sizeof buf - 1;) {
		ssize_t r = rt_read(fd, buf + have, sizeof buf - 1 - have, soon());

		if (r <= 0)
			break;
		buf[have += (size_t)r] = '\0';
		bodies[0] = '\0';
		for (char *p = buf; (p = strstr(p, "\r\n\r\n")); p += 4)
			strncat(bodies, p + 4, strcspn(p + 4, ";") + 1);
	}
	EXPECT(!strcmp(bodies, want));
	/* The answers fill the out buffer again and again; single ones would be N writes. */
	EXPECT(answers_written - before <= N / 16);
	rt_close_fd(fd);
	end(s);
}

static void a_lone_answer_is_one_write_and_no_malloc(void)
{
	struct http_server *s = plain();
	int fd = dial(s), writes, allocations;
	char buf[1024];

	for (int i = 0; i < 20; i++) { /* timers' heaps and the like grow once */
		say(fd, "GET /number?5 HTTP/1.1\r\nHost: x\r\n\r\n");
		hear_one(fd, buf, sizeof buf);
	}
	writes = answers_written;
	allocations = mallocs;
	for (int i = 0; i < 500; i++) {
		say(fd, "GET /number?5 HTTP/1.1\r\nHost: x\r\n\r\n");
		hear_one(fd, buf, sizeof buf);
		EXPECT_EQ(status_of(buf), 200);
	}
	EXPECT_EQ(answers_written - writes, 500);
	EXPECT_EQ(mallocs - allocations, 0);
	rt_close_fd(fd);
	end(s);
}

static void a_large_answer_arrives_whole_at_a_slow_client(void)
{
	struct http_server *s = plain();
	int fd = dial(s), small = 256 << 10;
	static char buf[20000];
	size_t at = 0;
	ssize_t r;
	char *body;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	say(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	r = rt_read(fd, buf, sizeof buf, soon());
	body = memmem(buf, (size_t)r, "\r\n\r\n", 4);
	EXPECT(body);
	if (!body)
		return;
	at = (size_t)(buf + r - (body + 4));
	EXPECT(!memcmp(body + 4, big, at));
	while (at < BIG && (r = rt_read(fd, buf, sizeof buf, soon())) > 0) {
		if (memcmp(buf, big + at, (size_t)r))
			break;
		at += (size_t)r;
	}
	EXPECT_EQ(at, BIG);
	rt_close_fd(fd);
	end(s);
}

static void a_client_that_expects_is_told_to_go_on(void)
{
	static const char head[] = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
				   "Content-Length: 5\r\n\r\n";
	struct http_server *s = plain();
	char buf[1024] = "";
	int fd = dial(s);
	ssize_t n;

	say(fd, head);
	n = rt_read(fd, buf, sizeof buf - 1, soon());
	EXPECT(n > 0 && !strcmp(buf, "HTTP/1.1 100 Continue\r\n\r\n"));
	say(fd, "12345");
	hear_one(fd, buf, sizeof buf);
	EXPECT(status_of(buf) == 200 && strstr(buf, "\r\n\r\n12345"));
	/* A body that came along needs no word; one that is refused gets none. */
	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nz");
	hear_one(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n");
	hear(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 413);
	rt_close_fd(fd);
	end(s);
}

/* Bounds ------------------------------------------------------------------------------------------- */

static void a_body_beyond_the_bound_is_refused(void)
{
	struct http_server *s = serve((struct http_options){.max_body = 10});
	static char text[20000], buf[4096];
	int fd = dial(s);

	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789");
	hear_one(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5\r\n01234\r\n6\r\n012345\r\n0\r\n\r\n");
	hear(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 413);
	rt_close_fd(fd);
	memset(text, 'a', sizeof text);
	memcpy(text, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ", 34);
	talk(s, text, sizeof text, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 431);
	end(s);
}

static void requests_beyond_the_bound_are_told_to_come_back(void)
{
	struct http_server *s = serve((struct http_options){.max_requests = 2});
	int fds[3];
	char buf[1024];

	slow_gate = rt_chan_new(0, 0);
	slow_begun = 0;
	for (int i = 0; i < 2; i++) {
		fds[i] = dial(s);
		say(fds[i], "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
	}
	wait_until(&slow_begun, 2);
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT(status_of(buf) == 503 && strstr(buf, "\r\nRetry-After: 1\r\n"));
	ask(s, "GET /always HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	rt_close(slow_gate);
	for (int i = 0; i < 2; i++) {
		hear_one(fds[i], buf, sizeof buf);
		EXPECT_EQ(status_of(buf), 200);
		rt_close_fd(fds[i]);
	}
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	end(s);
	rt_chan_free(slow_gate);
}

static void connections_beyond(struct http_options o, int status)
{
	struct http_server *s = serve(o);
	int fds[3];
	char buf[1024];

	for (int i = 0; i < 3; i++) {
		fds[i] = dial(s);
		say(fds[i], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
		hear_one(fds[i], buf, sizeof buf);
		EXPECT_EQ(status_of(buf), 200);
	}
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), status);
	EXPECT(strstr(buf, "\r\nRetry-After: 1\r\n") && strstr(buf, "\r\nConnection: close\r\n"));
	rt_close_fd(fds[2]);
	wait_until(&connections, 2);
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	rt_close_fd(fds[0]);
	rt_close_fd(fds[1]);
	end(s);
}

static void connections_beyond_the_bound_are_told_to_come_back(void)
{
	connections_beyond((struct http_options){.max_connections = 3}, 503);
}

static void connections_of_one_client_beyond_its_bound_are_told_to_come_back(void)
{
	connections_beyond((struct http_options){.max_per_client = 3}, 429);
}

static void time_is_bounded(void)
{
	struct http_server *s = serve((struct http_options){.head_ns = 60 * RT_MSEC,
							    .body_ns = 60 * RT_MSEC,
							    .idle_ns = 60 * RT_MSEC,
							    .write_ns = 60 * RT_MSEC});
	char buf[1024];
	int fd = dial(s), small = 4096, left;

	EXPECT_EQ(hear(fd, buf, sizeof buf), 0); /* nothing said: nothing answered */
	rt_close_fd(fd);
	fd = dial(s);
	/* Each byte comes soon, the head never ends. */
	for (left = 1000; left && rt_read(fd, buf, 1, in_ms(2)) == -ETIMEDOUT; left--)
		EXPECT_EQ(rt_write(fd, "G", 1, soon()), 1);
	EXPECT(left > 0);
	hear(fd, buf + 1, sizeof buf - 1);
	EXPECT_EQ(status_of(buf), 408);
	rt_close_fd(fd);
	fd = dial(s);
	say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12");
	hear(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 408);
	rt_close_fd(fd);
	fd = dial(s);
	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	hear(fd, buf, sizeof buf); /* the answer, then the end of idling */
	EXPECT_EQ(count(buf, "HTTP/1.1"), 1);
	EXPECT_EQ(status_of(buf), 200);
	rt_close_fd(fd);
	fd = dial(s);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	say(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&connections, 1);
	wait_until(&connections, 0); /* nobody takes the answer */
	rt_close_fd(fd);
	end(s);
}

/* The numbers from here on are free. */
static rlim_t first_free_number(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	EXPECT(fd >= 0);
	close(fd);
	return (rlim_t)fd;
}

/* Out of descriptors the acceptor tries again now and then: it neither spins nor gives up. */
static void accept_under_exhaustion_backs_off_and_recovers(void)
{
	struct http_server *s = plain();
	struct rlimit old, tight;
	char buf[1024];
	int fd = dial(s), before;

	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	hear_one(fd, buf, sizeof buf);
	getrlimit(RLIMIT_NOFILE, &old);
	tight = old;
	tight.rlim_cur = first_free_number() + 1; /* for the client's end */
	before = failed_accepts;
	setrlimit(RLIMIT_NOFILE, &tight);
	rt_close_fd(fd); /* makes room for one pair */
	wait_until(&connections, 0);
	tight.rlim_cur = first_free_number() + 1;
	setrlimit(RLIMIT_NOFILE, &tight);
	fd = dial(s);
	say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	rt_sleep(400 * RT_MSEC);
	EXPECT_EQ(connections, 0);
	EXPECT(failed_accepts - before >= 2);
	EXPECT(failed_accepts - before < 40);
	setrlimit(RLIMIT_NOFILE, &old);
	hear_one(fd, buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	rt_close_fd(fd);
	end(s);
}

/* Ends ---------------------------------------------------------------------------------------------- */

static void *drain(void *s)
{
	return (void *)(intptr_t)http_drain(s, 30 * RT_SEC);
}

static void a_drain_answers_what_is_under_way_and_closes_what_idles(void)
{
	struct http_server *s = plain();
	int idle = dial(s), busy = dial(s), half = dial(s);
	char buf[1024], address[80];
	struct rt_co *co;
	void *drained;

	slow_gate = rt_chan_new(0, 0);
	slow_begun = 0;
	snprintf(address, sizeof address, "%s", strrchr(http_address(s), ':') + 1);
	say(idle, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
	hear_one(idle, buf, sizeof buf);
	say(half, "GET /hello HTTP/1.1\r\nHo");
	say(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
	wait_until(&slow_begun, 1);
	rt_sleep(5 * RT_MSEC); /* the half request has been read */
	co = rt_spawn(drain, s, NULL);
	EXPECT_EQ(hear(idle, buf, sizeof buf), 0);
	say(half, "st: x\r\n\r\n");
	hear(half, buf, sizeof buf);
	EXPECT(status_of(buf) == 200 && strstr(buf, "\r\nConnection: close\r\n"));
	EXPECT_EQ(rt_dial("127.0.0.1", address, soon()), -ECONNREFUSED);
	EXPECT_EQ(rt_join_dl(co, in_ms(30), NULL), -ETIMEDOUT); /* one is under way */
	rt_close(slow_gate);
	hear(busy, buf, sizeof buf);
	EXPECT(status_of(buf) == 200 && strstr(buf, "\r\nConnection: close\r\n"));
	rt_join(co, &drained);
	EXPECT(drained);
	EXPECT_EQ(connections, 0);
	rt_close_fd(idle);
	rt_close_fd(busy);
	rt_close_fd(half);
	rt_chan_free(slow_gate);
}

static void a_drain_ends_at_its_deadline(void)
{
	struct http_server *s = plain();
	int fd = dial(s);
	char buf[64];

	say(fd, "GET /hel");
	wait_until(&connections, 1);
	rt_sleep(5 * RT_MSEC);
	EXPECT(!http_drain(s, 50 * RT_MSEC));
	EXPECT_EQ(hear(fd, buf, sizeof buf), 0);
	rt_close_fd(fd);
	wait_until(&connections, 0);
}

static void many_clients_at_once(void *arg)
{
	struct http_server *s = arg;
	char buf[1024];
	int fd = dial(s);

	for (int i = 0; i < 50; i++) {
		say(fd, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
		hear_one(fd, buf, sizeof buf);
		EXPECT_EQ(status_of(buf), 200);
	}
	rt_close_fd(fd);
	atomic_fetch_add(&slow_begun, 1);
}

static void hundreds_of_connections_at_once(void)
{
	struct http_server *s = plain();

	slow_begun = 0;
	for (int i = 0; i < 400; i++)
		EXPECT_EQ(rt_go(many_clients_at_once, s), 0);
	wait_until(&slow_begun, 400);
	end(s);
}

static const struct situation situations[] = {
	SITUATION(malformed_requests_are_refused_and_closed),
	SITUATION(noise_does_not_crash_it),
	SITUATION(requests_in_single_bytes_are_answered),
	SITUATION(versions_and_head),
	SITUATION(pipelined_requests_are_answered_in_order_with_few_writes),
	SITUATION(a_lone_answer_is_one_write_and_no_malloc),
	SITUATION(a_large_answer_arrives_whole_at_a_slow_client),
	SITUATION(a_client_that_expects_is_told_to_go_on),
	SITUATION(a_body_beyond_the_bound_is_refused),
	SITUATION(requests_beyond_the_bound_are_told_to_come_back),
	SITUATION(connections_beyond_the_bound_are_told_to_come_back),
	SITUATION(connections_of_one_client_beyond_its_bound_are_told_to_come_back),
	SITUATION(time_is_bounded),
	SITUATION(accept_under_exhaustion_backs_off_and_recovers),
	SITUATION(a_drain_answers_what_is_under_way_and_closes_what_idles),
	SITUATION(a_drain_ends_at_its_deadline),
	SITUATION(hundreds_of_connections_at_once),
};

static void *all(void *only)
{
	run_situations(situations, ARRAY_SIZE(situations), only);
	return NULL;
}

int main(int argc, char **argv)
{
	struct rt_options o = {0};

	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i * 2654435761U >> 11);
	EXPECT_EQ(rt_run(&o, all, argc > 1 ? argv[1] : NULL, NULL), 0);
	return tap_done();
}
