/*
 * engine - one run, from the plan to the record
 *
 * Read engine.c first: it calls the stages in order.
 *
 *   experiment -> plan -> journal -> inject -> observe -> recover -> verdict -> report
 *
 * The engine is a state machine on an sd-event loop; any number of engines share one loop.
 */
#pragma once

#include "base/event.h"
#include "experiment.h"
#include "verdict.h"

#include <jansson.h>

struct engine;
struct sd_event;

struct engine_options {
	const char *state_dir;
	const char *net_backend;   /* "auto", "netem", "engine" */
	int64_t lease_ns;          /* 0: 2 s */
	int64_t evaluation_ns;     /* 0: 250 ms */
	bool allow_empty, allow_host_network;
	bool wait;                 /* queue behind a run of the same experiment or on the same target */
	const char *lab;           /* name of a running lab to use */
	const char *source;        /* overrides the experiment's */
	bool plan_only;            /* ends after the plan; nothing is touched or recorded */
	struct listener listener;
};

int engine_new(const struct experiment *x, const struct engine_options *o, struct sd_event *loop,
	       struct engine **ret, struct err *e);
/* Starts; the run then goes on from the loop until done is called. */
int engine_start(struct engine *en, void (*done)(void *data, struct engine *en), void *data,
		 struct err *e);
/* Recovers at once; done is called when everything is back. */
void engine_interrupt(struct engine *en, const char *reason);
void engine_free(struct engine *en);
DEFINE_AUTOPTR(engine, engine_free);

enum verdict engine_verdict(const struct engine *en);
const char *engine_sentence(const struct engine *en); /* the last line of a run */
/* The whole record, in the shape that docs/record.md states; borrowed. */
const json_t *engine_record(const struct engine *en);
const char *engine_run_id(const struct engine *en);
const char *engine_experiment(const struct engine *en); /* its name */
/* The plan in JSON (plan.h), NULL when none came about; borrowed. */
const json_t *engine_plan(const struct engine *en);
/* What went wrong, NULL when nothing did. */
const struct err *engine_error(const struct engine *en);

/* For the live view. */
struct engine_now {
	const char *phase;
	int64_t phase_left_ns;
	size_t n_slos;
	struct { const char *name; struct slo_now now; const struct objective *objective; } slos[16];
	size_t n_faults;
	struct { const char *name, *state; size_t n_targets; } faults[16];
};
void engine_now(const struct engine *en, struct engine_now *ret);
