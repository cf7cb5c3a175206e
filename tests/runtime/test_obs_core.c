/* What the pages of /debug/ are made of, asked directly. test_obs.py reads the pages themselves. */
#include "../../runtime/obs/cpu.h"
#include "../../runtime/obs/debug.h"
#include "../../runtime/obs/goroutine.h"
#include "../../runtime/obs/leak.h"
#include "../../runtime/obs/symbol.h"
#include "../../runtime/obs/trace.h"

#include "tap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

enum { PARKED = 100000 };

static struct rt_chan *never;
static _Atomic int parked;
static _Atomic bool hog_runs, hog_stop;

static void park(void *arg)
{
	atomic_fetch_add(&parked, 1);
	rt_recv(never, NULL);
}

static void *find_symbols(void *arg)
{
	struct symbol s[SYMBOL_INLINE_MAX];

	CHECK(symbol_of((uintptr_t)park, s) == 1 && strcmp(s[0].function, "park") == 0,
	      "a function of a position-independent program has its name");
	CHECK(s[0].file && strstr(s[0].file, "/test_obs_core.c") && s[0].line > 0 &&
	      s[0].entry == (uintptr_t)park, "and its file, line and entry");
	CHECK(s[0].file && s[0].file[0] == '/' && !strstr(s[0].file, "/../"),
	      "and the file's path is absolute and without detours");
	CHECK(symbol_of((uintptr_t)inflate, s) == 1 && strcmp(s[0].function, "inflate") == 0,
	      "a function of a shared library has its name");
	CHECK(symbol_of(1, s) == 0, "an address outside of all has none");
	return NULL;
}

static void test_symbols(void)
{
	rt_on_system_stack(find_symbols, NULL);
}

static void largest(const struct snap_stack *stack, void *arg)
{
	uint32_t *count = arg;

	*count = stack->count > *count ? stack->count : *count;
}

static void test_snapshot(void)
{
	struct snapshot s;
	uint32_t count = 0;

	never = rt_chan_new(1, 0);
	for (int i = 0; i < PARKED; i++)
		rt_go(park, NULL);
	while (atomic_load(&parked) < PARKED)
		rt_sleep(RT_MSEC);
	rt_sleep(20 * RT_MSEC);
	CHECK(snapshot_take(&s, "test") == 0 && s.n >= PARKED, "a snapshot holds every coroutine");
	snapshot_each_stack(&s, largest, &count);
	CHECK(count >= PARKED * 9 / 10, "and keeps the stack that many share once");
	CHECK(s.n_words < 10000, "in little room");
	snapshot_done(&s);
}

static void hog(void *arg)
{
	atomic_store(&hog_runs, true);
	while (!atomic_load_explicit(&hog_stop, memory_order_relaxed))
		;
}

/* In cooperative mode a loop without polls never stops: a dump must not wait for it. */
static void test_dump_of_what_never_stops(void)
{
	static char text[1 << 20];
	int fd = memfd_create("dump", MFD_CLOEXEC);
	ssize_t n;

	rt_go(hog, NULL);
	while (!atomic_load(&hog_runs))
		rt_sleep(RT_MSEC);
	rt_dump(fd);
	atomic_store(&hog_stop, true);
	n = pread(fd, text, sizeof text - 1, 0);
	text[n > 0 ? n : 0] = 0;
	close(fd);
	CHECK(strstr(text, "[running]:\nhog(...)"), "a loop without polls is dumped where it runs");
	CHECK(strstr(text, "test_dump_of_what_never_stops(...)"), "and so is who asks");
}

static void test_one_at_a_time(void)
{
	struct out o = {0};

	CHECK(cpu_profile_stop(&o, CPU_PROTO) == -EINVAL, "no CPU profile ends before one was begun");
	CHECK(cpu_profile_start(CPU_HZ) == 0 && cpu_profile_start(CPU_HZ) == -EBUSY,
	      "a second CPU profile is refused");
	CHECK(cpu_profile_stop(&o, CPU_PROTO) == 0 && o.n > 0 && cpu_profile_start(CPU_HZ) == 0,
	      "and may begin when the first has ended");
	CHECK(cpu_profile_stop(&o, CPU_FLAME) == 0, "and end");
	CHECK(trace_stop(&o) == -EINVAL, "no trace ends before one was begun");
	CHECK(trace_start() == 0 && trace_start() == -EBUSY, "a second trace is refused");
	CHECK(trace_stop(&o) == 0 && trace_start() == 0 && trace_stop(&o) == 0,
	      "and may begin when the first has ended");
	out_done(&o);
}

static void test_rates(void)
{
	rt_set_mutex_profile_fraction(5);
	CHECK(rt_set_mutex_profile_fraction(-1) == 5 && rt_set_mutex_profile_fraction(0) == 5,
	      "the mutex profile tells its fraction and keeps it on a negative one");
}

/* A collector that reached all but the coroutine it was told of. */
static int find_one(void (*unreached)(struct rt_co *co, void *arg), void *arg)
{
	unreached(rt_self(), arg);
	return 0;
}

static int find_no_memory(void (*unreached)(struct rt_co *co, void *arg), void *arg)
{
	return -ENOMEM;
}

static void test_leak_interface(void)
{
	static const struct leak_collector fake = {find_one}, failing = {find_no_memory};
	uint64_t ids[2] = {0};

	leak_set_collector(NULL);
	CHECK(leak_find(ids, 2) == -ENOSYS && !leak_has_collector(),
	      "without a collector nothing is claimed about leaks");
	leak_set_collector(&fake);
	CHECK(leak_find(ids, 2) == 1 && ids[0] == rt_id(rt_self()), "with one, what it did not reach");
	leak_set_collector(&failing);
	CHECK(leak_find(ids, 2) == -ENOMEM, "one that fails says why");
	leak_set_collector(NULL);
	CHECK(leak_find(ids, 2) == -ENOSYS, "and nothing again when it is gone");
}

static void *in_cooperative_mode(void *arg)
{
	test_dump_of_what_never_stops();
	return NULL;
}

static void *everything(void *arg)
{
	test_symbols();
	test_snapshot();
	test_one_at_a_time();
	test_rates();
	test_leak_interface();
	return NULL;
}

int main(void)
{
	struct rt_options cooperative = {.procs = 2, .preempt = RT_PREEMPT_COOPERATIVE};

	unsetenv("RT_PREEMPT");
	rt_run(NULL, everything, NULL, NULL);
	rt_run(&cooperative, in_cooperative_mode, NULL, NULL);
	return tap_done();
}
