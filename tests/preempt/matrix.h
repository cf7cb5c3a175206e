/*
 * matrix - every workload in every mode: the time to safepoint against its objective
 *
 * A cell is measured in rounds, a reference trip after every stop. Time in which the threads wanted to
 * run and did not, because other processes ran, is subtracted from both. What is left of such a
 * machine may still break an objective once; a runtime that is too slow breaks it in every round.
 *
 * Units:   nanoseconds
 * Objective: slo.def
 */
#pragma once

#include "workloads.h"

#include "rt.h"

enum { SLO_ROUND_TRIPS = 5, MODES = 4, ROUNDS_MAX = 7 };
extern const char *const mode_names[MODES]; /* by enum rt_preempt_mode */

struct round {
	bool kept;
	int64_t p50_ns, p99_ns, max_ns, limit50_ns, limit99_ns;
	int64_t waited99_ns; /* subtracted: p99 */
};

struct cell {
	const struct workload *workload;
	enum rt_preempt_mode mode;
	bool must_fail;
	unsigned stops, rounds, kept; /* stops: a round; kept: rounds */
	struct round round[ROUNDS_MAX]; /* the last one kept the objective, or none did */
	uint64_t errors; /* wrong values */
};

/* Runs a runtime of its own; fills what workload and mode leave open; fault.h's fault is the caller's.
 * stops: of the world in each round. A cell that must pass is done when a round has kept the objective;
 * one that must fail has to break it in each of three. */
void matrix_cell(struct cell *c, unsigned stops);

static inline bool cell_is_right(const struct cell *c)
{
	return c->rounds && c->errors == 0 && !c->kept == c->must_fail;
}
