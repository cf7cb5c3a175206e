/* What the actions of the control socket do to the service, and that it is over when they are. */
#include "control_rig.h"

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

static void the_heap_is_disturbed(void)
{
	int fd = greeted(), other = greeted();
	long long cycles = status_of(fd, " cycles="), allocated, coroutines = status_of(fd, "coroutines=");

	ask(fd, "gc-force tag=f lease_ms=60000 interval_us=1000");
	CHECK(grows_to(other, " cycles=", cycles + 5), "collections are forced");
	CHECK(says(other, "end tag=f", "ok 1") && comes_to(other, "actions=-"), "until the action ends");
	CHECK(status_has(fd, "percent=100 ") && says(fd, "gc-pause tag=p lease_ms=60000", "ok id=") &&
	      says(fd, "gc-pause tag=q lease_ms=60000", "ok id=") && status_has(other, "percent=-1 "),
	      "collections are paused");
	cycles = status_of(fd, " cycles=");
	allocated = status_of(fd, "allocated=");
	ask(fd, "alloc-storm tag=s lease_ms=60000 bytes_per_s=200000000 count=2");
	CHECK(grows_to(other, "allocated=", allocated + (32 << 20)), "garbage is made");
	CHECK(status_of(fd, " cycles=") == cycles, "and nobody collects it meanwhile");
	ask(other, "end tag=p");
	CHECK(status_has(other, "percent=-1 "), "while one of two pauses lasts");
	ask(other, "end tag=q");
	CHECK(status_has(other, "percent=100 ") && grows_to(other, " cycles=", cycles + 1),
	      "the growth that was allowed before is back");
	ask(other, "end tag=s");
	CHECK(comes_to(other, "actions=-"), "the storm is over");
	ask(fd, "coroutine-leak tag=l lease_ms=60000 count=3000");
	CHECK(grows_to(other, "coroutines=", coroutines + 3000), "coroutines leak");
	close(fd);
	for (int i = 0; i < 30000 && status_of(other, "coroutines=") > coroutines + 10; i++)
		usleep(1000);
	CHECK(status_of(other, "coroutines=") <= coroutines + 10 && comes_to(other, "actions=-"),
	      "and end with the connection");
	ask(other, "gc-pause tag=p lease_ms=200");
	CHECK(status_has(other, "percent=-1 ") && comes_to(other, "percent=100 "),
	      "a pause of collections ends with its lease");
	close(other);
}

int main(void)
{
	if (!rig_begin())
		return 1;
	safepoints_are_stalled();
	the_heap_is_disturbed();
	stop();
	return rig_end();
}
