/*
 * slow-syscalls. That a call took at least so long is no matter of the machine's speed; that nothing waits
 * for it is seen by what goes on meanwhile, under latencies longer than the patience of the test.
 */
#include "control_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>

enum { MANY_CALLS = 40, LATENCY_MS = 60 };

static int files[2];   /* a pipe that the netpoller does not know, with bytes in it */
static int sockets[2]; /* a pair that it does, with bytes in both */
static int listener;
static struct sockaddr_in address;

static void *open_all(void *arg)
{
	unsigned n = sizeof address;

	(void)!pipe(files);
	(void)!write(files[1], dir, sizeof dir);
	(void)!socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
	(void)!write(sockets[0], dir, sizeof dir);
	(void)!write(sockets[1], dir, sizeof dir);
	rt_fd_open(sockets[0]);
	rt_fd_open(sockets[1]);
	listener = rt_listen("127.0.0.1", "0", 8);
	getsockname(listener, (void *)&address, &n);
	return NULL;
}

/* The calls ----------------------------------------------------------------------------------------- */

static char byte;

static void file_read(void)
{
	rt_read(files[0], &byte, 1, RT_FOREVER);
}

static void file_write(void)
{
	rt_write(files[1], "x", 1, RT_FOREVER);
}

static void file_close(void)
{
	rt_close_fd(dup(files[0]));
}

static void *nothing_(void *arg)
{
	return arg;
}

static void blocking(void)
{
	rt_blocking(nothing_, NULL);
}

static void socket_read(void)
{
	rt_read(sockets[0], &byte, 1, RT_FOREVER);
}

static void socket_try(void)
{
	rt_read(sockets[0], &byte, 1, 0);
}

static void socket_write(void)
{
	rt_write(sockets[1], "x", 1, RT_FOREVER);
}

static void socket_look(void)
{
	rt_wait_fd(sockets[0], false, RT_FOREVER);
}

static int fresh; /* a connection that the netpoller has */

static void connecting(void)
{
	fresh = rt_connect((void *)&address, sizeof address, RT_FOREVER);
}

static void accepting(void)
{
	int fd = rt_accept(listener, NULL, NULL, RT_FOREVER);

	shutdown(fd, SHUT_RDWR); /* a close would be slow too */
}

static void closing(void)
{
	rt_close_fd(fresh);
}

/* A connect before each accept: the queue is never empty. */
static const struct {
	const char *name;
	void (*fn)(void);
} calls[] = {
	{"a read of a file", file_read},     {"a write to a file", file_write},
	{"a close of a file", file_close},   {"what rt_blocking runs", blocking},
	{"a read of a socket", socket_read}, {"a read that does not wait", socket_try},
	{"a write to a socket", socket_write}, {"a look whether a socket is ready", socket_look},
	{"a connect", connecting},           {"an accept", accepting},
	{"a close of a socket", closing},
};
enum { CALLS = sizeof calls / sizeof *calls };

static void *timed(void *fn)
{
	int64_t begun = rt_now();

	((void (*)(void))fn)();
	return (void *)(intptr_t)(rt_now() - begun);
}

/* In the service, by a coroutine; how long it took. */
static int64_t call(void (*fn)(void))
{
	void *took = NULL;

	rt_call(timed, (void *)fn, &took);
	return (intptr_t)took;
}

/* The tests ----------------------------------------------------------------------------------------- */

static void each_call_takes_longer(void)
{
	int fd = greeted();

	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=60000");
	for (int i = 0; i < CALLS; i++) {
		long long before = status_of(fd, "slow_calls="), us = status_of(fd, "slow_us=");
		int64_t took = call(calls[i].fn);

		CHECK(took >= LATENCY_MS * RT_MSEC && status_of(fd, "slow_calls=") == before + 1 &&
		      status_of(fd, "slow_us=") >= us + LATENCY_MS * 1000, "%s takes longer, and is counted",
		      calls[i].name);
	}
	ask(fd, "end tag=s");
	close(fd);
}

static _Atomic int under_way, done;

static void one_of_many(void *fn)
{
	atomic_fetch_add(&under_way, 1);
	((void (*)(void))fn)();
	atomic_fetch_add(&done, 1);
}

