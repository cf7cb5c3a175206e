/*
 * Adaptive pacing. Two policies pull in opposite directions: a long pause asks for smaller, more frequent
 * cycles, and a collector that takes much CPU asks for rarer ones. Pauses here do not grow with the heap,
 * so the second one is what requests feel: long waits come from marking and assists.
 */
#include "gc.h"

#include "../sched/sched.h"

#include <stdlib.h>
#include <string.h>

static const struct rt_gc_tuning defaults = {
	.pause_ns = RT_MSEC,
	.cpu_percent = 20,
	.min_percent = 50,
	.max_percent = 400,
};

static struct {
	struct lock lock;
	struct rt_gc_tuning t;
	bool on;
} tune;

void rt_gc_tune(const struct rt_gc_tuning *t)
{
	lock_get(&tune.lock);
	tune.on = t;
	if (t)
		tune.t = *t;
	lock_put(&tune.lock);
}

void tune_init(void)
{
	const char *env = getenv("RT_GCTUNE");

	rt_gc_tune(env && !strcmp(env, "on") ? &defaults : NULL);
}

static int clamp(int percent, const struct rt_gc_tuning *t)
{
	if (percent < t->min_percent)
		return t->min_percent;
	return percent > t->max_percent ? t->max_percent : percent;
}

void tune_after(const struct gc_cycle *c, int64_t gc_ns, int64_t since_last_ns)
{
	int64_t pause = c->pause_ns[0] > c->pause_ns[1] ? c->pause_ns[0] : c->pause_ns[1];
	struct rt_gc_tuning t;
	int was, percent;
	bool on;

	lock_get(&tune.lock);
	on = tune.on;
	t = tune.t;
	lock_put(&tune.lock);
	was = rt_gc_percent();
	if (!on || was < 0 || since_last_ns <= 0)
		return;
	percent = was;
	if (t.cpu_percent && gc_ns * 100 > since_last_ns * (int64_t)rt_procs() * t.cpu_percent)
		percent += percent / 4 + 1;
	else if (t.pause_ns && pause > t.pause_ns)
		percent -= percent / 10;
	percent = clamp(percent, &t);
	if (percent != was)
		rt_gc_set_percent(percent);
}
