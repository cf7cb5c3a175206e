/*
 * rt_sched_latency_seconds: waits alternate between long and short ones, so that a sample in step with
 * them would see one kind only; each kind must come out as often as there were.
 */
#include "rt.h"
#include "rt_metrics.h"

#include "tap.h"

#include <math.h>
#include <string.h>

#define BOUND "0.000032768"

enum { BOUND_NS = 32768, ROUNDS = 10000, SPIN_NS = 50 * 1000, SLEEPS = 50, HOG_MS = 200 };

struct seen {
	double all, above, sum_s; /* above: longer than the bound that was asked for */
};

/* The histogram as a scrape has it. */
static struct seen scrape(const char *bound)
{
	static const char name[] = "rt_sched_latency_seconds";
	char *text = NULL, key[80];
	struct seen s = {0};
	size_t len;
	FILE *f = open_memstream(&text, &len);
	const char *at;

	rt_metrics_write(f);
	fclose(f);
	snprintf(key, sizeof key, "\n%s_bucket{le=\"%s\"} ", name, bound);
	at = strstr(text, key);
	s.above = at ? -strtod(at + strlen(key), NULL) : 1e18;
	snprintf(key, sizeof key, "\n%s_count ", name);
	at = strstr(text, key);
	s.all = at ? strtod(at + strlen(key), NULL) : 0;
	s.above += s.all;
	snprintf(key, sizeof key, "\n%s_sum ", name);
	at = strstr(text, key);
	s.sum_s = at ? strtod(at + strlen(key), NULL) : 0;
	free(text);
	return s;
}

static struct seen since(struct seen before, const char *bound)
{
	struct seen s = scrape(bound);

	return (struct seen){s.all - before.all, s.above - before.above, s.sum_s - before.sum_s};
}

static void spin(int64_t ns)
{
	int64_t end = rt_now() + ns;

	while (rt_now() < end)
		;
}

static int64_t sent_ns, started_ns;
static int longer; /* waits than the bound, as the program itself saw them */

/* Each makes the other wait: for nothing, or for a spin. */
static void *yields_at_once(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		rt_yield();
	return NULL;
}

static void *yields_late(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		spin(SPIN_NS);
		rt_yield();
	}
	longer = ROUNDS;
	return NULL;
}

static void *run_yielders(void *arg)
{
	struct rt_co *a = rt_spawn(yields_at_once, NULL, NULL), *b = rt_spawn(yields_late, NULL, NULL);

	rt_join(a, NULL);
	rt_join(b, NULL);
	return NULL;
}

static void *answers(void *arg)
{
	struct rt_chan **pair = arg;

	while (rt_recv(pair[0], NULL)) {
		longer += rt_now() - sent_ns > BOUND_NS;
		rt_send(pair[1], NULL);
	}
	return NULL;
}

/* The partner can run from the first send on, and runs after the spin; earlier when sysmon takes the
 * sender off. */
static void *run_channels(void *arg)
{
	struct rt_chan *pair[] = {rt_chan_new(0, 0), rt_chan_new(0, 0)};
	struct rt_co *a = rt_spawn(answers, pair, NULL);

	for (int i = 0; i < ROUNDS; i++) {
		rt_yield(); /* it waits in rt_recv then */
		sent_ns = rt_now();
		rt_send(pair[0], NULL);
		spin(SPIN_NS);
		rt_recv(pair[1], NULL);
	}
	rt_close(pair[0]);
	rt_join(a, NULL);
	rt_chan_free(pair[0]);
	rt_chan_free(pair[1]);
	return NULL;
}

static void starts(void *arg)
{
	longer += rt_now() - started_ns > BOUND_NS;
}

static void *run_spawner(void *arg)
{
	const int n = MANY(ROUNDS);

	for (int i = 0; i < n; i++) {
		started_ns = rt_now();
		rt_go(starts, NULL);
		spin(SPIN_NS);
		sent_ns = rt_now();
		rt_yield();
		longer += rt_now() - sent_ns > BOUND_NS; /* where a coroutine is dear to end */
	}
	return NULL;
}

static void check_shares(const char *what, void *(*fn)(void *arg), int waits)
{
	/* One wait in 64 is measured: of 20,000 these are four standard deviations. */
	double fewer = fmax(1, sqrt(2.0 * ROUNDS / waits));
	struct seen before = scrape(BOUND), s;

	longer = 0;
	rt_run(&(struct rt_options){.procs = 1, .preempt = RT_PREEMPT_COOPERATIVE}, fn, NULL, NULL);
	s = since(before, BOUND);
	printf("# %s: %.0f waits, %.0f of them long (%d), %.1f us on average\n", what, s.all, s.above,
	       longer, 1e6 * s.sum_s / s.all);
	CHECK(fabs(s.all / waits - 1) < 0.25 * fewer, "%s: %.0f waits of the %d there were", what,
	      s.all, waits);
	CHECK(fabs(s.above / s.all - (double)longer / waits) < 0.12 * fewer,
	      "%s: the share of the long ones", what);
	CHECK(s.sum_s > s.above * SPIN_NS / 1e9 * 0.6, "%s: the sum holds the long ones", what);
}

/* After a busy time, too: what happens now and then is all measured. */
static void *run_sleeper(void *arg)
{
	struct seen *ret = arg;

	for (int i = 0; i < SLEEPS; i++)
		rt_sleep(3 * RT_MSEC);
	*ret = scrape("0.001048576");
	for (int i = 0; i < SLEEPS; i++)
		rt_sleep(3 * RT_MSEC);
	*ret = since(*ret, "0.001048576");
	return NULL;
}

static void *hog(void *arg)
{
	int64_t end = rt_now() + HOG_MS * RT_MSEC;

	while (rt_now() < end)
		RT_POLL();
	return NULL;
}

static void *run_hogs(void *arg)
{
	struct rt_co *a = rt_spawn(hog, NULL, NULL), *b = rt_spawn(hog, NULL, NULL);

	rt_join(a, NULL);
	rt_join(b, NULL);
	return NULL;
}

int main(void)
{
	struct seen s;

	check_shares("yields", run_yielders, 2 * ROUNDS);
	check_shares("channels", run_channels, 3 * ROUNDS);
	check_shares("new coroutines", run_spawner, 2 * MANY(ROUNDS));
	rt_run(&(struct rt_options){.procs = 1}, run_sleeper, &s, NULL);
	CHECK(s.all == SLEEPS, "a wait now and then is measured each time");
	s = scrape("0.001048576");
	rt_run(&(struct rt_options){.procs = 1}, run_hogs, NULL, NULL);
	s = since(s, "0.001048576");
	CHECK(s.above > 0, "who was preempted waits for the other one's slice");
	return tap_done();
}
