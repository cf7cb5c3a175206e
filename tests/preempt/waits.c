#include "waits.h"

#include "../../runtime/sched/sched.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS RT_MSEC        /* no clock that is read from a counter takes such steps */
#define LOOK_NS (50 * RT_MSEC) /* a few ticks of 10 ms */

enum { THREADS_MAX = 64 };

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static struct {
	struct {
		pid_t tid;
		int fd;
		int64_t waited, ran; /* at the mark */
	} threads[THREADS_MAX];
	size_t n;
} w;

static int64_t own_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * RT_SEC + t.tv_nsec;
}

/* clock_getres(2) says 1 ns of every kernel: the smallest step that is seen decides. */
static bool steps_are_ticks(void)
{
	int64_t until = rt_now() + LOOK_NS, last = own_cpu(), now;

	do {
		now = own_cpu();
		if (now > last && now - last < TICK_NS)
			return false;
		last = now;
	} while (rt_now() < until);
	return true;
}

bool waits_are_ticks(void)
{
	static int known = -1;

	if (known < 0)
		known = steps_are_ticks();
	return known;
}

void waits_add(pid_t tid)
{
	char path[64];
	size_t i = 0;

	while (i < w.n && w.threads[i].tid != tid)
		i++;
	if (i < w.n || w.n == THREADS_MAX || tid == 0)
		return;
	snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)tid);
	w.threads[w.n].tid = tid;
	w.threads[w.n++].fd = open(path, O_RDONLY | O_CLOEXEC);
}

/* The second of three numbers. */
static int64_t waited(int fd)
{
	char text[100], *at;
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	strtoll(text, &at, 10);
	return strtoll(at, NULL, 10);
}

static int64_t ran(pid_t tid)
{
	clockid_t clock = (clockid_t)(~(unsigned)tid << 3 | 6); /* clock_getcpuclockid(3), of a thread */
	struct timespec t;

	return clock_gettime(clock, &t) == 0 ? t.tv_sec * RT_SEC + t.tv_nsec : 0;
}

void waits_mark(void)
{
	lock_get(&sched.lock);
	for (struct m *m = sched.all_ms; m; m = m->all_next)
		waits_add(m->tid);
	lock_put(&sched.lock);
	for (size_t i = 0; i < w.n; i++) {
		w.threads[i].waited = waited(w.threads[i].fd);
		w.threads[i].ran = ran(w.threads[i].tid);
	}
}

int64_t waits_since(int64_t elapsed)
{
	pid_t self = gettid();
	int64_t own = 0, own_idle = elapsed, longest = 0;

	if (waits_are_ticks())
		return 0;
	for (size_t i = 0; i < w.n; i++) {
		int64_t idle = max(elapsed - (ran(w.threads[i].tid) - w.threads[i].ran), 0);
		int64_t ns = min(waited(w.threads[i].fd) - w.threads[i].waited, idle);

		if (w.threads[i].tid == self) {
			own = ns;
			own_idle = idle;
		} else {
			longest = max(ns, longest);
		}
	}
	return max(longest, min(own + longest, own_idle));
}

void waits_end(void)
{
	for (size_t i = 0; i < w.n; i++)
		if (w.threads[i].fd >= 0)
			close(w.threads[i].fd);
	w.n = 0;
}
