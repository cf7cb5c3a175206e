/* What the actions of the control socket do to the service, and that it is over when they are. */
#include "control_rig.h"

#include "rt_mem.h"

static bool ticker_stands_still(void)
{
	int seen = atomic_load(&ticks), still = 0;

	for (int i = 0; i < 60000 && still < 200; i++) {
		usleep(1000);
		still = atomic_load(&ticks) == seen ? still + 1 : 0;
		seen = atomic_load(&ticks);
	}
	return still == 200;
}

static int64_t worst_us(int fd)
{
	const char *at = strstr(ask(fd, "status"), "stall-safepoint:");

	for (int i = 0; at && i < 3; i++)
		at = strchr(at, ':') + 1;
	return at ? atoll(at) : -1;
}

static void safepoints_are_stalled(void)
{
	int fd = greeted(), other = greeted(), before;
	int64_t worst = 0;

	ask(fd, "stall-safepoint tag=s lease_ms=60000 stall_us=1000000 interval_us=1200000");
	for (int i = 0; i < 3000 && worst < 500000; i++, usleep(10000))
		worst = worst_us(other);
	printf("# the worst time to safepoint was %lld us\n", (long long)worst);
	/* Far more than a busy machine adds. */
	CHECK(worst >= 500000, "a stop of the world waits for a stall of a second");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "its coroutine leaves");
	ask(fd, "stall-safepoint tag=s lease_ms=60000 count=3 stall_us=60000000 interval_us=70000000");
	CHECK(ticker_stands_still(), "stalls on every P hold everything up");
	before = atomic_load(&ticks);
	CHECK(status_has(other, "stall-safepoint:s:") && atomic_load(&ticks) == before,
	      "the socket answers all the while");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "the end of an action cuts its stall short");
	close(fd);
	close(other);
}

/* Ten probes fit between two stalls: in step with them, each stall would be met at the same place. */
static void the_whole_stall_is_measured(void)
{
	enum { STALL_US = 30000, PROBES = 400 };
	int fd = greeted();
	int64_t worst, first = status_of(fd, "probes=");

	ask(fd, "stall-safepoint tag=w lease_ms=60000 stall_us=30000 interval_us=200000");
	while (status_of(fd, "probes=") < first + PROBES)
		usleep(10000);
	worst = worst_us(fd);
	/* One in seven meets a stall, anywhere in it: a chance of one in 20,000 that none was early. */
	CHECK(worst >= STALL_US * 17 / 20, "of stalls of %d us the worst of %d probes was %lld us",
	      STALL_US, PROBES, (long long)worst);
	ask(fd, "end tag=w");
	CHECK(comes_to(fd, "actions=-"), "its coroutine leaves");
	close(fd);
}

static void end_all(int fd, const char *tag)
{
	char command[64];

	snprintf(command, sizeof command, "end tag=%s", tag);
	ask(fd, command);
	CHECK(comes_to(fd, "actions=-"), "the end of %s is its end", tag);
}

static struct rt_mem_stats memory(void)
{
	struct rt_mem_stats m;

	rt_mem_stats(&m);
	return m;
}

static void collections_are_forced(void)
{
	int fd = greeted(), other = greeted();
	long long cycles = status_of(fd, " cycles=");
	int64_t begun = rt_now();

	ask(fd, "gc-force tag=f lease_ms=60000 interval_us=100000");
	CHECK(grows_to(other, " cycles=", cycles + 6), "collections are forced");
	/* The first at once; none of the others before its time, however slow the machine is. */
	CHECK(rt_now() - begun >= 500 * RT_MSEC, "one an interval");
	CHECK(says(other, "end tag=f", "ok 1") && comes_to(other, "actions=-"), "until the action ends");
	ask(fd, "gc-force tag=f lease_ms=60000 interval_us=1000");
	cycles = status_of(fd, " cycles=");
	CHECK(grows_to(other, " cycles=", cycles + 5), "a short interval is kept too");
	close(fd);
	CHECK(comes_to(other, "actions=-"), "it ends with its connection");
	ask(other, "gc-force tag=f lease_ms=1000 interval_us=1000");
	CHECK(comes_to(other, "gc-force:f:") && comes_to(other, "actions=-"), "and with its lease");
	close(other);
}

