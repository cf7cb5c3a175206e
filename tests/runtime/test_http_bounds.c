/* The HTTP server's bounds, and how it ends: what comes beyond them is told so, and nothing hangs. */
#include "http_rig.h"

#include <sys/resource.h>
#include <sys/syscall.h>

/* Accepts that failed, counted: this stands before libc's. */
static _Atomic int failed_accepts;

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int r = (int)syscall(SYS_accept4, fd, addr, len, flags);

	if (r < 0)
		atomic_fetch_add(&failed_accepts, 1);
	return r;
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
	for (int i = 0; i < 3; i++) { /* the first one takes nobody's place */
		fds[i] = dial(s);
		say(fds[i], i ? "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
			      : "GET /patient HTTP/1.1\r\nHost: x\r\n\r\n");
		wait_until(&slow_begun, i + 1);
	}
	ask(s, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT(status_of(buf) == 503 && strstr(buf, "\r\nRetry-After: 1\r\n"));
	ask(s, "GET /always HTTP/1.1\r\nHost: x\r\n\r\n", buf, sizeof buf);
	EXPECT_EQ(status_of(buf), 200);
	rt_close(slow_gate);
	for (int i = 0; i < 3; i++) {
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

/* Each head is complete in time, but there is always the beginning of the next one. */
static void the_time_of_a_head_begins_with_that_head(void)
{
	static const char cut[] = "st: x\r\n\r\nGET /hello HTTP/1.1\r\nHo";
	struct http_server *s = serve((struct http_options){.head_ns = 2 * RT_SEC});
	int64_t until = in_ms(3000);
	char buf[1024];
	int fd = dial(s);

	say(fd, cut + 9);
	while (rt_now() < until) {
		say(fd, cut);
		hear_one(fd, buf, sizeof buf);
		EXPECT_EQ(status_of(buf), 200);
		if (status_of(buf) != 200)
			break;
		rt_sleep(20 * RT_MSEC);
	}
	rt_close_fd(fd);
	end(s);
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
	SITUATION(a_body_beyond_the_bound_is_refused),
	SITUATION(requests_beyond_the_bound_are_told_to_come_back),
	SITUATION(connections_beyond_the_bound_are_told_to_come_back),
	SITUATION(connections_of_one_client_beyond_its_bound_are_told_to_come_back),
	SITUATION(time_is_bounded),
	SITUATION(the_time_of_a_head_begins_with_that_head),
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

	EXPECT_EQ(rt_run(&o, all, argc > 1 ? argv[1] : NULL, NULL), 0);
	return tap_done();
}
