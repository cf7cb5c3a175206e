/*
 * lost - runs that hold a lock file, and that the journal does not know
 *
 * A run has its file from its beginning to its end, and its row in the journal before it changes
 * anything. A file without a row says that the database was removed, emptied or replaced.
 */
#pragma once

#include "journal.h"

#include <sys/types.h>

struct lost_run {
	char *run_id, *experiment;
	struct strlist names; /* what it holds, or held: "experiment/x", "target/..." */
	bool live;            /* its owner or guard lives, and has the records in memory */
};
/* j NULL: the journal cannot be read, so it knows none. Runs that had not come to change anything
 * are left out. */
void lost_runs(const char *state_dir, struct journal *j, struct lost_run **ret, size_t *ret_n);
void lost_runs_free(struct lost_run *runs, size_t n);
