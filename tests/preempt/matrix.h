/*
 * matrix - every workload in every mode: the time to safepoint against its objective
 *
 * Units:   nanoseconds
 * Objective: slo.def
 */
#pragma once

#include "workloads.h"

#include "rt.h"

enum { SLO_ROUND_TRIPS = 5, MODES = 4 };
extern const char *const mode_names[MODES]; /* by enum rt_preempt_mode */

struct cell {
	const struct workload *workload;
	enum rt_preempt_mode mode;
	bool must_fail, kept, ran;
	unsigned stops;
	int64_t p50_ns, p99_ns, max_ns, limit50_ns, limit99_ns;
	uint64_t errors; /* wrong values */
};

/* Runs a runtime of its own; fills what workload and mode leave open;
 * fault.h's fault is the caller's. stops: of the world. */
void matrix_cell(struct cell *c, unsigned stops);

static inline bool cell_is_right(const struct cell *c)
{
	return c->ran && c->errors == 0 && c->kept != c->must_fail;
}
