/* Descriptors that park: waits, deadlines and closes under each other, and what comes with thousands. */
#include "../../runtime/net/poll.h"
#include "expect.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Stands before libc's: a kernel before 5.11, when a situation says so. */
static _Atomic bool old_kernel;
static _Atomic int old_waits;

int epoll_pwait2(int fd, struct epoll_event *evs, int n, const struct timespec *ts, const sigset_t *mask)
{
	if (!atomic_load(&old_kernel))
		return (int)syscall(SYS_epoll_pwait2, fd, evs, n, ts, mask, _NSIG / 8);
	atomic_fetch_add(&old_waits, 1);
	return (int)syscall(-1); /* ENOSYS */
}

static int64_t in_ms(int64_t ms)
{
	return rt_now() + ms * RT_MSEC;
}

/* Ends a test that hangs with a message instead of the runner's time-out. */
static int64_t soon(void)
{
	return in_ms(60000);
}

/* In a buffer that the next call overwrites. */
static const char *port_of(int fd)
{
	static char text[8];
	struct sockaddr_in sa;
	socklen_t len = sizeof sa;

	EXPECT_EQ(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(text, sizeof text, "%u", ntohs(sa.sin_port));
	return text;
}

static int listen_any(int backlog)
{
	int fd = rt_listen("127.0.0.1", "0", backlog);

	if (fd < 0)
		rt_fatal("rt_listen: %d", fd);
	return fd;
}

static void tcp_pair(int pair[2])
{
	int l = listen_any(16);

	pair[0] = rt_dial("127.0.0.1", port_of(l), soon());
	pair[1] = rt_accept(l, NULL, NULL, soon());
	EXPECT(pair[0] >= 0 && pair[1] >= 0);
	rt_close_fd(l);
}

static void close_pair(int pair[2])
{
	EXPECT_EQ(rt_close_fd(pair[0]), 0);
	EXPECT_EQ(rt_close_fd(pair[1]), 0);
}

/* Thousands -------------------------------------------------------------------------------------- */

static struct rt_group group;
static _Atomic int echoed;

static void echo_main(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[512];
	ssize_t n;

	while ((n = rt_read(fd, buf, sizeof buf, soon())) > 0)
		EXPECT_EQ(rt_write_all(fd, buf, (size_t)n, soon()), n);
	EXPECT_EQ(n, 0);
	rt_close_fd(fd);
	rt_group_done(&group);
}

static void *accept_all(void *arg)
{
	int l = (int)(intptr_t)arg, fd;

	while ((fd = rt_accept(l, NULL, NULL, RT_FOREVER)) >= 0) {
		rt_group_add(&group, 1);
		EXPECT_EQ(rt_go(echo_main, (void *)(intptr_t)fd), 0);
	}
	EXPECT_EQ(fd, -ECANCELED);
	return NULL;
}

struct client {
	const char *port;
	unsigned seed;
	struct rt_chan *go_on;
};

static void client_main(void *arg)
{
	struct client *c = arg;
	int fd = rt_dial("127.0.0.1", c->port, soon());
	char out[700], in[700];

	EXPECT_EQ(fd < 0 ? fd : 0, 0);
	rt_recv(c->go_on, NULL); /* all of them are connected at one time */
	for (int turn = 0; fd >= 0 && turn < 3; turn++) {
		size_t n = 1 + (c->seed * 31 + (unsigned)turn * 177) % sizeof out, have = 0;
		ssize_t r = 1;

		for (size_t i = 0; i < n; i++)
			out[i] = (char)(c->seed + i * 7);
		EXPECT_EQ(rt_write_all(fd, out, n, soon()), n);
		while (have < n && (r = rt_read(fd, in + have, n - have, soon())) > 0)
			have += (size_t)r;
		if (have != n || memcmp(in, out, n))
			expect_failed(__FILE__, __LINE__, "client %u: %zu of %zu (%zd)", c->seed, have, n, r);
		else
			atomic_fetch_add(&echoed, 1);
	}
	rt_close_fd(fd);
	rt_group_done(&group);
}

static void echo_with_thousands_of_connections(void)
{
	struct rlimit lim;
	unsigned n;
	int l = listen_any(4096);
	struct client *clients;
	struct rt_chan *go_on = rt_chan_new(0, 0);
	struct rt_co *acceptor = rt_spawn(accept_all, (void *)(intptr_t)l, NULL);
	const char *port = port_of(l);

	getrlimit(RLIMIT_NOFILE, &lim);
	n = lim.rlim_cur > 5000 ? 2000 : (unsigned)(lim.rlim_cur - 100) / 2;
	clients = calloc(n, sizeof *clients);
	for (unsigned i = 0; i < n; i++) {
		clients[i] = (struct client){port, i, go_on};
		rt_group_add(&group, 1);
		EXPECT_EQ(rt_go(client_main, &clients[i]), 0);
	}
	for (unsigned i = 0; i < n; i++)
		EXPECT_EQ(rt_send_dl(go_on, NULL, soon()), 0);
	EXPECT_EQ(rt_group_wait_dl(&group, soon()), 0);
	EXPECT_EQ(echoed, 3 * n);
	rt_close_fd(l);
	rt_join(acceptor, NULL);
	rt_chan_free(go_on);
	free(clients);
}

/* Deadlines -------------------------------------------------------------------------------------- */

static void a_read_ends_at_its_deadline_and_not_before(void)
{
	int p[2];
	int64_t deadline = in_ms(30);
	char buf[8];

	tcp_pair(p);
	EXPECT_EQ(rt_read(p[0], buf, sizeof buf, deadline), -ETIMEDOUT);
	EXPECT(rt_now() >= deadline);
	EXPECT_EQ(rt_read(p[0], buf, sizeof buf, rt_now() - RT_SEC), -ETIMEDOUT);
	EXPECT_EQ(rt_write_all(p[1], "abc", 3, soon()), 3);
	EXPECT_EQ(rt_read(p[0], buf, sizeof buf, soon()), 3);
	close_pair(p);
}

/* Also where the socket is known to be empty, and the poller has not looked yet. */
static void a_deadline_of_zero_tries_once(void)
{
	int p[2];
	char buf[8];

	tcp_pair(p);
	for (int i = 0; i < 50; i++) {
		EXPECT_EQ(rt_read(p[0], buf, sizeof buf, 0), -ETIMEDOUT);
		EXPECT_EQ(rt_write_all(p[1], "abc", 3, 0), 3);
		EXPECT_EQ(rt_read(p[0], buf, sizeof buf, 0), 3);
	}
	close_pair(p);
}

static void an_accept_ends_at_its_deadline(void)
{
	int l = listen_any(16);

	EXPECT_EQ(rt_accept(l, NULL, NULL, in_ms(20)), -ETIMEDOUT);
	rt_close_fd(l);
}

/* A listener whose queue is full drops what comes. */
static void a_connect_ends_at_its_deadline(void)
{
	int l = listen_any(0), fd = 0, fds[64], n = 0;
	struct sockaddr_in sa;
	socklen_t len = sizeof sa;

	getsockname(l, (struct sockaddr *)&sa, &len);
	while (n < 64 && (fd = rt_connect((struct sockaddr *)&sa, len, in_ms(200))) >= 0)
		fds[n++] = fd;
	EXPECT_EQ(fd, -ETIMEDOUT);
	while (n)
		rt_close_fd(fds[--n]);
	rt_close_fd(l);
}

static void sequence_writer(void *arg)
{
	int fd = (int)(intptr_t)arg;
	unsigned random = 1;

	for (uint32_t i = 0; i < 3000; i++) {
		random = random * 1103515245 + 12345;
		if (random >> 16 & 3)
			rt_sleep(random >> 20 & 63 ? 1000 * (random >> 20 & 63) : 1);
		EXPECT_EQ(rt_write_all(fd, &i, sizeof i, soon()), sizeof i);
	}
	rt_group_done(&group);
}

/* Deadlines that fall on the data's arrival lose nothing. */
static void deadlines_that_race_with_data_lose_nothing(void)
{
	uint32_t want = 0, got[64];
	unsigned random = 7;
	int p[2];
	ssize_t n;
	size_t have = 0;

	tcp_pair(p);
	rt_group_add(&group, 1);
	EXPECT_EQ(rt_go(sequence_writer, (void *)(intptr_t)p[1]), 0);
	while (want < 3000) {
		random = random * 1103515245 + 12345;
		n = rt_read(p[0], (char *)got + have, sizeof got - have,
			    rt_now() + 1000 * (random >> 20 & 63));
		if (n < 0 && n != -ETIMEDOUT) {
			expect_failed(__FILE__, __LINE__, "read: %zd at %u", n, want);
			break;
		}
		have += n > 0 ? (size_t)n : 0;
		for (size_t i = 0; i < have / 4; i++)
			EXPECT_EQ(got[i], want++);
		memmove(got, (char *)got + have / 4 * 4, have % 4);
		have %= 4;
	}
	EXPECT_EQ(rt_group_wait_dl(&group, soon()), 0);
	close_pair(p);
}

/* Ends ------------------------------------------------------------------------------------------- */

/* The event that tells of data and of the end is one; the read that takes the data is short. */
static void an_end_that_came_with_the_data_is_seen(void)
{
	char buf[64];

	for (int i = 0; i < 100; i++) {
		int p[2];

		tcp_pair(p);
		EXPECT_EQ(rt_write_all(p[1], "last", 4, soon()), 4);
		if (i & 1)
			rt_close_fd(p[1]);
		else
			shutdown(p[1], SHUT_WR);
		if (i & 2)
			rt_sleep(RT_MSEC); /* the poller takes the event first */
		EXPECT_EQ(rt_read(p[0], buf, sizeof buf, in_ms(10000)), 4);
		EXPECT_EQ(rt_read(p[0], buf, sizeof buf, in_ms(10000)), 0);
		EXPECT_EQ(rt_read(p[0], buf, sizeof buf, in_ms(10000)), 0);
		rt_close_fd(p[0]);
		if (!(i & 1))
			rt_close_fd(p[1]);
	}
}

/* The thread would be killed, or have the signal pending where it is blocked. */
static bool was_signalled(void)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, SIGPIPE);
}

