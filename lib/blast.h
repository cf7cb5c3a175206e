/*
 * blast - how far a run may reach
 *
 * Flow:    asked whenever targets join: by the plan, by a fault whose time has come, and for
 *          targets that come while it is on
 * Errors:  -EPERM, with both numbers and the bound
 */
#pragma once

#include "experiment.h"

/* One fault, with the targets that it holds or is about to. */
struct blast_part {
	const struct fault_spec *spec;
	const struct target_list *targets;
};

/* The targets of all parts together against x->blast_radius; listed is all that there is now. */
int blast_check(const struct experiment *x, const struct target_list *listed,
		const struct blast_part *parts, size_t n, struct err *e);
