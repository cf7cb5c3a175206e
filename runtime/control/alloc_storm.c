/* Coroutines that allocate objects at a steady rate and forget them at once. */
#include "action.h"

#include "../rt_mem.h"

enum { COUNT, RATE, OBJECT };

#define TICK_NS (5 * RT_MSEC)
#define LATE_NS (50 * RT_MSEC) /* what a busy machine could not do is not made up later */

/* Bytes that one coroutine is to allocate in so long. */
static int64_t due(const struct control_job *job, int64_t ns)
{
	if (ns > LATE_NS)
		ns = LATE_NS;
	return job->values[RATE] / job->values[COUNT] * (ns / RT_USEC) / 1000000;
}

/* Returns what is still owed: less than nothing after a large object. */
static int64_t allocate(struct control_job *job, int64_t bytes)
{
	for (; bytes > 0 && !job_ended(job); bytes -= job->values[OBJECT]) {
		volatile char *p = rt_new_bytes((size_t)job->values[OBJECT]);

		*p = 1;
		RT_POLL();
	}
	return bytes;
}

static void storm(void *arg)
{
	struct control_job *job = arg;
	int64_t at = rt_now(), owed = 0;

	while (!job_ended(job)) {
		int64_t now = rt_now();

		owed = allocate(job, owed + due(job, now - at));
		at = now;
		job_sleep_until(job, now + TICK_NS);
	}
	job_left(job);
}

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	int r = 0;

	for (int64_t i = 0; r == 0 && i < job->values[COUNT]; i++)
		r = job_start(job, storm);
	return r;
}

const struct control_action action_alloc_storm = {
	.name = "alloc-storm",
	.params = {[COUNT] = {"count", 1, 64, 1},
		   [RATE] = {"bytes_per_s", 1 << 10, INT64_C(1) << 34, -1},
		   [OBJECT] = {"object_bytes", 16, 1 << 20, 256}},
	.begin = begin,
};
