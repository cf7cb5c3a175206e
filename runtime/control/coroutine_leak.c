/*
 * Coroutines that wait and do nothing, as leaked ones: each costs its stack, and the next dump or
 * collection goes through all of them. One more keeps the channel on which they wait, so that they can be
 * ended: for the sound search of leaks they are not leaked, for the growth watch they are.
 */
#include "action.h"

enum { COUNT, BATCH = 1000 };

struct leak {
	struct rt_chan *chan;
	struct rt_group group;
};

static void wait_for_end(void *arg)
{
	struct leak *l = arg;

	rt_recv(l->chan, NULL);
	rt_group_done(&l->group);
}

static void leak(void *arg)
{
	struct control_job *job = arg;
	struct leak l = {.chan = rt_chan_new(0, 0)};

	for (int64_t i = 0; i < job->values[COUNT] && !job_ended(job); i++) {
		rt_group_add(&l.group, 1);
		if (rt_go(wait_for_end, &l) < 0) {
			rt_group_done(&l.group);
			break;
		}
		if (i % BATCH == BATCH - 1)
			rt_yield();
	}
	job_sleep_until(job, RT_FOREVER);
	rt_close(l.chan);
	rt_group_wait(&l.group);
	rt_chan_free(l.chan);
	job_left(job);
}

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	return job_start(job, leak);
}

const struct control_action action_coroutine_leak = {
	.name = "coroutine-leak",
	.params = {[COUNT] = {"count", 1, 1000000, 1000}},
	.begin = begin,
};
