/*
 * runs - runs by id, as the verbs that look back at them need them
 */
#pragma once

#include "verb.h"

#include "../../lib/journal.h"
#include "../../lib/lock.h"

/* Whole ids for the given beginnings; -ENOENT and a hint when one names no run. */
int runs_named(struct journal *j, const struct strlist *args, struct strlist *ret, struct err *e);
/* Runs that have not ended, or left something behind, oldest first. */
int runs_unfinished(struct journal *j, struct strlist *ret, struct err *e);
