/*
 * matrix - every workload in every mode: the time to safepoint against its objective
 *
 * Units:   nanoseconds
 * Objective: p50 and p99 within SLO_ROUND_TRIPS times the p50 and p90 of a signal's round trip between
 *          two threads, measured in the same run. A cell that must fail is one that its mode has no
 *          means to stop: if its p50 held, the harness would not measure what it claims.
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

/* Runs a runtime of its own; fills what workload and mode leave open. stops: of the world. */
void matrix_cell(struct cell *c, unsigned stops);
void matrix_round_trip(int64_t *ret_p50_ns, int64_t *ret_p90_ns);

static inline bool cell_is_right(const struct cell *c)
{
	return c->ran && c->errors == 0 && c->kept != c->must_fail;
}
