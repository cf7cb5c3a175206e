/* A whole collection again and again, whatever the heap needs. */
#include "action.h"

#include "../rt_mem.h"

enum { INTERVAL };

static void collect_again_and_again(void *arg)
{
	struct control_job *job = arg;
	int64_t next = rt_now();

	while (!job_ended(job)) {
		rt_gc();
		next += job->values[INTERVAL] * RT_USEC;
		job_sleep_until(job, next);
	}
	job_left(job);
}

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	return job_start(job, collect_again_and_again);
}

const struct control_action action_gc_force = {
	.name = "gc-force",
	.params = {[INTERVAL] = {"interval_us", 1000, 3600000000, 1000000}},
	.begin = begin,
};
