/*
 * recover - puts everything back, and proves it
 *
 * Flow:    observe -> [recover] -> verdict
 * Owns:    a restoration owns its rows; records are borrowed
 * Threads: any, with a broker and a journal of its own: owner, guard and `brunt recover` alike
 * Errors:  what could not be undone is a row of the restoration, never an early return: the rest
 *          is still put back
 */
#pragma once

#include "fault/driver.h"
#include "journal.h"

struct restored {
	char *fault, *target;
	const char *kind;
	enum undo_outcome outcome;
	char *text;           /* why it failed, or what somebody else changed */
	char *before, *after; /* snapshots; NULL: not compared */
	bool same;            /* after is as before was, and is not kept */
	bool residue;         /* they differ, and nobody else is known to have made it so */
};

struct restoration {
	struct restored *items; /* one a record, in the order of the records */
	size_t n;
};
void restoration_done(struct restoration *r);
#define autorestoration __attribute__((cleanup(restoration_done))) struct restoration

/* Reverts records, each driver's together and the slow kinds last; appends a row for each. */
void recover_revert(const struct undo *undo, size_t n, struct broker *broker,
		    struct restoration *ret);
/* Compares the target as it is with the record's snapshot; row is the record's own. */
void recover_check(const struct undo *u, struct broker *broker, struct restored *row);

/* True when the row needs somebody to look after it: failed, or residue. */
bool restored_is_left(const struct restored *row);
size_t restoration_left(const struct restoration *r);
/* "memory.max of live/room-2: device busy" and how many more; "" when nothing is left. */
const char *restoration_summary(const struct restoration *r, char *buf, size_t size);
json_t *restoration_json(const struct restoration *r);

/*
 * Everything that the journal still holds of a run: reverted, compared and marked. find_netns
 * gives a namespace by identity (a descriptor of the caller's, or a new one with *ret_owned set);
 * NULL looks for it on the machine. The caller holds the run's lock.
 */
struct recover_handles {
	int (*find_netns)(void *data, struct netns_id id, bool *ret_owned);
	void *data;
	/* Records that the caller has of its own, oldest first, or NULL: they are reverted before the
	 * journal is asked, and whatever it says. */
	struct undo_list *known;
};
int recover_run(struct journal *j, struct broker *broker, const char *run_id,
		const struct recover_handles *handles, struct restoration *ret, struct err *e);
/* recover_run for a run whose processes are gone; ends it in the journal. 0 also when something
 * is left: ask the restoration. */
int recover_dead_run(struct journal *j, struct broker *broker, const char *run_id,
		     const struct recover_handles *handles, const char *who,
		     struct restoration *ret, struct err *e);

/* The lines of after that differ from before: "-old" and "+new", as a string to free. */
char *recover_diff(const char *before, const char *after);
