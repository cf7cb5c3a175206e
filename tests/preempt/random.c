#include "random.h"

#include "foreign.h"
#include "kernels.h"
#include "poison.h"
#include "workloads.h"

#include "../../runtime/sched/sched.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEED 0x9e3779b97f4a7c15

enum { GRACE_SECONDS = 60, SLEEPERS = 3, WORKERS_MAX = 64, PROCS_TRIED = 4, TURNS_ON_END = 64 };

static struct soak *soak;
static _Atomic int over;
static _Atomic uint64_t turns[WORKERS_MAX];

/* A worker: one of a kernel, a workload or another function. */
struct worker {
	const char *name;
	const struct kernel *kernel;
	const struct workload *workload;
	void (*turn)(void);
	_Atomic uint64_t *turns;
};

static void note_wrong(const char *name, const char *what)
{
	static struct lock lock;

	lock_get(&lock);
	if (!soak->wrong++)
		snprintf(soak->first_wrong, sizeof soak->first_wrong, "%s: %s", name, what);
	lock_put(&lock);
}

static void turn_of_kernel(const struct kernel *k, uint64_t want)
{
	if (k->fn(SEED) != want)
		note_wrong(k->name, "wrong value");
}

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	uint64_t want = w->kernel ? w->kernel->fn(SEED) : 0;

	while (!atomic_load(&over)) {
		if (w->kernel)
			turn_of_kernel(w->kernel, want);
		else if (w->workload)
			w->workload->unit();
		else
			w->turn();
		/* Kernels are short: it is the others' turn now and then also where nothing preempts. */
		if (atomic_fetch_add(w->turns, 1) % TURNS_ON_END == 0)
			rt_yield();
		RT_POLL();
	}
	return NULL;
}

static void turn_of_sleeper(void)
{
	int64_t ns = (int64_t)(((uint64_t)rt_now() * SEED) >> 46), begin = rt_now();

	rt_sleep(ns);
	if (rt_now() < begin + ns)
		note_wrong("sleeper", "woken early");
}

static void turn_of_caller(void)
{
	struct timespec pause = {.tv_nsec = 30 * 1000};

	rt_enter_syscall();
	nanosleep(&pause, NULL);
	rt_exit_syscall();
}

/* Disturbing ---------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	return *x ^= *x << 17;
}

static void collect(void *arg)
{
	if (atomic_load(&workload_section))
		note_wrong("preempt-off", "a stop within the section");
	poison_dead_stacks(NULL);
}

static void nothing(void *arg)
{
}

/* A thread of its own, which needs nobody's turn. */
static void *ask(void *arg)
{
	uint64_t random = soak->seed * 2 + 1;

	while (!atomic_load(&over)) {
		struct timespec pause = {.tv_nsec = (long)(next_random(&random) % (300 * RT_USEC))};

		nanosleep(&pause, NULL);
		preempt_ask(sched.ps[next_random(&random) % atomic_load(&sched.n_made)]);
		soak->asks++;
	}
	return NULL;
}

static void disturb(uint64_t *random)
{
	uint64_t dice = next_random(random) % 100;

	/* A stop takes long where only polls answer, and the dice may not come to a change in time. */
	if (dice < 90 && soak->changes) {
		rt_stop_world("soak", dice < 60 ? collect : nothing, NULL);
		soak->stops++;
	} else {
		rt_set_procs(1 + next_random(random) % PROCS_TRIED);
		soak->changes++;
	}
}

static void disturb_until(int64_t until)
{
	uint64_t random = soak->seed * 4 + 3;

	while (rt_now() < until) {
		disturb(&random);
		rt_sleep((int64_t)(next_random(&random) % (200 * RT_USEC)));
	}
}

/* The run ------------------------------------------------------------------------------------- */

static size_t make_workers(struct worker *w)
{
	size_t n = 0;

	for (size_t i = 0; i < n_kernels; i++)
		if (!kernels[i].allocates) /* theirs is one at a time */
			w[n++] = (struct worker){.name = kernels[i].name, .kernel = &kernels[i]};
	for (size_t i = 0; i < n_workloads; i++)
		if (!workloads[i].begin || workloads[i].begin())
			w[n++] = (struct worker){.name = workloads[i].name, .workload = &workloads[i]};
	for (int i = 0; i < SLEEPERS; i++)
		w[n++] = (struct worker){.name = "sleeper", .turn = turn_of_sleeper};
	w[n++] = (struct worker){.name = "caller", .turn = turn_of_caller};
	for (size_t i = 0; i < n; i++)
		w[i].turns = &turns[i];
	return n;
}

static void *run_soak(void *arg)
{
	static struct worker workers[WORKERS_MAX];
	struct rt_co *co[WORKERS_MAX];
	size_t n = make_workers(workers);
	pthread_t asker;

	for (size_t i = 0; i < n; i++) {
		struct rt_attr attr = {.name = workers[i].name};

		atomic_store(&turns[i], 0);
		co[i] = rt_spawn(run_worker, &workers[i], &attr);
	}
	if (pthread_create(&asker, NULL, ask, NULL))
		return NULL;
	disturb_until(rt_now() + (int64_t)(soak->seconds * 1e9));
	atomic_store(&over, 1);
	pthread_join(asker, NULL);
	for (size_t i = 0; i < n; i++) {
		rt_join(co[i], NULL);
		soak->turns += atomic_load(&turns[i]);
		soak->idle += atomic_load(&turns[i]) == 0;
		if (workers[i].workload && workers[i].workload->end)
			workers[i].workload->end();
	}
	soak->ran = true;
	return NULL;
}

static void on_alarm(int sig)
{
	static const char text[] = "rt-preempt: the soak does not end; its coroutines:\n";

	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(1);
	rt_dump(STDERR_FILENO);
	_exit(1);
}

void random_soak(struct soak *s)
{
	struct rt_options o = {.procs = 2, .preempt = s->mode};

	soak = s;
	atomic_store(&over, 0);
	atomic_store(&workload_errors, 0);
	foreign_copy_bytes = 32 << 20;
	signal(SIGALRM, on_alarm);
	alarm((unsigned)s->seconds + GRACE_SECONDS);
	rt_run(&o, run_soak, NULL, NULL);
	alarm(0);
	s->wrong += atomic_load(&workload_errors);
}
