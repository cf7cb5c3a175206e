/* Ps go out of service: as if the machine had lent fewer CPUs, whatever affinity and quota say. */
#include "action.h"

#include "../sched/sched.h"

#include <errno.h>
#include <stdio.h>

enum { COUNT };

/* Of all jobs together; only the control's thread changes it. */
static unsigned asked;

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	unsigned n = (unsigned)job->values[COUNT], procs = rt_procs();

	if (n >= procs) {
		snprintf(why, ACTION_WHY_MAX, "cannot park %u of %u Ps: at least one stays", n, procs);
		return -ERANGE;
	}
	asked += n;
	procs_park(asked);
	return 0;
}

static void end(struct control_job *job)
{
	asked -= (unsigned)job->values[COUNT];
	procs_park(asked);
}

const struct control_action action_park_p = {
	.name = "park-p",
	.params = {[COUNT] = {"count", 1, PROCS_MAX, 1}},
	.begin = begin,
	.end = end,
};
