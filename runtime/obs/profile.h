/*
 * profile - stacks with values, as the gzipped profile.proto that `go tool pprof` reads
 *
 * Flow:    profile_new -> types -> samples -> profile_write
 * Owns:    what it was given is copied, but for the names of types, which are constants
 * Threads: one at a time, on a system stack, never in a stopped world
 * Source:  github.com/google/pprof, proto/profile.proto
 */
#pragma once

#include "out.h"

#include <stddef.h>
#include <stdint.h>

enum { PROFILE_VALUES_MAX = 4 };

struct profile_type {
	const char *type, *unit; /* type NULL: none */
};

struct profile_kind {
	struct profile_type types[PROFILE_VALUES_MAX]; /* one a value of each sample */
	const char *default_type; /* of types, shown first; NULL: the last one */
	struct profile_type period_type;
	int64_t period;
};

struct profile;
struct profile *profile_new(const struct profile_kind *kind);
void profile_free(struct profile *p); /* accepts NULL */
/* CLOCK_REALTIME of the start; duration 0: a moment. */
void profile_set_time(struct profile *p, int64_t start_ns, int64_t duration_ns);
/* pcs are return addresses, innermost first (an interrupted pc is given plus one). */
void profile_add(struct profile *p, const uintptr_t *pcs, size_t n, const int64_t *values);
/* Appends to o. */
void profile_write(struct profile *p, struct out *o);