static void collections_are_paused(void)
{
	int fd = greeted(), other = greeted();
	long long cycles, allocated;

	rt_gc_set_percent(150);
	CHECK(status_has(fd, "percent=150 ") && says(fd, "gc-pause tag=p lease_ms=60000", "ok id=") &&
	      says(fd, "gc-pause tag=q lease_ms=60000", "ok id=") && status_has(other, "percent=-1 "),
	      "collections are paused");
	cycles = status_of(fd, " cycles=");
	allocated = status_of(fd, "allocated=");
	ask(fd, "alloc-storm tag=storm lease_ms=60000 bytes_per_s=200000000 count=2");
	CHECK(grows_to(other, "allocated=", allocated + (32 << 20)), "garbage is made");
	CHECK(status_of(fd, " cycles=") == cycles, "and nobody collects it meanwhile");
	ask(other, "end tag=p");
	CHECK(status_has(other, "percent=-1 "), "while one of two pauses lasts");
	ask(other, "end tag=q");
	CHECK(status_has(other, "percent=150 ") && grows_to(other, " cycles=", cycles + 1),
	      "the growth that was allowed before is back");
	end_all(other, "storm");
	ask(fd, "gc-pause tag=pause lease_ms=60000");
	rt_gc_set_percent(70);
	end_all(other, "pause");
	CHECK(status_has(other, "percent=70 "), "what the service has set itself meanwhile stays");
	rt_gc_set_percent(100);
	ask(fd, "gc-pause tag=p lease_ms=60000");
	close(fd);
	CHECK(comes_to(other, "percent=100 "), "a pause of collections ends with its connection");
	ask(other, "gc-pause tag=p lease_ms=1000");
	CHECK(status_has(other, "percent=-1 ") && comes_to(other, "percent=100 "), "and with its lease");
	close(other);
}

static void garbage_is_made(void)
{
	int fd = greeted(), other = greeted();
	long long allocated = status_of(fd, "allocated="), coroutines = status_of(fd, "coroutines=");
	struct rt_mem_stats before, now;
	int64_t begun = rt_now(), most;

	ask(fd, "alloc-storm tag=storm lease_ms=60000 bytes_per_s=1000000 count=8");
	CHECK(grows_to(other, "coroutines=", coroutines + 8), "by as many coroutines as were asked for");
	/* A tenth of the machine's speed would do; a tenth of the rate would not. */
	CHECK(grows_to(other, "allocated=", allocated + 4000000), "a storm keeps its rate");
	allocated = status_of(other, "allocated=") - allocated;
	most = (rt_now() - begun) / 1000 * 5 / 4 + 300000;
	CHECK(allocated <= most, "and no more, all of them together");
	end_all(other, "storm");
	before = memory();
	ask(fd, "alloc-storm tag=storm lease_ms=60000 bytes_per_s=100000000 object_bytes=8192");
	ask(fd, "gc-force tag=storm lease_ms=60000 interval_us=10000");
	grows_to(other, "allocated=", (long long)before.alloc_bytes + (64 << 20));
	now = memory();
	CHECK((now.alloc_bytes - before.alloc_bytes) / (now.allocs - before.allocs) > 6000,
	      "in objects of the size that was asked for");
	for (int i = 0; i < 30000 && memory().heap_live > 16 << 20; i++)
		usleep(1000);
	CHECK(memory().heap_live <= 16 << 20, "and nobody keeps them");
	close(fd);
	CHECK(comes_to(other, "actions=-") && status_of(other, "coroutines=") <= coroutines + 2,
	      "the storm ends with its connection");
	close(other);
}

/* The most that a few hundred looks show, and how many there are then. */
static long long most_coroutines(int fd, long long until)
{
	long long most = 0, n = until + 1;

	for (int i = 0; i < 300 || (i < 30000 && n > until); i++, usleep(1000)) {
		n = status_of(fd, "coroutines=");
		most = n > most ? n : most;
	}
	return most;
}

static void coroutines_leak(void)
{
	int fd = greeted(), other = greeted();
	long long before = status_of(fd, "coroutines="), most;

	ask(fd, "coroutine-leak tag=l lease_ms=60000 count=3000");
	CHECK(grows_to(other, "coroutines=", before + 3000), "coroutines leak");
	most = most_coroutines(other, before + 3010);
	CHECK(most <= before + 3010, "as many as were asked for");
	close(fd);
	most_coroutines(other, before + 2);
	CHECK(status_of(other, "coroutines=") <= before + 2 && comes_to(other, "actions=-"),
	      "and end with the connection");
	ask(other, "coroutine-leak tag=l lease_ms=1000 count=100");
	CHECK(grows_to(other, "coroutines=", before + 100), "others leak");
	most_coroutines(other, before + 2);
	CHECK(status_of(other, "coroutines=") <= before + 2 && comes_to(other, "actions=-"),
	      "and end with their lease");
	close(other);
}

int main(void)
{
	if (!rig_begin())
		return 1;
	safepoints_are_stalled();
	collections_are_forced();
	collections_are_paused();
	garbage_is_made();
	coroutines_leak();
	stop();
	probe_ns = 20 * RT_MSEC;
	if (start() != 1)
		return 1;
	the_whole_stall_is_measured();
	stop();
	return rig_end();
}
