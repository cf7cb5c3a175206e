/*
 * rt_sched ROW N - our side of the rows sched.*: the same work as tests/bench/go/sched/main.go
 *
 * Linked as liveroom is, with sysmon and preemption on. Prints one JSON object: value (of the row's
 * unit), and what else the row reports. RT_PROCS and RT_PREEMPT come from the environment.
 */
#include "../../runtime/rt.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BATCH = 64 };

struct result {
	double value, p99; /* p99 0: the row has none */
	double busiest_s;  /* CPU time of the thread that has used most */
};

static _Atomic int64_t done;
static _Atomic int64_t spinning;
static _Atomic uint64_t sink;

static void nop(void *arg)
{
	atomic_fetch_add(&done, 1);
}

static void wait_until(int64_t n)
{
	while (atomic_load(&done) < n)
		rt_yield();
}

static void start(void (*fn)(void *arg), void *arg)
{
	int r = rt_go(fn, arg);

	if (r < 0) {
		fprintf(stderr, "coroutine after %" PRId64 " that ended: %s\n", atomic_load(&done),
			strerror(-r));
		exit(1);
	}
}

/* One coroutine starts n others, which end at once; it makes room after each 64. */
static void spawner(void (*fn)(void *arg), void *arg, int n)
{
	for (int i = 0; i < n; i++) {
		start(fn, arg);
		if (i % BATCH == BATCH - 1)
			rt_yield();
	}
}

static double per_op(int64_t since, int n)
{
	return (double)(rt_now() - since) / n;
}

static struct result spawn(int n)
{
	int64_t since = rt_now();

	spawner(nop, NULL, n);
	wait_until(n);
	return (struct result){.value = per_op(since, n)};
}

struct share {
	int n;
	struct rt_group *all;
	_Alignas(128) _Atomic int64_t done; /* a counter for all would be what they wait for */
};

static void nop_of_share(void *arg)
{
	struct share *s = arg;

	atomic_fetch_add(&s->done, 1);
}

static void spawner_of_share(void *arg)
{
	struct share *s = arg;

	spawner(nop_of_share, s, s->n);
	while (atomic_load(&s->done) < s->n)
		rt_yield();
	rt_group_done(s->all);
}

/* As many spawners as Ps, each with its share. */
static struct result spawn_all(int n)
{
	int procs = (int)rt_procs();
	struct share *s = aligned_alloc(_Alignof(struct share), (size_t)procs * sizeof(*s));
	struct rt_group all = {0};
	struct result r;
	int64_t since = rt_now();

	rt_group_add(&all, procs);
	for (int p = 0; p < procs; p++) {
		s[p] = (struct share){.n = n / procs, .all = &all};
		start(spawner_of_share, &s[p]);
	}
	rt_group_wait(&all);
	r = (struct result){.value = per_op(since, n)};
	free(s);
	return r;
}

static void work(void *arg)
{
	uint64_t x = (uintptr_t)arg;

	for (uint64_t i = (uintptr_t)arg; i > 0; i--)
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	atomic_fetch_add(&sink, x & 1);
	atomic_fetch_add(&done, 1);
}

/* One producer; whoever else runs has to steal: pieces of about two microseconds. */
static struct result steal(int n)
{
	int64_t since = rt_now();

	for (int i = 0; i < n; i++) {
		start(work, (void *)2000);
		if (i % BATCH == BATCH - 1)
			rt_yield();
	}
	wait_until(n);
	return (struct result){.value = per_op(since, n)};
}

static void yielder(void *arg)
{
	struct share *s = arg;

	for (int i = 0; i < s->n; i++)
		rt_yield();
	rt_group_done(s->all);
}

static struct result switches(int n)
{
	struct rt_group all = {0};
	struct share s = {.n = n, .all = &all};
	int64_t since = rt_now();

	rt_group_add(&all, 2);
	start(yielder, &s);
	start(yielder, &s);
	rt_group_wait(&all);
	return (struct result){.value = per_op(since, 2 * n)};
}

struct pair {
	struct rt_chan *ping, *pong;
};

static void echo(void *arg)
{
	struct pair *p = arg;
	int64_t v;

	while (rt_recv(p->ping, &v))
		rt_send(p->pong, &v);
}

static struct result roundtrip(int n)
{
	struct pair p = {rt_chan_new(sizeof(int64_t), 0), rt_chan_new(sizeof(int64_t), 0)};
	int64_t since, v;

	start(echo, &p);
	since = rt_now();
	for (v = 0; v < n; v++) {
		rt_send(p.ping, &v);
		rt_recv(p.pong, NULL);
	}
	return (struct result){.value = per_op(since, n)};
}

