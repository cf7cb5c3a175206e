/*
 * The table is never given back: a coroutine of a job that has ended may still look at its place,
 * which is free for the next one when the last of them has left.
 */
#include "job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { JOBS = 16 };

static struct control_job jobs[JOBS];
static uint64_t last_id;

#define ACTION(action) extern const struct control_action action;
#include "actions.def"
#undef ACTION

static const struct control_action *const actions[] = {
#define ACTION(action) &action,
#include "actions.def"
#undef ACTION
	NULL,
};

const struct control_action *action_at(size_t i)
{
	return i < sizeof actions / sizeof *actions ? actions[i] : NULL;
}

int job_start(struct control_job *job, void (*fn)(void *job))
{
	int r;

	atomic_fetch_add(&job->coroutines, 1);
	r = rt_post(fn, job);
	if (r < 0)
		job_left(job);
	return r;
}

void job_left(struct control_job *job)
{
	/* release: pairs with the acquire in free_place() */
	atomic_fetch_sub_explicit(&job->coroutines, 1, memory_order_release);
}

void job_sleep_until(struct control_job *job, int64_t deadline)
{
	for (int64_t now = rt_now(); now < deadline && !job_ended(job); now = rt_now())
		rt_sleep_until(deadline - now > 5 * RT_MSEC ? now + 5 * RT_MSEC : deadline);
}

void job_note_ttsp(int64_t ns)
{
	for (size_t i = 0; i < JOBS; i++)
		if (ns > atomic_load_explicit(&jobs[i].worst_ns, memory_order_relaxed))
			atomic_store_explicit(&jobs[i].worst_ns, ns, memory_order_relaxed);
}

static void end_job(struct control_job *job)
{
	if (!job->action || job->over)
		return;
	job->over = true;
	/* release: pairs with the acquire in job_ended() */
	atomic_store_explicit(&job->ended, 1, memory_order_release);
	if (job->action->end)
		job->action->end(job);
}

static void sweep(struct control_job *job)
{
	/* acquire: pairs with the release in job_left() */
	if (job->over && atomic_load_explicit(&job->coroutines, memory_order_acquire) == 0) {
		job->action = NULL;
		job->over = false;
	}
}

static struct control_job *free_place(void)
{
	for (size_t i = 0; i < JOBS; i++) {
		sweep(&jobs[i]);
		if (!jobs[i].action)
			return &jobs[i];
	}
	return NULL;
}

int job_begin(const struct job_request *r, int64_t now, uint64_t *ret_id, char why[ACTION_WHY_MAX])
{
	struct control_job *job = free_place();
	int error;

	if (!job) {
		snprintf(why, ACTION_WHY_MAX, "%d actions are under way already", JOBS);
		return -EBUSY;
	}
	job->action = r->action;
	snprintf(job->tag, sizeof job->tag, "%s", r->tag);
	memcpy(job->values, r->values, sizeof job->values);
	job->id = *ret_id = ++last_id;
	job->connection = r->connection;
	job->lease_ns = r->lease_ns;
	job->until_ns = now + r->lease_ns;
	job->hard_end_ns = r->for_ns ? now + r->for_ns : RT_FOREVER;
	atomic_store(&job->ended, 0);
	atomic_store(&job->worst_ns, 0);
	error = r->action->begin(job, why);
	if (error < 0) { /* some of its coroutines may run already */
		job->over = true;
		atomic_store(&job->ended, 1);
		if (!why[0])
			snprintf(why, ACTION_WHY_MAX, "%s", strerror(-error));
	}
	return error;
}

unsigned job_renew(int connection, int64_t now)
{
	unsigned n = 0;

	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].action && !jobs[i].over && jobs[i].connection == connection) {
			jobs[i].until_ns = now + jobs[i].lease_ns;
			n++;
		}
	return n;
}

unsigned job_end_tagged(const char *tag)
{
	unsigned n = 0;

	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].action && !jobs[i].over && !strcmp(jobs[i].tag, tag)) {
			end_job(&jobs[i]);
			n++;
		}
	return n;
}

void job_end_connection(int connection)
{
	for (size_t i = 0; i < JOBS; i++)
		if (jobs[i].connection == connection)
			end_job(&jobs[i]);
}

void job_end_all(void)
{
	for (size_t i = 0; i < JOBS; i++)
		end_job(&jobs[i]);
}

int64_t job_expire(int64_t now)
{
	int64_t next = RT_FOREVER;

	for (size_t i = 0; i < JOBS; i++) {
		struct control_job *job = &jobs[i];
		int64_t end = job->until_ns < job->hard_end_ns ? job->until_ns : job->hard_end_ns;

		sweep(job);
		if (!job->action || job->over)
			continue;
		if (now >= end)
			end_job(job);
		else if (end < next)
			next = end;
	}
	return next;
}

void job_list(int64_t now, char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < JOBS && len < size; i++) {
		struct control_job *job = &jobs[i];
		int64_t left = job->over ? 0 : job->until_ns - now;

		sweep(job);
		if (job->action)
			len += (size_t)snprintf(buf + len, size - len, "%s%s:%s:%lld:%lld", len ? "," : "",
						job->action->name, job->tag, (long long)(left / RT_MSEC),
						(long long)(atomic_load(&job->worst_ns) / RT_USEC));
	}
	if (len == 0)
		snprintf(buf, size, "-");
}
