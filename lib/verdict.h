/*
 * verdict - one word for a run, its exit code, and one sentence that a person can act on
 *
 * Flow:    recover -> [verdict] -> report
 * Owns:    nothing; facts are borrowed during the call
 */
#pragma once

#include "fault/driver.h"
#include "presence.h"
#include "recover.h"
#include "slo/slo.h"

enum verdict {
	VERDICT_PASSED,
	VERDICT_FAILED,
	VERDICT_INEFFECTIVE,
	VERDICT_INCONCLUSIVE,
	VERDICT_ABORTED,
	VERDICT_ERROR,
	VERDICT_NOT_RESTORED,
	VERDICT_INTERRUPTED,
};
const char *verdict_name(enum verdict v);
int verdict_exit_code(enum verdict v); /* cli.md */

/* What became of one fault. */
struct verdict_fault {
	const char *name;
	size_t n_targets;
	const struct effect *effect;
	const char *advice;  /* what to look at when it is not felt; NULL: the way of the traffic */
	int64_t let_through; /* packets that an expired lease let pass */
	bool never_on;       /* its time was over before all was ready for it */
	struct presence_summary presence;
};

struct verdict_facts {
	const char *run_id;
	int64_t seed;
	const char *file;
	const struct restoration *restoration;
	const char *error, *hint; /* NULL: none */
	const char *interrupted;  /* the reason; NULL: no */
	const char *aborted;
	const char *unsteady;     /* why the baseline did not hold, or could not be told */
	const struct verdict_fault *faults;
	size_t n_faults;
	const struct slo_result *slos;
	size_t n_slos;
};

struct verdict_result {
	enum verdict verdict;
	bool narrowly;
	char sentence[1024];
};

void verdict_decide(const struct verdict_facts *f, struct verdict_result *ret);
