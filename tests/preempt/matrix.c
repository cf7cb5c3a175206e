#include "matrix.h"

#include "fault.h"
#include "trip.h"
#include "waits.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STOPS_MAX = 10000, STOPS_MUST_FAIL = 10, ROUNDS_MUST_FAIL = 3, TRIP_SPREAD_MAX = 5 };

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

/* Of malloc: what is global the collector searches in its pauses, which a stop may have to wait for. */
static struct {
	int64_t *ns, *trip_ns, *waited_ns;
	int64_t begin;
	unsigned i;
} now;

/* The time that the machine took from both alike: the rest is the runtime's. */
static int64_t begin_time(void)
{
	fault_mark();
	waits_mark();
	return rt_now();
}

static int64_t end_time(int64_t begin, int64_t *ret_waited)
{
	int64_t end = rt_now(), waited = waits_since(end - begin), lost = fault_lost(begin, end);

	/* A throttled thread waits for the processor as well: not both. */
	*ret_waited = waited > lost ? waited : lost;
	return end - begin - *ret_waited;
}

static void note_time(void *arg)
{
	struct cell *c = arg;
	now.ns[now.i] = end_time(now.begin, &now.waited_ns[now.i]);
	c->errors += atomic_load(&workload_section);
	trip_prepare();
	now.begin = rt_now();
	trip_once();
	/* Nothing is subtracted: the kernel books a signal's way to another CPU as waiting, and 3 us
	 * were left of the 57 that it takes here. What others add now and then moves no median. */
	now.trip_ns[now.i] = rt_now() - now.begin;
	trip_rest();
}

/* A p99 of the reference that is far from its p50 is the machine's, and would excuse any stop. */
static int64_t trip_p99(const struct cell *c)
{
	int64_t most = TRIP_SPREAD_MAX * quantile(now.trip_ns, c->stops, 50);
	int64_t p99 = quantile(now.trip_ns, c->stops, 99);

	return p99 < most ? p99 : most;
}

static void judge(struct cell *c, struct round *r)
{
	qsort(now.ns, c->stops, sizeof *now.ns, compare);
	qsort(now.trip_ns, c->stops, sizeof *now.trip_ns, compare);
	qsort(now.waited_ns, c->stops, sizeof *now.waited_ns, compare);
	r->p50_ns = quantile(now.ns, c->stops, 50);
	r->p99_ns = quantile(now.ns, c->stops, 99);
	r->max_ns = now.ns[c->stops - 1];
	r->waited99_ns = quantile(now.waited_ns, c->stops, 99);
	r->limit50_ns = SLO_ROUND_TRIPS * quantile(now.trip_ns, c->stops, 50);
	r->limit99_ns = SLO_ROUND_TRIPS * trip_p99(c);
	r->kept = r->p50_ns <= r->limit50_ns && (c->must_fail || r->p99_ns <= r->limit99_ns);
	c->kept += r->kept;
}

static void run_round(struct cell *c)
{
	static uint64_t random = 88172645463325252u;

	for (now.i = 0; now.i < c->stops; now.i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		rt_sleep((int64_t)(100 * RT_USEC + random % (400 * RT_USEC)));
		now.begin = begin_time();
		rt_stop_world("harness", note_time, c);
	}
	judge(c, &c->round[c->rounds++]);
}

static void *run_cell(void *arg)
{
	struct cell *c = arg;
	struct rt_co *worker;

	if (c->workload->begin && !c->workload->begin())
		return NULL;
	atomic_store(&stop_work, 0);
	atomic_store(&working, 0);
	worker = rt_spawn(work, (void *)c->workload, NULL);
	while (!atomic_load(&working))
		rt_yield();
	while (c->rounds < (c->must_fail ? ROUNDS_MUST_FAIL : ROUNDS_MAX) && (c->must_fail || !c->kept))
		run_round(c);
	waits_end();
	atomic_store(&stop_work, 1);
	rt_join(worker, NULL);
	if (c->workload->end)
		c->workload->end();
	return NULL;
}

static bool must_fail(const char *workload, enum rt_preempt_mode mode)
{
	enum { pass, fail };
	static const struct {
		const char *workload;
		enum rt_preempt_mode mode;
		bool fails;
	} slo[] = {
#define all RT_PREEMPT_ALL
#define cooperative RT_PREEMPT_COOPERATIVE
#define page RT_PREEMPT_PAGE
#define signal RT_PREEMPT_SIGNAL
#define SLO(workload, mode, expectation) {workload, mode, expectation},
#include "slo.def"
	};

	for (size_t i = 0; i < sizeof slo / sizeof *slo; i++)
		if (slo[i].mode == mode && !strcmp(slo[i].workload, workload))
			return slo[i].fails;
	fprintf(stderr, "rt-preempt: slo.def has no line for %s, %s\n", workload, mode_names[mode]);
	exit(2);
}

void matrix_cell(struct cell *c, unsigned stops)
{
	struct rt_options o = {.procs = 2, .preempt = c->mode};

	c->must_fail = must_fail(c->workload->name, c->mode);
	c->stops = c->must_fail ? STOPS_MUST_FAIL : stops < STOPS_MAX ? stops : STOPS_MAX;
	atomic_store(&workload_errors, 0);
	if (!trip_begin())
		return;
	now.ns = calloc(c->stops, sizeof *now.ns);
	now.trip_ns = calloc(c->stops, sizeof *now.trip_ns);
	now.waited_ns = calloc(c->stops, sizeof *now.waited_ns);
	rt_run(&o, run_cell, c, NULL);
	free(now.ns);
	free(now.trip_ns);
	free(now.waited_ns);
	trip_end();
	c->errors += atomic_load(&workload_errors);
}
