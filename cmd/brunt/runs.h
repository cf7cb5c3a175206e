/*
 * runs - runs by id, as the verbs that look back at them need them
 */
#pragma once

#include "verb.h"

#include "../../lib/journal.h"
#include "../../lib/lock.h"

/* Whole ids for the given beginnings; -ENOENT and a hint when one names no run. */
int runs_named(struct journal *j, const struct strlist *args, struct strlist *ret, struct err *e);
/* True for a run that ended and left nothing: says so on standard output. */
bool runs_has_ended(struct journal *j, const char *id);
/* One of several failed and the others go on: the error so far is printed and *e is the new one. */
void runs_note_failure(struct err *e, const struct err *failure);
/* Runs that have not ended, or left something behind, oldest first. */
int runs_unfinished(struct journal *j, struct strlist *ret, struct err *e);
