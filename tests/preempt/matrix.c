#include "matrix.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUND_TRIPS = 500, STOPS_MAX = 10000, STOPS_MUST_FAIL = 10 };

const char *const mode_names[MODES] = {
	[RT_PREEMPT_ALL] = "all",
	[RT_PREEMPT_COOPERATIVE] = "cooperative",
	[RT_PREEMPT_PAGE] = "page",
	[RT_PREEMPT_SIGNAL] = "signal",
};

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static int64_t quantile(int64_t *sorted, size_t n, unsigned percent)
{
	size_t i = (n * percent + 99) / 100;

	return sorted[i ? i - 1 : 0];
}

/* The reference: from pthread_kill() to the acknowledgement of the handler. ------------------------ */

static struct {
	_Atomic int seen, ready, end;
} trip;

static void acknowledge(int sig)
{
	atomic_store(&trip.seen, 1);
}

static void *spin(void *arg)
{
	atomic_store(&trip.ready, 1);
	while (!atomic_load(&trip.end))
		;
	return NULL;
}

void matrix_round_trip(int64_t *ret_p50_ns, int64_t *ret_p90_ns)
{
	struct sigaction sa = {.sa_handler = acknowledge}, old;
	int64_t ns[ROUND_TRIPS];
	pthread_t t;

	atomic_store(&trip.end, 0);
	atomic_store(&trip.ready, 0);
	sigaction(SIGUSR2, &sa, &old);
	*ret_p50_ns = *ret_p90_ns = 0;
	if (pthread_create(&t, NULL, spin, NULL))
		return;
	while (!atomic_load(&trip.ready))
		;
	for (int i = 0; i < ROUND_TRIPS; i++) {
		struct timespec pause = {.tv_nsec = 200 * 1000};
		int64_t begin;

		nanosleep(&pause, NULL);
		atomic_store(&trip.seen, 0);
		begin = rt_now();
		pthread_kill(t, SIGUSR2);
		while (!atomic_load(&trip.seen))
			;
		ns[i] = rt_now() - begin;
	}
	atomic_store(&trip.end, 1);
	pthread_join(t, NULL);
	sigaction(SIGUSR2, &old, NULL);
	qsort(ns, ROUND_TRIPS, sizeof *ns, compare);
	*ret_p50_ns = quantile(ns, ROUND_TRIPS, 50);
	*ret_p90_ns = quantile(ns, ROUND_TRIPS, 90);
}

/* A cell -------------------------------------------------------------------------------------- */

static _Atomic int stop_work, working;

static void *work(void *arg)
{
	const struct workload *w = arg;

	atomic_store(&working, 1);
	while (!atomic_load(&stop_work)) {
		w->unit();
		RT_POLL();
	}
	return NULL;
}

static void note_time(void *arg)
{
	*(int64_t *)arg = rt_now();
}

static void *run_cell(void *arg)
{
	struct cell *c = arg;
	static int64_t ns[STOPS_MAX];
	struct rt_co *worker;
	uint64_t random = 88172645463325252u;

	if (c->workload->begin && !c->workload->begin())
		return NULL;
	atomic_store(&stop_work, 0);
	atomic_store(&working, 0);
	worker = rt_spawn(work, (void *)c->workload, NULL);
	while (!atomic_load(&working))
		rt_yield();
	for (unsigned i = 0; i < c->stops; i++) {
		int64_t begin, end = 0;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		rt_sleep((int64_t)(100 * RT_USEC + random % (400 * RT_USEC)));
		begin = rt_now();
		rt_stop_world("harness", note_time, &end);
		ns[i] = end - begin;
	}
	atomic_store(&stop_work, 1);
	rt_join(worker, NULL);
	if (c->workload->end)
		c->workload->end();
	qsort(ns, c->stops, sizeof *ns, compare);
	c->p50_ns = quantile(ns, c->stops, 50);
	c->p99_ns = quantile(ns, c->stops, 99);
	c->max_ns = ns[c->stops - 1];
	c->kept = c->p50_ns <= c->limit50_ns && (c->must_fail || c->p99_ns <= c->limit99_ns);
	c->ran = true;
	return NULL;
}

void matrix_cell(struct cell *c, unsigned stops)
{
	struct rt_options o = {.procs = 2, .preempt = c->mode};

	matrix_round_trip(&c->limit50_ns, &c->limit99_ns);
	c->limit50_ns *= SLO_ROUND_TRIPS;
	c->limit99_ns *= SLO_ROUND_TRIPS;
	c->must_fail = !c->workload->polls &&
		       (c->mode == RT_PREEMPT_COOPERATIVE || c->mode == RT_PREEMPT_PAGE);
	c->stops = c->must_fail ? STOPS_MUST_FAIL : stops < STOPS_MAX ? stops : STOPS_MAX;
	atomic_store(&workload_errors, 0);
	rt_run(&o, run_cell, c, NULL);
	c->errors = atomic_load(&workload_errors);
}
