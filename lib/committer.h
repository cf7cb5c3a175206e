/*
 * committer - the thread on which the journal is written
 *
 * A commit waits for the disk; the loop must not. Work is done in the order it was handed in, on
 * a journal handle of the thread's own; its completion is called on the loop.
 *
 * Owns:    arg stays the caller's; it must live until done was called
 * Threads: work runs on the committer's thread, everything else on the loop's
 */
#pragma once

#include "journal.h"

struct committer;
struct sd_event;

int committer_start(const char *state_dir, struct sd_event *loop, struct committer **ret,
		    struct err *e);
/* r and e are what work returned; done may be NULL. */
void committer_submit(struct committer *c, int (*work)(struct journal *j, void *arg, struct err *e),
		      void (*done)(void *arg, int r, const struct err *e), void *arg);
/* Ends the thread after all work is done; completions still outstanding are called here. */
void committer_free(struct committer *c);
DEFINE_AUTOPTR(committer, committer_free);
