/*
 * coverage - of the rounds that were due in a window, how many were answered, and by whom not
 *
 * Readings that are missing are no good news: what nobody looked at must not count as held. A
 * round that finds its target down by this run's own fault is excused, and counted apart.
 *
 * Units: CLOCK_MONOTONIC
 * Owns:  the sources' names
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COVERAGE_NEEDED 0.8
/* Rounds in a row up to the window's end, and their share of all, after which a source has fallen
 * silent. */
enum { COVERAGE_SILENT_ROUNDS = 3 };
#define COVERAGE_SILENT_SHARE 0.02

enum round { ROUND_ANSWERED, ROUND_SILENT, ROUND_DOWN };

struct coverage_source {
	char *name; /* "namespace/name", or what else was asked */
	uint64_t due, answered, down;
	uint64_t silent_run;	  /* silent rounds since the last of another kind */
	int64_t silent_since_ns; /* due time of the first of them */
	int64_t last_due_ns, down_ns;
};

struct coverage {
	struct coverage_source *sources;
	size_t n;
};

/* A round in which the source was due at due_ns. */
void coverage_add(struct coverage *c, const char *source, int64_t due_ns, enum round r);
void coverage_done(struct coverage *c);

/* The source that answered the least, when it is below COVERAGE_NEEDED or has fallen silent; NULL
 * when all have answered. */
const struct coverage_source *coverage_worst(const struct coverage *c);

/* The sources' counts, times since start_ns; a new array. */
json_t *coverage_json(const struct coverage *c, int64_t start_ns);
