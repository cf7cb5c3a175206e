#include "dump.h"

#include "../sched/switch.h"
#include "goroutine.h"
#include "obs.h"
#include "text.h"

#include <unistd.h>

static _Atomic int asked_fd = -1;

static void write_all(int fd, const struct out *o)
{
	for (size_t at = 0; at < o->n;) {
		ssize_t n = write(fd, o->data + at, o->n - at);

		if (n <= 0)
			return; /* nobody is there to be told */
		at += (size_t)n;
	}
}

struct job {
	int fd;
	struct snapshot snapshot;
};

static void write_dump(void *arg)
{
	struct job *j = arg;
	struct out o = {0};

	goroutine_dump(&o, &j->snapshot);
	write_all(j->fd, &o);
	out_done(&o);
}

void rt_dump(int fd)
{
	struct job j = {.fd = fd};

	if (snapshot_take_running(&j.snapshot) < 0)
		return;
	obs_work(write_dump, &j);
	snapshot_done(&j.snapshot);
}

struct one {
	int fd;
	const struct rt_co *co;
	const uintptr_t *pcs;
	int n;
};

static void *write_one(void *arg)
{
	struct one *d = arg;
	struct out o = {0};

	text_one(&o, d->co, d->pcs, d->n);
	write_all(d->fd, &o);
	out_done(&o);
	return NULL;
}

void dump_one(int fd, const struct rt_co *co, const uintptr_t *pcs, int n)
{
	struct one d = {fd, co, pcs, n};
	struct m *m = this_m();

	/* The stack that the scheduler left is free below it. */
	if (m && m->cur && m->saved.sp && !m->on_system_stack)
		rt_call_on((char *)m->saved.sp - 256, write_one, &d);
	else
		write_one(&d);
}

void dump_ask(int fd)
{
	atomic_store(&asked_fd, fd);
	monitor_wake(1);
}

int64_t dump_tick(void)
{
	int fd = atomic_exchange(&asked_fd, -1);

	if (fd >= 0)
		rt_dump(fd);
	return RT_FOREVER;
}
