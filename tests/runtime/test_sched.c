/* Coroutines start, run on all Ps, wait, are joined and end. */
#include "rt.h"

#include "tap.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic int counter;

static void count(void *arg)
{
	atomic_fetch_add(&counter, 1);
}

static void *square(void *arg)
{
	long n = (long)arg;

	rt_yield();
	return (void *)(n * n);
}

static void *sleeper(void *arg)
{
	rt_sleep((int64_t)(long)arg);
	return arg;
}

static _Atomic int spin_stop;

/* Without a poll it leaves only where signals can make it. */
static bool has_signals(void)
{
	const char *mode = getenv("RT_PREEMPT");

	return !mode || !strcmp(mode, "all") || !strcmp(mode, "signal");
}

static void *hog(void *arg)
{
	unsigned long n = 0;

	while (!spin_stop)
		n++;
	return (void *)n;
}

static void *polling_hog(void *arg)
{
	unsigned long n = 0;

	while (!spin_stop) {
		n++;
		RT_POLL();
	}
	return (void *)n;
}

static struct rt_co *start_hog(void)
{
	return rt_spawn(has_signals() ? hog : polling_hog, NULL, NULL);
}

static void test_many(void)
{
	const int n = MANY(100000);

	atomic_store(&counter, 0);
	for (int i = 0; i < n; i++)
		rt_go(count, NULL);
	while (atomic_load(&counter) < n)
		rt_yield();
	CHECK(atomic_load(&counter) == n, "%d coroutines run once each", n);
}

static void test_join(void)
{
	enum { N = 500 };
	struct rt_co *co[N];
	void *ret;
	int wrong = 0;

	for (long i = 0; i < N; i++)
		co[i] = rt_spawn(square, (void *)i, NULL);
	for (long i = 0; i < N; i++) {
		rt_join(co[i], &ret);
		wrong += (long)ret != i * i;
	}
	CHECK(wrong == 0, "join returns the result of each");
	co[0] = rt_spawn(sleeper, (void *)(long)(200 * RT_MSEC), NULL);
	CHECK(rt_join_dl(co[0], rt_now() + 5 * RT_MSEC, NULL) == -ETIMEDOUT, "join gives up at its deadline");
	CHECK(rt_join_dl(co[0], rt_now() + 60 * RT_SEC, &ret) == 0 && (long)ret == 200 * RT_MSEC,
	      "and still gets the result afterwards");
	rt_detach(rt_spawn(square, NULL, NULL));
}

static void test_sleep(void)
{
	int64_t begin = rt_now();

	rt_sleep(20 * RT_MSEC);
	CHECK(rt_now() - begin >= 20 * RT_MSEC, "a sleep is not shorter than asked");
}

static void test_hogs(void)
{
	struct rt_co *h[2];
	unsigned procs = rt_procs();
	int64_t begin;

	rt_set_procs(1);
	spin_stop = 0;
	for (int i = 0; i < 2; i++)
		h[i] = start_hog();
	begin = rt_now();
	for (int i = 0; i < 10; i++)
		rt_sleep(RT_MSEC);
	printf("# ten sleeps of 1 ms behind two hogs: %.1f ms\n", (double)(rt_now() - begin) / 1e6);
	CHECK(1, "a sleeper comes back behind two loops on one P");
	spin_stop = 1;
	for (int i = 0; i < 2; i++)
		rt_join(h[i], NULL);
	rt_set_procs(0);
	CHECK(rt_procs() == procs, "procs go back to what affinity allows");
}

static void nothing(void *arg)
{
	*(int *)arg += 1;
}

static void test_stop(void)
{
	struct rt_co *h[2];
	int stops = 0;

	spin_stop = 0;
	for (int i = 0; i < 2; i++)
		h[i] = start_hog();
	for (int i = 0; i < 200; i++)
		rt_stop_world("test", nothing, &stops);
	spin_stop = 1;
	for (int i = 0; i < 2; i++)
		rt_join(h[i], NULL);
	CHECK(stops == 200, "the world stops 200 times under two loops");
}

static void *everything(void *arg)
{
	test_many();
	test_join();
	test_sleep();
	test_hogs();
	test_stop();
	return "done";
}

int main(void)
{
	void *ret = NULL;

	for (int i = 0; i < 3; i++)
		CHECK(rt_run(NULL, everything, NULL, &ret) == 0 && ret && !strcmp(ret, "done"),
		      "a runtime starts and ends (%d)", i + 1);
	return tap_done();
}
