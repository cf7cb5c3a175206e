/*
 * random - a soak: every kernel and every workload at once, disturbed at random
 *
 * Preemption of random Ps, stops of the world that write over dead parts of stacks, changing numbers of
 * Ps, system calls, timers. The values must be those of an undisturbed run. The disturbances follow the
 * seed; what they meet does not.
 */
#pragma once

#include "rt.h"

struct soak {
	enum rt_preempt_mode mode;
	double seconds;
	uint64_t seed;
	/* What came of it. */
	bool ran;
	uint64_t turns, idle, asks, stops, changes, wrong;
	char first_wrong[80];
};

/* Runs a runtime of its own. A hang ends the process with a dump, a minute after its time. */
void random_soak(struct soak *s);