static void a_write_to_one_who_has_gone_is_an_error(void)
{
	int p[2];
	ssize_t n = 0;
	bool signalled = false;

	tcp_pair(p);
	rt_close_fd(p[1]);
	for (int i = 0; i < 1000 && n >= 0; i++) {
		n = rt_write(p[0], "x", 1, soon());
		signalled |= was_signalled();
		rt_sleep(RT_MSEC / 10);
	}
	EXPECT(!signalled);
	EXPECT(n == -EPIPE || n == -ECONNRESET);
	EXPECT_EQ(rt_write(p[0], "x", 1, soon()), -EPIPE);
	rt_close_fd(p[0]);
}

enum wait_kind { WAITS_READ, WAITS_WRITE, WAITS_ACCEPT, WAITS_FD, WAIT_KINDS };
struct closed_wait {
	enum wait_kind kind;
	int fd;
	ssize_t answer;
};

static void *wait_for_close(void *arg)
{
	struct closed_wait *w = arg;
	static char much[1 << 20];

	switch (w->kind) {
	case WAITS_READ:
		w->answer = rt_read(w->fd, much, 1, RT_FOREVER);
		break;
	case WAITS_WRITE:
		while ((w->answer = rt_write(w->fd, much, sizeof much, RT_FOREVER)) > 0)
			;
		break;
	case WAITS_ACCEPT:
		w->answer = rt_accept(w->fd, NULL, NULL, RT_FOREVER);
		break;
	default:
		w->answer = rt_wait_fd(w->fd, false, RT_FOREVER);
		break;
	}
	return NULL;
}

