/* The HTTP server from its clients' side: what it answers to whom, and what that costs. */
#include "http_rig.h"

#include <sys/syscall.h>

/* What the process asks of the kernel and of malloc, counted: these stand before libc's. */
static _Atomic int answers_written, mallocs;

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	if (n > 8 && !memcmp(buf, "HTTP/1.1", 8))
		atomic_fetch_add(&answers_written, 1);
	return syscall(SYS_sendto, fd, buf, n, flags, NULL, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
void *__libc_malloc(size_t n);

void *malloc(size_t n)
{
	atomic_fetch_add(&mallocs, 1);
	return __libc_malloc(n);
}
#endif

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

static const struct situation situations[] = {
	SITUATION(malformed_requests_are_refused_and_closed),
	SITUATION(noise_does_not_crash_it),
	SITUATION(requests_in_single_bytes_are_answered),
	SITUATION(versions_and_head),
	SITUATION(pipelined_requests_are_answered_in_order_with_few_writes),
	SITUATION(a_lone_answer_is_one_write_and_no_malloc),
	SITUATION(a_large_answer_arrives_whole_at_a_slow_client),
	SITUATION(a_client_that_expects_is_told_to_go_on),
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
