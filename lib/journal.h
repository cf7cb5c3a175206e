/*
 * journal - durable record of what must be undone, and of what was run
 *
 * Flow:    plan -> [journal] -> inject
 * Units:   times are CLOCK_REALTIME nanoseconds
 * Owns:    the database handle; strings passed in are copied
 * Threads: one writer a handle; readers open their own handle
 * Errors:  -ENOSPC leaves earlier entries intact; err is always set
 * Source:  write-ahead rule after Mohan et al., ARIES, 1992
 */
#pragma once

#include "base/err.h"
#include "fault/driver.h"

struct journal;

/* Opens (and makes) STATE_DIR/brunt.db. A handle is used from one thread at a time. */
int journal_open(const char *state_dir, struct journal **ret, struct err *e);
void journal_close(struct journal *j);
DEFINE_AUTOPTR(journal, journal_close);

struct run_row {
	char *id, *experiment, *state, *verdict; /* state: running, recovered, not-restored, done */
	int64_t started_ns, ended_ns;
	int64_t pid;
	char *boot_id;
	char *record; /* JSON, NULL until the run has ended */
};
void run_row_done(struct run_row *r);

int journal_run_begin(struct journal *j, const char *run_id, const char *experiment,
		      struct err *e);
/* One transaction: all records or none; sets their ids. */
int journal_append(struct journal *j, const char *run_id, struct undo *undo, size_t n,
		   struct err *e);
int journal_mark_undone(struct journal *j, const int64_t *ids, size_t n, struct err *e);
/* Records not yet undone, newest first. run_id NULL: of all runs. */
int journal_pending(struct journal *j, const char *run_id, struct undo_list *ret, struct err *e);
/* record: as docs/record.md states it; NULL keeps the one that is there. */
int journal_run_end(struct journal *j, const char *run_id, const char *state, const char *verdict,
		    const json_t *record, struct err *e);
/* Newest first, without their records. */
int journal_runs(struct journal *j, struct run_row **ret, size_t *ret_n, struct err *e);
/* The run whose id begins with run_id; "" or "latest" is the newest. -ENOENT, -ENOTUNIQ. */
int journal_run(struct journal *j, const char *run_id, struct run_row *ret, struct err *e);
enum { JOURNAL_KEEP = 200 }; /* runs, kept by every run's own pruning */
/* Keeps the newest `keep` runs; 1 if rows went. Live runs and pending records stay. */
int journal_prune(struct journal *j, size_t keep, struct err *e);

/* $BRUNT_STATE_DIR, $STATE_DIRECTORY, $XDG_STATE_HOME/brunt, /var/lib/brunt (root); caller frees. */
char *journal_default_dir(void);
