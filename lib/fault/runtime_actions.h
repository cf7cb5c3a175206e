/*
 * runtime_actions - what RuntimeChaos can ask of a service: one row each; private to fault/
 *
 * A row says which parameters its action takes, how it is put into words and into a command line, and from
 * which numbers of the service's status it is told that the action was felt.
 */
#pragma once

#include "driver.h"
#include "runtime_control.h"

struct runtime_params {
	struct fault_common common;
	int action; /* index of runtime_action_names */
	char *control;
	int64_t count, stall_ns, interval_ns, latency_ns, jitter_ns;
	uint32_t percent_ppm;
	uint64_t rate; /* bytes a second */
};
extern const struct schema runtime_schema;
extern const char *const runtime_action_names[];

/* What a service told from the beginning of an action on. */
struct runtime_seen {
	struct runtime_status before, now;
	int64_t began_ns, last_ns;
	int64_t asked_ns; /* when the status was asked for that comes next */
	int64_t worst_us; /* time to safepoint */
	unsigned fewest_live;
	int64_t most_coroutines;
	bool paused; /* collections */
};
void runtime_seen_begin(struct runtime_seen *s); /* before was asked */
void runtime_seen_take(struct runtime_seen *s);  /* now was asked */

void runtime_describe(const struct runtime_params *p, char *buf, size_t size);
/* The action's line for the socket up to what all actions have: " count=3". */
void runtime_add_values(const struct runtime_params *p, struct str *line);
/* Errors: -ERANGE the service cannot do so much */
int runtime_check_service(const struct runtime_params *p, const struct runtime_status *s, struct err *e);
/* Whether the status can tell at all, and what it does tell. */
bool runtime_can_tell(const struct runtime_params *p, const struct runtime_seen *s);
bool runtime_was_felt(const struct runtime_params *p, const struct runtime_seen *s);
void runtime_measured(const struct runtime_params *p, const struct runtime_seen *s, char *buf, size_t size);
/* What was asked for beside what it came to; false: this action has no such number. */
bool runtime_figure(const struct runtime_params *p, const struct runtime_seen *s,
		    struct effect_figure *ret);
/* Why two cannot be on at one time; NULL: they can. */
const char *runtime_conflict(const void *a, const void *b);
