/*
 * program_obs DIR - a process with coroutines in known places, that writes every page of /debug/
 * into DIR and then waits for its standard input to end. test_obs.py reads them with other tools.
 */
#include "../../runtime/obs/debug.h"
#include "../../runtime/rt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARKED = 7, LEAKED = 300, CONTENDERS = 3 };

static struct rt_chan *never;
static struct rt_mutex contended;
static struct rt_group contenders;
static volatile int burning = 1;
static const char *dir;
static int quiet[2]; /* a pipe */
static volatile uint64_t sink;

static __attribute__((noinline)) void wait_for_nothing(void)
{
	rt_recv(never, NULL);
	sink++;
}

static void parked_forever(void *arg)
{
	wait_for_nothing();
	sink++;
}

static __attribute__((noinline)) void burn_cpu(void)
{
	uint64_t x = 1;

	while (burning)
		x = x * 6364136223846793005u + 1;
	sink = x;
}

static void burner(void *arg)
{
	burn_cpu();
	sink++;
}

static inline __attribute__((always_inline)) uint64_t inlined_into_burner(uint64_t x)
{
	for (int i = 0; i < 1000; i++)
		x = x * 6364136223846793005u + 1;
	return x;
}

static void inlining_burner(void *arg)
{
	uint64_t x = 1;

	while (burning)
		x = inlined_into_burner(x);
	sink = x;
}

static __attribute__((noinline)) void hold_the_mutex(void)
{
	rt_lock(&contended);
	rt_sleep(5 * RT_MSEC);
	rt_unlock(&contended);
	sink++;
}

static void contender(void *arg)
{
	for (int i = 0; i < 5; i++)
		hold_the_mutex();
	rt_group_done(&contenders);
}

static __attribute__((noinline)) void sleep_in_a_system_call(void)
{
	rt_enter_syscall();
	usleep(100000);
	rt_exit_syscall();
}

static void system_caller(void *arg)
{
	while (burning)
		sleep_in_a_system_call();
}

static __attribute__((noinline)) void read_what_never_comes(void)
{
	char c;

	rt_enter_syscall();
	if (read(quiet[0], &c, 1) < 0)
		abort();
	rt_exit_syscall();
	sink++;
}

static void blocked_reader(void *arg)
{
	read_what_never_comes();
	sink++;
}

/* Two that wait for each other, and nobody else knows their channel. */
static void leaked_partner(void *arg)
{
	rt_recv(arg, NULL);
	sink++;
}

static void *leak_pair(void *arg)
{
	struct rt_chan *c = rt_chan_new(0, 0);

	for (int i = 0; i < 2; i++)
		rt_go(leaked_partner, c);
	rt_sleep(RT_MSEC); /* they wait, and its thread has run others since */
	return NULL;
}

static void leak_some(void)
{
	for (int i = 0; i < LEAKED; i++)
		rt_go(parked_forever, NULL);
}

struct page {
	FILE *f;
	int status;
	char type[64];
};

static void take_head(void *arg, int status, const char *type)
{
	struct page *p = arg;

	p->status = status;
	snprintf(p->type, sizeof p->type, "%s", type);
}

static int take_bytes(void *arg, const void *bytes, size_t n)
{
	struct page *p = arg;

	return fwrite(bytes, 1, n, p->f) == n ? 0 : -1;
}

static void save(const char *name, const char *path, const char *query)
{
	char file[4096];
	struct page p = {0};
	struct rt_debug_sink sink_of_page = {take_head, take_bytes, &p};

	snprintf(file, sizeof file, "%s/%s", dir, name);
	p.f = fopen(file, "we");
	if (!p.f)
		abort();
	rt_debug_serve(path, query, &sink_of_page);
	fclose(p.f);
	printf("%s %d %s\n", name, p.status, p.type);
	fflush(stdout);
}

static void save_another_profile(void *arg)
{
	rt_sleep(200 * RT_MSEC);
	save("busy", "/debug/pprof/profile", "seconds=1");
}

static void save_timed(void)
{
	rt_go(save_another_profile, NULL);
	save("cpu.pb.gz", "/debug/pprof/profile", "seconds=2");
	save("flame.svg", "/debug/pprof/flame", "seconds=1");
	save("trace.pb", "/debug/pprof/trace", "seconds=1");
}

static void save_all(void)
{
	save("goroutine.pb.gz", "/debug/pprof/goroutine", NULL);
	save("goroutine1.txt", "/debug/pprof/goroutine", "debug=1");
	save("goroutine2.txt", "/debug/pprof/goroutine", "debug=2");
	save("threadcreate.pb.gz", "/debug/pprof/threadcreate", "");
	save("threadcreate1.txt", "/debug/pprof/threadcreate", "debug=1");
	save_timed();
	save("block.pb.gz", "/debug/pprof/block", "debug=0");
	save("block1.txt", "/debug/pprof/block", "debug=1");
	save("mutex.pb.gz", "/debug/pprof/mutex", NULL);
	save("mutex1.txt", "/debug/pprof/mutex", "x=1&debug=1");
	save("cmdline", "/debug/pprof/cmdline", NULL);
	save("leak", "/debug/pprof/goroutineleak", NULL);
	save("index.html", "/debug/pprof/", NULL);
	save("sched.txt", "/debug/sched", "detail=1");
	save("missing", "/debug/pprof/nonsense", NULL);
	save("wrong", "/debug/pprof/goroutine", "debug=x");
}

static __attribute__((noinline)) void wait_for_the_lost(void *chan)
{
	rt_recv(chan, NULL);
	sink++;
}

static void lost(void *arg)
{
	wait_for_the_lost(arg);
	sink++;
}

/* Each waits on a channel that nobody else knows. */
static void *lose_some(void *arg)
{
	for (int i = 0; i < LEAKED; i++)
		rt_go(lost, rt_chan_new(0, 0));
	rt_sleep(RT_MSEC);
	return NULL;
}

static void *wait_for_end(void *arg)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	return NULL;
}

static void *everything(void *arg)
{
	never = rt_chan_new(sizeof(int), 0);
	rt_set_block_profile_rate(1);
	rt_set_mutex_profile_fraction(1);
	for (int i = 0; i < PARKED; i++)
		rt_go_attr(parked_forever, NULL, &(struct rt_attr){.name = "parked <&>"});
	rt_group_add(&contenders, CONTENDERS);
	for (int i = 0; i < CONTENDERS; i++)
		rt_go(contender, NULL);
	rt_group_wait(&contenders);
	rt_join(rt_spawn(leak_pair, NULL, NULL), NULL);
	rt_go(burner, NULL);
	rt_go(inlining_burner, NULL);
	rt_go(system_caller, NULL);
	rt_go(blocked_reader, NULL);
	rt_sleep(100 * RT_MSEC);
	save_all();
	if (getenv("LEAK"))
		leak_some();
	if (getenv("LOSE"))
		rt_join(rt_spawn(lose_some, NULL, NULL), NULL);
	printf("ready\n");
	fflush(stdout);
	rt_blocking(wait_for_end, NULL);
	burning = 0;
	if (write(quiet[1], "", 1) < 0)
		abort();
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: program_obs DIR\n");
		return 2;
	}
	dir = argv[1];
	if (pipe(quiet) < 0)
		return 1;
	return rt_run(NULL, everything, NULL, NULL) < 0;
}