static void a_close_wakes_who_waits(void)
{
	for (int round = 0; round < 50; round++)
		for (enum wait_kind k = 0; k < WAIT_KINDS; k++) {
			int p[2] = {-1, -1};
			struct closed_wait w[3];
			struct rt_co *co[3];

			if (k == WAITS_ACCEPT)
				p[0] = listen_any(4);
			else
				tcp_pair(p);
			for (int i = 0; i < 3; i++) {
				w[i] = (struct closed_wait){k, p[0], 0};
				co[i] = rt_spawn(wait_for_close, &w[i], NULL);
			}
			if (round & 1)
				rt_sleep(round * RT_USEC * 20);
			else
				rt_yield();
			EXPECT_EQ(rt_close_fd(p[0]), 0);
			for (int i = 0; i < 3; i++) {
				EXPECT_EQ(rt_join_dl(co[i], soon(), NULL), 0);
				/* One that had not begun yet finds the number closed. */
				if (w[i].answer != -ECANCELED && w[i].answer != -EBADF)
					expect_failed(__FILE__, __LINE__, "kind %d: %zd", k, w[i].answer);
			}
			if (p[1] >= 0)
				rt_close_fd(p[1]);
		}
	EXPECT_EQ(rt_close_fd(1000000), -EBADF);
}

