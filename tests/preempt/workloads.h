/*
 * workloads - what a thread may be doing when the world is to stop
 *
 * A unit of work takes some 10 ms where it has no safepoint, so that a mode which cannot stop it
 * is seen to be slow, and ends. Units are managed text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct workload {
	const char *name;
	void (*unit)(void);
	/* Before and after the cell, both may be NULL; begin returns false when it cannot be had. */
	bool (*begin)(void);
	void (*end)(void);
};

extern const struct workload workloads[];
extern const size_t n_workloads;
extern _Atomic uint64_t workload_errors; /* values that were not what they should be */
extern _Atomic int workload_section; /* 1: one is between rt_preempt_off and _on: no stop may see it */
