/*
 * inject - one fault on its way into the kernel
 *
 * Flow:    journal -> [inject] -> observe
 *
 * The engine calls inject_capture, has the undo records committed and the guard armed, and only
 * then calls inject_apply: no change precedes its record.
 *
 * Owns:    an injection owns its planned fault
 * Threads: the loop's thread only
 */
#pragma once

#include "plan.h"
#include "presence.h"

enum injection_state {
	INJECTION_WAITING,   /* for its time */
	INJECTION_PREPARING, /* captured; the journal or the guard has the word */
	INJECTION_ON,
	INJECTION_OFF,       /* reverted, or never injected */
};
const char *injection_state_name(enum injection_state s);

/* What a target was when its state was captured: a restarted pod may have other namespaces. */
struct captured_target {
	struct target *target; /* referenced */
	struct netns_id netns_id;
};

struct injection {
	struct plan_fault *pf;
	enum injection_state state;
	bool late; /* for targets that came while the fault was on */
	bool ended; /* switched off; its revert waits for those that are quicker */
	struct captured_target *captured;
	size_t n_captured;
	struct strlist names; /* of all targets that were captured, also those that went */
	int64_t prepare_ns, journal_ns, inject_ns, revert_ns; /* durations */
	int64_t asked_ns;                                     /* when the step that runs began */
	struct effect effect;
	bool effect_told;
	int64_t let_through; /* packets that an expired lease let pass */
	struct presence presence;
	json_t *detail; /* the driver's report, once the fault is off */
};

struct injection *injection_new(struct plan_fault *pf); /* takes pf */
void injection_free(struct injection *in);
DEFINE_AUTOPTR(injection, injection_free);

/*
 * Snapshots and undo records, each target's snapshot in its first record. Where another fault of
 * the run is on a target already, its snapshot is taken over: "before" is before the run.
 */
int inject_capture(struct injection *in, struct injection *const *all, size_t n, struct err *e);
/* Makes it so; on failure nothing is undone here. */
int inject_apply(struct injection *in, struct err *e);
/* True when another fault of the run is still on the record's target. */
bool inject_shares_target(const struct injection *in, const struct undo *u,
			  struct injection *const *all, size_t n);