static void begin_many(void (*fn)(void), int n)
{
	atomic_store(&under_way, 0);
	atomic_store(&done, 0);
	for (int i = 0; i < n; i++)
		rt_post(one_of_many, (void *)fn);
}

static bool comes(_Atomic int *counter, int n)
{
	for (int i = 0; i < 30000 && atomic_load(counter) < n; i++)
		usleep(1000);
	return atomic_load(counter) >= n;
}

static int threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = 0;

	while (readdir(tasks))
		n++;
	closedir(tasks);
	return n;
}

/* Delays of a minute, more of them than there are Ps. */
static void nothing_waits_for(void (*fn)(void), const char *what, bool has_thread)
{
	int fd = greeted(), seen, before;

	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=60000000");
	before = threads();
	begin_many(fn, MANY_CALLS);
	CHECK(comes(&under_way, MANY_CALLS), "%s: more begin than there are Ps", what);
	seen = atomic_load(&ticks);
	CHECK(comes(&ticks, seen + 100) && atomic_load(&done) == 0, "%s: others run meanwhile", what);
	if (!has_thread)
		CHECK(threads() < before + MANY_CALLS / 2, "%s: no thread waits either", what);
	CHECK(says(fd, "end tag=s", "ok 1") && comes(&done, MANY_CALLS), "%s: the end cuts them short",
	      what);
	close(fd);
}

/* How many of n calls were delayed. */
static long long delayed_of(int fd, int n)
{
	long long before = status_of(fd, "slow_calls=");

	for (int i = 0; i < n; i++)
		call(blocking);
	return status_of(fd, "slow_calls=") - before;
}

static void a_share_of_the_calls_is_chosen(void)
{
	int fd = greeted();
	long long once, again;

	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=1 share_ppm=250000");
	once = delayed_of(fd, 400);
	ask(fd, "end tag=s");
	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=1 share_ppm=250000");
	again = delayed_of(fd, 400);
	printf("# %lld of 400\n", once);
	CHECK(once > 60 && once < 140, "a quarter of the calls is delayed");
	CHECK(again == once, "and the same ones again");
	ask(fd, "end tag=s");
	close(fd);
}

static void jitter_makes_some_shorter(void)
{
	int fd = greeted();
	int64_t begun = rt_now();

	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=25000000 jitter_us=25000000");
	begin_many(blocking, MANY_CALLS);
	CHECK(comes(&done, 1) && rt_now() - begun < 25 * RT_SEC, "jitter makes some calls shorter");
	CHECK(atomic_load(&done) < MANY_CALLS, "and not all of them");
	ask(fd, "end tag=s");
	comes(&done, MANY_CALLS);
	close(fd);
}

static void it_ends(void)
{
	int fd = greeted(), other = greeted();

	CHECK(says(fd, "slow-syscalls tag=s lease_ms=60000", "error latency_us is missing"),
	      "a latency is given");
	CHECK(says(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=5 jitter_us=6",
		   "error slow-syscalls: jitter_us is larger than latency_us"), "no delay is negative");
	ask(fd, "slow-syscalls tag=s lease_ms=60000 latency_us=1000");
	CHECK(says(other, "slow-syscalls tag=t lease_ms=60000 latency_us=5",
		   "error slow-syscalls: s delays them already"), "a call has one delay");
	CHECK(delayed_of(other, 10) == 10, "it stands by itself");
	close(fd);
	CHECK(comes_to(other, "actions=-") && delayed_of(other, 10) == 0, "it ends with its connection");
	ask(other, "slow-syscalls tag=t lease_ms=1000 latency_us=1");
	CHECK(comes_to(other, "slow-syscalls:t:") && comes_to(other, "actions=-") &&
	      delayed_of(other, 10) == 0, "and with its lease");
	close(other);
}

int main(void)
{
	if (!rig_begin())
		return 1;
	rt_attach();
	rt_call(open_all, NULL, NULL);
	it_ends();
	each_call_takes_longer();
	nothing_waits_for(blocking, "files", true);
	nothing_waits_for(socket_look, "sockets", false);
	a_share_of_the_calls_is_chosen();
	jitter_makes_some_shorter();
	rt_detach_thread();
	stop();
	return rig_end();
}