/* Room ------------------------------------------------------------------------------------------- */

static void *read_slowly(void *arg)
{
	int fd = (int)(intptr_t)arg;
	uint64_t sum = 0, total = 0;
	unsigned char buf[3000];
	ssize_t n;

	while ((n = rt_read(fd, buf, sizeof buf, soon())) > 0) {
		for (ssize_t i = 0; i < n; i++)
			sum = sum * 31 + buf[i];
		total += (uint64_t)n;
		if (total % 7 == 0)
			rt_sleep(20 * RT_USEC);
	}
	EXPECT_EQ(n, 0);
	return (void *)(uintptr_t)(sum ^ total);
}

/* More than the socket takes, as single writes and as vectors, with a reader that dawdles. */
static void partial_writes_arrive_whole_and_in_order(void)
{
	enum { SIZE = 3 << 20 };
	unsigned char *data = malloc(SIZE);
	int small = 4096, p[2];
	uint64_t sum = 0;
	size_t done = 0;
	void *got;
	struct rt_co *co;

	tcp_pair(p);
	setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	for (size_t i = 0; i < SIZE; i++) {
		data[i] = (unsigned char)(i * 2654435761U >> 13);
		sum = sum * 31 + data[i];
	}
	co = rt_spawn(read_slowly, (void *)(intptr_t)p[1], NULL);
	EXPECT_EQ(rt_write_all(p[0], data, SIZE / 2, soon()), SIZE / 2);
	done = SIZE / 2;
	while (done < SIZE) {
		size_t left = SIZE - done;
		struct iovec v[2] = {{data + done, left / 3}, {data + done + left / 3, left - left / 3}};
		ssize_t n = rt_writev(p[0], v, 2, soon());

		EXPECT(n > 0);
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	rt_close_fd(p[0]);
	rt_join(co, &got);
	EXPECT((uint64_t)(uintptr_t)got == (sum ^ SIZE));
	rt_close_fd(p[1]);
	free(data);
}

static void *send_many(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static char block[65536];

	for (int i = 0; i < 64; i++)
		EXPECT_EQ(rt_write_all(fd, block, sizeof block, soon()), sizeof block);
	return NULL;
}

/* Both ends send more than fits while both receive: a reader and a writer wait on one descriptor. */
static void both_directions_wait_at_one_time(void)
{
	struct rt_co *co[2];
	size_t got[2] = {0};
	static char buf[65536];
	int p[2];

	tcp_pair(p);
	for (int i = 0; i < 2; i++)
		co[i] = rt_spawn(send_many, (void *)(intptr_t)p[i], NULL);
	while (got[0] + got[1] < 2 * 64 * 65536)
		for (int i = 0; i < 2; i++) {
			ssize_t n = rt_read(p[i], buf, sizeof buf, in_ms(1));

			if (n < 0 && n != -ETIMEDOUT)
				expect_failed(__FILE__, __LINE__, "read: %zd", n);
			got[i] += n > 0 ? (size_t)n : 0;
		}
	for (int i = 0; i < 2; i++) {
		rt_join(co[i], NULL);
		EXPECT_EQ(got[i], 64 * 65536);
	}
	close_pair(p);
}

static void *accept_some(void *arg)
{
	int l = (int)(intptr_t)arg, fd;
	intptr_t n = 0;

	while ((fd = rt_accept(l, NULL, NULL, RT_FOREVER)) >= 0) {
		n++;
		rt_close_fd(fd);
	}
	return (void *)n;
}

static void several_accept_from_one_socket(void)
{
	int l = listen_any(64);
	struct rt_co *co[4];
	intptr_t sum = 0;

	for (int i = 0; i < 4; i++)
		co[i] = rt_spawn(accept_some, (void *)(intptr_t)l, NULL);
	for (int i = 0; i < 200; i++) {
		int fd = rt_dial("127.0.0.1", port_of(l), soon());
		char byte;

		EXPECT_EQ(rt_read(fd, &byte, 1, soon()), 0);
		rt_close_fd(fd);
	}
	rt_close_fd(l);
	for (int i = 0; i < 4; i++) {
		void *n;

		rt_join(co[i], &n);
		sum += (intptr_t)n;
	}
	EXPECT_EQ(sum, 200);
}

/* Numbers and kinds ------------------------------------------------------------------------------ */

/* A duplicate keeps the registration of a closed number alive; the number then means another file. */
static void an_event_of_an_older_registration_wakes_nobody(void)
{
	int p[2], q[2], copy, number;
	struct desc *d;

	tcp_pair(p);
	tcp_pair(q);
	number = p[0];
	copy = dup(p[0]);
	close(p[0]); /* behind the runtime's back */
	EXPECT_EQ(dup2(q[0], number), number);
	rt_close_fd(q[0]);
	EXPECT_EQ(rt_fd_open(number), 0);
	EXPECT_EQ(desc_enter(number, &d), 0);
	EXPECT_EQ(desc_wait(d, POLL_READ, desc_events(d, POLL_READ), in_ms(20)), -ETIMEDOUT);
	EXPECT_EQ(rt_write_all(p[1], "x", 1, soon()), 1);
	EXPECT_EQ(desc_wait(d, POLL_READ, desc_events(d, POLL_READ), in_ms(50)), -ETIMEDOUT);
	EXPECT_EQ(rt_write_all(q[1], "x", 1, soon()), 1);
	EXPECT_EQ(desc_wait(d, POLL_READ, desc_events(d, POLL_READ), soon()), 0);
	desc_leave(d);
	rt_close_fd(number);
	close(copy);
	rt_close_fd(p[1]);
	rt_close_fd(q[1]);
}

static void other_descriptors_block_a_thread_and_not_the_rest(void)
{
	char path[] = "/tmp/test_net.XXXXXX", buf[8];
	struct closed_wait w;
	struct rt_co *co;
	int p[2], file = mkstemp(path);

	unlink(path);
	EXPECT_EQ(rt_fd_open(file), -EPERM);
	EXPECT_EQ(rt_write_all(file, "text", 4, soon()), 4);
	lseek(file, 0, SEEK_SET);
	EXPECT_EQ(rt_read(file, buf, sizeof buf, in_ms(1000)), 4);
	EXPECT_EQ(rt_close_fd(file), 0);
	EXPECT_EQ(pipe(p), 0);
	EXPECT_EQ(rt_read(p[0], buf, 1, in_ms(20)), -ETIMEDOUT);
	EXPECT_EQ(rt_wait_fd(p[0], false, in_ms(20)), -ETIMEDOUT);
	w = (struct closed_wait){WAITS_READ, p[0], 0};
	co = rt_spawn(wait_for_close, &w, NULL);
	rt_sleep(5 * RT_MSEC); /* with RT_PROCS=1 this returns only if the context went on */
	EXPECT_EQ(rt_wait_fd(p[1], true, soon()), 0);
	EXPECT_EQ(rt_write(p[1], "x", 1, soon()), 1);
	rt_join(co, NULL);
	EXPECT_EQ(w.answer, 1);
	rt_close_fd(p[0]);
	rt_close_fd(p[1]);
}

/* rt_wait_fd tells the level: what was taken by others does not count, what lies there does. */
static void wait_fd_tells_what_is_there_now(void)
{
	int p[2];
	char byte;

	tcp_pair(p);
	EXPECT_EQ(rt_wait_fd(p[0], true, soon()), 0);
	EXPECT_EQ(rt_wait_fd(p[0], false, in_ms(10)), -ETIMEDOUT);
	EXPECT_EQ(rt_write(p[1], "x", 1, soon()), 1);
	EXPECT_EQ(rt_wait_fd(p[0], false, soon()), 0);
	EXPECT_EQ(rt_wait_fd(p[0], false, soon()), 0);
	EXPECT_EQ(recv(p[0], &byte, 1, 0), 1);
	EXPECT_EQ(rt_wait_fd(p[0], false, in_ms(10)), -ETIMEDOUT);
	close_pair(p);
}

static void names_and_addresses(void)
{
	int l = rt_listen("*", "0", 4), fd;
	char port[8];
	struct sockaddr_in6 sa = {0};
	socklen_t len = sizeof sa;

	EXPECT(l >= 0);
	getsockname(l, (struct sockaddr *)&sa, &len);
	snprintf(port, sizeof port, "%u", ntohs(sa.sin6_port));
	fd = rt_dial("localhost", port, soon());
	EXPECT(fd >= 0);
	rt_close_fd(fd);
	if (sa.sin6_family == AF_INET6) {
		fd = rt_dial("::1", port, soon());
		EXPECT(fd >= 0 || fd == -EADDRNOTAVAIL);
		rt_close_fd(fd);
	}
	rt_close_fd(l);
	EXPECT_EQ(rt_dial("127.0.0.1", port, soon()), -ECONNREFUSED);
	fd = rt_dial("no such name", "80", soon());
	EXPECT(fd == -ENOENT || fd == -EAGAIN);
	l = listen_any(4);
	EXPECT_EQ(rt_listen("127.0.0.1", port_of(l), 4), -EADDRINUSE);
	rt_close_fd(l);
}

static const struct situation situations[] = {
	SITUATION(a_read_ends_at_its_deadline_and_not_before),
	SITUATION(a_deadline_of_zero_tries_once),
	SITUATION(an_accept_ends_at_its_deadline),
	SITUATION(a_connect_ends_at_its_deadline),
	SITUATION(deadlines_that_race_with_data_lose_nothing),
	SITUATION(an_end_that_came_with_the_data_is_seen),
	SITUATION(a_write_to_one_who_has_gone_is_an_error),
	SITUATION(a_close_wakes_who_waits),
	SITUATION(partial_writes_arrive_whole_and_in_order),
	SITUATION(both_directions_wait_at_one_time),
	SITUATION(several_accept_from_one_socket),
	SITUATION(an_event_of_an_older_registration_wakes_nobody),
	SITUATION(other_descriptors_block_a_thread_and_not_the_rest),
	SITUATION(wait_fd_tells_what_is_there_now),
	SITUATION(names_and_addresses),
	SITUATION(echo_with_thousands_of_connections),
};

static void *all(void *only)
{
	run_situations(situations, ARRAY_SIZE(situations), only);
	return NULL;
}

static void *wait_and_leave(void *arg)
{
	static struct closed_wait w;
	int *p = arg;

	tcp_pair(p);
	w = (struct closed_wait){WAITS_READ, p[0], 0};
	rt_detach(rt_spawn(wait_for_close, &w, NULL));
	rt_sleep(RT_MSEC);
	return NULL;
}

static void *use_again(void *arg)
{
	int *p = arg;
	char buf[4];

	/* The next runtime does not know them: they block, until they are opened. */
	EXPECT_EQ(rt_read(p[0], buf, sizeof buf, in_ms(10)), -ETIMEDOUT);
	EXPECT_EQ(rt_fd_open(p[0]), 0);
	EXPECT_EQ(rt_write(p[1], "x", 1, soon()), 1);
	EXPECT_EQ(rt_read(p[0], buf, sizeof buf, soon()), 1);
	close_pair(p);
	return NULL;
}

/* The first wait finds out, and no other asks again; waits are rounded up to milliseconds. */
static void *wait_on_an_old_kernel(void *arg)
{
	int64_t until = rt_now() + 20 * 1300 * RT_USEC;

	atomic_store(&old_kernel, true);
	for (int i = 0; i < 20; i++)
		rt_sleep(1300 * RT_USEC);
	EXPECT(rt_now() >= until);
	EXPECT(old_waits >= 1 && old_waits <= (int)rt_procs() + 1);
	a_read_ends_at_its_deadline_and_not_before();
	return NULL;
}

int main(int argc, char **argv)
{
	struct rt_options o = {0};
	int pair[2];

	signal(SIGPIPE, SIG_DFL);
	EXPECT_EQ(rt_run(&o, all, argc > 1 ? argv[1] : NULL, NULL), 0);
	EXPECT_EQ(rt_run(&o, wait_and_leave, pair, NULL), 0);
	EXPECT_EQ(rt_run(&o, use_again, pair, NULL), 0);
	CHECK(!expect_failures, "descriptors_of_a_runtime_that_has_ended_can_be_used_by_the_next");
	EXPECT_EQ(rt_run(&o, wait_on_an_old_kernel, NULL, NULL), 0);
	CHECK(!expect_failures, "a_kernel_without_epoll_pwait2_serves_too");
	return tap_done();
}
