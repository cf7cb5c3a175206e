/*
 * action - what can be asked for on the control socket: one file and one row in actions.def each
 *
 * begin and end are called on the control's thread and do not wait; what takes time is a coroutine that
 * begin starts with job_start() and that looks at job_ended() often.
 */
#pragma once

#include "../rt.h"
#include "protocol.h"

#include <stdatomic.h>

enum { ACTION_PARAMS_MAX = 4, ACTION_WHY_MAX = 160 };

struct action_param {
	const char *name; /* with its unit: "stall_us" */
	int64_t min, max;
	int64_t deflt; /* below min: it must be given */
};

struct control_job {
	const struct control_action *action; /* NULL: the place is free */
	char tag[CONTROL_TAG_MAX];
	int64_t values[ACTION_PARAMS_MAX]; /* in the order of the action's params */
	uint64_t id;
	int connection;
	int64_t lease_ns, until_ns, hard_end_ns;
	bool over;                   /* end was called; the place stays until its coroutines left */
	_Atomic uint32_t ended;      /* 1: they are to leave */
	_Atomic uint32_t coroutines; /* that have not left */
	_Atomic int64_t worst_ns;    /* time to safepoint that a probe met meanwhile */
};

struct control_action {
	const char *name;
	struct action_param params[ACTION_PARAMS_MAX]; /* up to the first without a name */
	/* Negative errno with the reason in why: it has not begun. */
	int (*begin)(struct control_job *job, char why[ACTION_WHY_MAX]);
	void (*end)(struct control_job *job); /* may be NULL */
};

/* Starts fn(job), which calls job_left() last. Errors: of rt_post */
int job_start(struct control_job *job, void (*fn)(void *job));
void job_left(struct control_job *job);

static inline bool job_ended(const struct control_job *job)
{
	/* acquire: pairs with the release in end_job() */
	return atomic_load_explicit(&job->ended, memory_order_acquire);
}

/* Sleeps, but for no longer than the job lasts. A coroutine's. */
void job_sleep_until(struct control_job *job, int64_t deadline);
