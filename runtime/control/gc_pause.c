/*
 * No collections but those that a memory limit asks for, as with RT_GOGC=off. What was set before is set
 * again at the end; should the service have set something itself meanwhile, that stays.
 */
#include "action.h"

#include "../rt_mem.h"

enum { OFF = -1 };

/* Of all jobs together; only the control's thread changes them. */
static unsigned asked;
static int before;

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	if (asked++ == 0)
		before = rt_gc_set_percent(OFF);
	return 0;
}

static void end(struct control_job *job)
{
	if (--asked == 0 && rt_gc_percent() < 0)
		rt_gc_set_percent(before);
}

const struct control_action action_gc_pause = {
	.name = "gc-pause",
	.begin = begin,
	.end = end,
};
