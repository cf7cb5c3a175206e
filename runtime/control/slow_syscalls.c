/*
 * System calls take longer, as with a slow disk or a busy kernel: sched/slow.h says which. The delay is the
 * runtime's: neither the kernel nor another process is touched.
 */
#include "action.h"

#include "../sched/slow.h"

#include <errno.h>
#include <stdio.h>

enum { JITTER, LATENCY, SHARE };

/* Only the control's thread changes it. */
static const struct control_job *active;

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	const int64_t *v = job->values;

	if (active) {
		snprintf(why, ACTION_WHY_MAX, "%s delays them already: a call has one delay",
			 active->tag);
		return -EBUSY;
	}
	if (v[JITTER] > v[LATENCY]) {
		snprintf(why, ACTION_WHY_MAX, "jitter_us is larger than latency_us");
		return -ERANGE;
	}
	active = job;
	slow_set(&(struct slow){v[LATENCY] * RT_USEC, v[JITTER] * RT_USEC, v[SHARE]});
	return 0;
}

static void end(struct control_job *job)
{
	active = NULL;
	slow_clear();
}

const struct control_action action_slow_syscalls = {
	.name = "slow-syscalls",
	.params = {[JITTER] = {"jitter_us", 0, 60000000, 0},
		   [LATENCY] = {"latency_us", 1, 60000000, -1},
		   [SHARE] = {"share_ppm", 1, 1000000, 1000000}},
	.begin = begin,
	.end = end,
};
