/*
 * A coroutine keeps its P through a region that no stop gets into, as a page fault inside a critical
 * section would: who stops the world meanwhile waits for its end. It sleeps there in the kernel, so
 * that what suffers is the scheduler and not the machine.
 */
#include "action.h"

#include <errno.h>
#include <time.h>

enum { COUNT, INTERVAL, STALL };

/* How late the end of the job is noticed inside a stall. */
#define SLICE_NS (5 * RT_MSEC)

static void sleep_in_kernel(int64_t until)
{
	struct timespec ts = {.tv_sec = until / RT_SEC, .tv_nsec = until % RT_SEC};

	/* Who wants the thread to stop signals it again and again. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void stall(struct control_job *job)
{
	int64_t now = rt_now(), until = now + job->values[STALL] * RT_USEC;

	rt_preempt_off();
	for (; now < until && !job_ended(job); now = rt_now())
		sleep_in_kernel(until - now > SLICE_NS ? now + SLICE_NS : until);
	rt_preempt_on();
}

static void stall_again_and_again(void *arg)
{
	struct control_job *job = arg;
	int64_t next = rt_now();

	while (!job_ended(job)) {
		stall(job);
		next += job->values[INTERVAL] * RT_USEC;
		job_sleep_until(job, next);
	}
	job_left(job);
}

static int begin(struct control_job *job, char why[ACTION_WHY_MAX])
{
	int r = 0;

	for (int64_t i = 0; r == 0 && i < job->values[COUNT]; i++)
		r = job_start(job, stall_again_and_again);
	return r;
}

const struct control_action action_stall_safepoint = {
	.name = "stall-safepoint",
	.params = {[COUNT] = {"count", 1, 64, 1},
		   [INTERVAL] = {"interval_us", 1000, 3600000000, 1000000},
		   [STALL] = {"stall_us", 100, 60000000, -1}},
	.begin = begin,
};
