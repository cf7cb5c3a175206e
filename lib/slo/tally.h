/*
 * tally - counters of many targets as one count that never falls
 *
 * A target's process restarts and its counters begin at 0 again; targets come and go. What was
 * counted stays counted. A counter that is seen for the first time counts in full if its process
 * is younger than the tally, else from here on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally_item {
	char *id;
	double last;
	int64_t started_ns;
	bool fell; /* its restart was seen by its value, before started_ns told it */
};

struct tally {
	int64_t born_ns; /* CLOCK_MONOTONIC */
	struct tally_item *items;
	size_t n;
	double sum; /* of everything counted */
};

/*
 * A reading of the counter id, whose process was started at started_ns (CLOCK_MONOTONIC, 0:
 * unknown). Returns what was counted since the last reading.
 */
double tally_add(struct tally *t, const char *id, int64_t started_ns, double value);
void tally_done(struct tally *t);
