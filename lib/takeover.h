/*
 * takeover - a run taken from the processes that do not end it themselves
 *
 * `stop` asks the owner; one that does not answer within a second is passed over: the gates are
 * closed here, the guard is told to act, the owner is killed and, if need be, the guard too, so
 * that the run's lock is free within three seconds. `recover` leaves a run with a living owner
 * alone, and takes it from a guard that stands still.
 *
 * Only processes that hold the run's own lock are signalled, through a pidfd: a number that was
 * written down, by whomever, is not enough.
 *
 * Threads: any; it polls
 * Errors:  -EBUSY: the lock is held by processes that are neither owner nor guard; the text names them
 */
#pragma once

#include "journal.h"
#include "lock.h"

#include <stdbool.h>

struct takeover;

/* -ENOENT: no such run is under way. */
int takeover_new(const char *state_dir, const char *run_id, struct takeover **ret, struct err *e);
void takeover_free(struct takeover *t);
DEFINE_AUTOPTR(takeover, takeover_free);
/* SIGTERM to the owner, as from Ctrl-C. Returns at once. */
void takeover_ask(struct takeover *t);
/* The run is another user's: its database is not opened, and its guard, which alone can undo what
 * was done, is asked and never killed. */
void takeover_is_foreign(struct takeover *t);
/*
 * Waits for the lock, with whatever it takes. 1: it is free, *ret_lock holds it (-1 for a foreign
 * run); 0: the owner lives and was not asked. j may be NULL: gates are then not closed.
 */
int takeover_wait(struct takeover *t, struct journal *j, int *ret_lock, struct err *e);
/* How it came about, for the user: "" when the run ended by itself, else "its owner did not answer
 * and was killed" or the like. */
const char *takeover_story(const struct takeover *t);

/* Ends at once what the pending records of a run do to their targets, as far as their kinds have a
 * switch for it. */
void takeover_close_gates(struct journal *j, const char *run_id);