static double rss(void)
{
	unsigned long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%lu %lu", &size, &resident) != 2)
		abort();
	fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static struct rt_chan *never;

static void park(void *arg)
{
	atomic_fetch_add(&done, 1);
	rt_recv(never, NULL);
}

static void print_and_park(void *arg)
{
	char buf[64];
	int n = snprintf(buf, sizeof(buf), "%d of %s", (int)(intptr_t)arg, "many");

	atomic_fetch_add(&sink, (uint64_t)n);
	park(arg);
}

static struct result parked(int n, void (*fn)(void *arg))
{
	double before;

	never = rt_chan_new(sizeof(int), 0);
	before = rss();
	for (int i = 0; i < n; i++) {
		start(fn, (void *)(intptr_t)i);
		if (i % BATCH == BATCH - 1)
			rt_yield();
	}
	wait_until(n);
	return (struct result){.value = (rss() - before) / n};
}

static struct result parked_bare(int n)
{
	return parked(n, park);
}

static struct result parked_printed(int n)
{
	return parked(n, print_and_park);
}

static uint64_t turn(uint64_t x)
{
	return x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

static void hog(void *arg)
{
	uint64_t x = 1;

	atomic_fetch_add(&spinning, 1);
	for (;;) {
		x = turn(x);
		if (x == 0)
			atomic_fetch_add(&sink, 1);
	}
}

static void polling_hog(void *arg)
{
	uint64_t x = 1;

	atomic_fetch_add(&spinning, 1);
	for (;;) {
		x = turn(x);
		if (x == 0)
			atomic_fetch_add(&sink, 1);
		RT_POLL();
	}
}

static void start_hogs(void (*fn)(void *arg), int n)
{
	for (int i = 0; i < n; i++)
		start(fn, NULL);
	while (atomic_load(&spinning) < n)
		rt_sleep(RT_MSEC);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static struct result quantiles(double *us, int n)
{
	struct result r;

	qsort(us, (size_t)n, sizeof(*us), by_value);
	r = (struct result){.value = us[(n - 1) / 2], .p99 = us[(int)((n - 1) * 0.99)]};
	free(us);
	return r;
}

static void note_now(void *arg)
{
	*(int64_t *)arg = rt_now();
}

/* Loops on the other Ps are stopped n times, with pauses in which they get going again. */
static struct result stop(int n, void (*loop)(void *arg), int loops, int64_t pause)
{
	double *us = calloc((size_t)n, sizeof(*us));

	start_hogs(loop, loops);
	for (int i = 0; i < n; i++) {
		int64_t since, stopped = 0;

		rt_sleep(pause);
		since = rt_now();
		rt_stop_world("bench", note_now, &stopped);
		us[i] = (double)(stopped - since) / 1e3;
	}
	return quantiles(us, n);
}

static struct result stop_tight(int n)
{
	return stop(n, hog, 1, RT_MSEC);
}

static struct result stop_polling(int n)
{
	return stop(n, polling_hog, 1, RT_MSEC);
}

static struct result ttsp(int n)
{
	return stop(n, polling_hog, 2, 2 * RT_MSEC);
}

static struct result sleeper(int n)
{
	double *us = calloc((size_t)n, sizeof(*us));

	start_hogs(hog, 2);
	for (int i = 0; i < n; i++) {
		int64_t since = rt_now();

		rt_sleep(RT_MSEC);
		us[i] = (double)(rt_now() - since - RT_MSEC) / 1e3;
	}
	return quantiles(us, n);
}

static const struct row {
	const char *name;
	struct result (*run)(int n);
} rows[] = {
	{"parked_rss", parked_bare},
	{"parked_rss_printf", parked_printed},
	{"roundtrip", roundtrip},
	{"sleeper", sleeper},
	{"spawn", spawn},
	{"spawn_all", spawn_all},
	{"steal", steal},
	{"stop", stop_tight},
	{"stop_polling", stop_polling},
	{"switch", switches},
	{"ttsp", ttsp},
};

static double cpu_seconds_of(const char *tid)
{
	char path[64];
	double ns = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%.20s/schedstat", tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%lf", &ns) != 1)
		ns = 0;
	if (f)
		fclose(f);
	return ns / 1e9;
}

static double busiest_thread(void)
{
	DIR *tasks = opendir("/proc/self/task");
	double most = 0;

	for (struct dirent *e; tasks && (e = readdir(tasks));) {
		double s = e->d_name[0] == '.' ? 0 : cpu_seconds_of(e->d_name);

		if (s > most)
			most = s;
	}
	if (tasks)
		closedir(tasks);
	return most;
}

struct job {
	const struct row *row;
	int n;
	struct result result;
};

static void *run(void *arg)
{
	struct job *j = arg;

	j->result = j->row->run(j->n);
	j->result.busiest_s = busiest_thread();
	return NULL;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void report(const struct result *r)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	printf("{\"value\": %.6g, ", r->value);
	if (r->p99 > 0)
		printf("\"p99\": %.6g, ", r->p99);
	printf("\"busiest_s\": %.6f, \"cpu_s\": %.6f, \"gc_cycles\": 0}\n", r->busiest_s,
	       seconds(use.ru_utime) + seconds(use.ru_stime));
}

int main(int argc, char **argv)
{
	struct job j = {.n = argc == 3 ? atoi(argv[2]) : 0};
	int r;

	for (size_t i = 0; argc == 3 && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, argv[1]) == 0)
			j.row = &rows[i];
	if (!j.row || j.n <= 0) {
		fprintf(stderr, "usage: rt_sched ROW N\n");
		return 2;
	}
	r = rt_run(NULL, run, &j, NULL);
	if (r < 0) {
		fprintf(stderr, "rt_run: %s\n", strerror(-r));
		return 1;
	}
	report(&j.result);
	return 0;
}
