/*
 * presence - was a fault on at each of its targets, all the time that it should have been?
 *
 * Flow:    inject -> [presence] -> verdict
 *
 * Each look asks the driver (`check`) whether everything that it set on a target is as it was set. A
 * *gap* is the time from the last look that found it so to the next one that does.
 *
 * Units:   CLOCK_MONOTONIC nanoseconds
 * Owns:    texts of its own; faults and targets are borrowed during a call
 * Threads: the loop's thread only
 */
#pragma once

#include "fault/driver.h"

struct gap {
	char *target; /* namespace/name */
	char *what;   /* "cpu.cfs_quota_us of /sys/... is \"100000\"; \"50000\" was set" */
	int64_t since_ns; /* of the last look that found it whole */
	int64_t seen_ns;
	int64_t until_ns; /* 0: it lasts */
};

struct presence {
	int64_t on_ns, off_ns; /* 0: not yet */
	bool looks; /* there is something that lasts */
	struct presence_target {
		char *id;
		int64_t whole_ns, look_ns; /* of the last look that found it whole; of the last at all */
		size_t gap;       /* index + 1 of the one that lasts; 0: none */
		bool gone;
		int64_t left_ns;  /* the fault was no longer due there; 0: it is */
	} *targets;
	size_t n_targets;
	struct gap *gaps;
	size_t n_gaps;
	size_t next;        /* the target whose turn it is */
	int64_t longest_ns; /* the longest time between two looks at one target */
};

void presence_done(struct presence *p);
/* The fault has just been injected on its targets. */
void presence_begin(struct presence *p, const struct fault *f);
/*
 * Looks at as many targets as a tick has time for, in turn; with all set, at every one. Every gap
 * that opens is told as an event. excused says of which targets a gap does not count.
 */
void presence_look(struct presence *p, struct fault *f, bool all,
		   bool (*excused)(void *data, const struct target *t), void *data);
/* The target is no longer there; what was missing there before was missing for that reason. */
void presence_gone(struct presence *p, const struct fault *f, const char *target, const char *why);
/* It is no longer one of the fault's targets, and that is as it should be. */
void presence_leave(struct presence *p, const char *target);
/* The fault is on there again, by another injection. */
void presence_back(struct presence *p, const char *target);
/* The fault is about to be taken off. */
void presence_end(struct presence *p);

/* Of one or several injections of a fault. */
struct presence_summary {
	int64_t due_ns, on_ns; /* at its targets together: as asked for, and for sure */
	int64_t longest_ns;
	const struct gap *first; /* borrowed; NULL: it was on all the time */
	int64_t seen_ns, unseen_ns; /* when, after the injection; the last look was so long before */
	size_t n_gaps;
};
void presence_add(struct presence_summary *s, const struct presence *p);
/* {"share", "longest_unseen_ms", "gaps": [...]} */
json_t *presence_json(const struct presence *p);
