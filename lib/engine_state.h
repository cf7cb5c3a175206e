/*
 * engine_state - what the files of the engine share: the run as it stands
 *
 * engine.c goes through the steps, engine_fault.c leads one fault through its life,
 * engine_record.c writes down what happened.
 */
#pragma once

#include "engine.h"

#include "committer.h"
#include "guard.h"
#include "inject.h"
#include "kernel/broker.h"
#include "load.h"
#include "lock.h"
#include "observe.h"
#include "place.h"

#include <systemd/sd-event.h>

enum { RUN_ID_MAX = 32 };

/* One fault of the run, with what the engine needs to lead it. */
struct fault_run {
	struct engine *en;
	struct injection *in; /* also in en->injections, at the same place */
	sd_event_source *timer; /* its start, then its end */
};

struct window_time {
	int64_t start_ns, end_ns; /* CLOCK_MONOTONIC; 0: never opened, not yet closed */
};

struct engine {
	const struct experiment *x;
	struct engine_options o;
	sd_event *loop;
	struct listener listener; /* records, then passes on to o.listener */
	char run_id[RUN_ID_MAX];
	uint64_t seed;
	int64_t start_ns, start_wall_ns, end_wall_ns;
	void (*done)(void *data, struct engine *en);
	void *done_data;

	int step; /* index into steps[] of engine.c */
	bool entering, cut; /* a step is being entered; it is to be the last of its kind */
	const char *phase;
	int64_t phase_end_ns; /* 0: open end */
	bool queued;          /* waits, or has waited, for what another run holds */
	sd_event_source *step_timer, *period_timer, *done_source;

	struct lock *lock;
	struct committer *committer;
	struct broker *broker;
	struct guard *guard;
	struct place *place;
	struct load *load;
	struct workgroup *group; /* of load and commands; NULL: none was needed, or can be had */
	struct fault_env env;
	struct slo_env slo_env;
	struct plan *plan; /* gives its faults to the fault runs */
	json_t *plan_json;
	struct slo **slos;
	size_t n_slos;

	struct fault_run **faults;
	struct injection **injections;
	size_t n_faults;
	struct target_list refused; /* came during the fault and could not be taken in */
	size_t in_flight;           /* faults that wait for the journal or the guard */
	bool stopping;              /* nothing is to be injected any more */
	struct window_time windows[WINDOW_MAX];
	struct restoration restoration;

	struct err error;
	char *interrupted, *aborted, *unsteady;
	struct verdict_result verdict;
	struct slo_result *slo_results;
	json_t *record, *events;
	char *load_output;
};

/* engine.c: for the others ------------------------------------------------------------------- */

/* Notes the first error and ends what is going on; everything is put back. */
void engine_fail(struct engine *en, const struct err *e);
/* The wait of the step that runs is over, if that step is the revert. */
void engine_landed(struct engine *en);
/* Stops this process, for tests that kill it exactly there: BRUNT_TEST_STOP_AT names the point. */
void engine_checkpoint(const char *point);
void engine_emit(struct engine *en, enum event_type type, const char *name, const char *text,
		 int64_t value);

/* Takes the targets for this run; -EBUSY: another run has one. */
int engine_hold(struct engine *en, const struct target_list *targets, struct err *e);

/* engine_fault.c ------------------------------------------------------------------------------ */

/* Takes the plan's faults over and sets their timers, from the start of the fault window. */
int faults_schedule(struct engine *en, struct err *e);
/* Looks at every fault, and at who came and went. */
void faults_observe(struct engine *en);
/* Whether all have begun, and none has anything left to do or to end. */
bool faults_over(const struct engine *en);
/* Switches off and reverts everything that is on; at_once leaves out the last measurement. */
void faults_revert(struct engine *en, bool at_once);
/* The last look at faults with nothing to revert (a killed pod), after the recovery window. */
void faults_settle(struct engine *en);
void faults_free(struct engine *en);

/* engine_record.c ----------------------------------------------------------------------------- */

void record_event(void *engine, const struct event *ev); /* the fn of en->listener */
void record_judge(struct engine *en);
json_t *record_build(struct engine *en);
