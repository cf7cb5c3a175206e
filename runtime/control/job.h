/*
 * job - the actions that are under way, and their leases; private to control/
 *
 * Threads: the control's, but for job_note_ttsp and what action.h says
 */
#pragma once

#include "action.h"

#include <stddef.h>

/* The i-th row of actions.def; NULL after the last. */
const struct control_action *action_at(size_t i);

struct job_request {
	const struct control_action *action;
	const char *tag;
	int connection;
	int64_t lease_ns, for_ns; /* for_ns 0: as long as the lease is renewed */
	int64_t values[ACTION_PARAMS_MAX];
};

/* Negative errno with the reason in why. */
int job_begin(const struct job_request *r, int64_t now, uint64_t *ret_id, char why[ACTION_WHY_MAX]);
unsigned job_renew(int connection, int64_t now); /* how many */
unsigned job_end_tagged(const char *tag);        /* how many */
void job_end_connection(int connection);
void job_end_all(void);
/* Ends what has run out; when to look next, RT_FOREVER without jobs. */
int64_t job_expire(int64_t now);
/* "NAME:TAG:LEASE:WORST,..." or "-". */
void job_list(int64_t now, char *buf, size_t size);

/* A stop took so long. Any thread. */
void job_note_ttsp(int64_t ns);
