/*
 * sink - standard output and error for verbs that hold something: writing never waits for a reader
 *
 * After sink_open, stdout and stderr are streams into a queue each (one for both where both lead to
 * the same place); a thread for each queue writes to the descriptor. The descriptors' flags are
 * left alone: they are the user's shell's too.
 *
 * Threads: printing from any thread; the rest from the main one
 */
#pragma once

#include "../../lib/base/err.h"

#include <stdbool.h>
#include <stdio.h>

void sink_open(void);
/* What was written to f and is not read yet exceeds what is worth keeping for a reader who comes
 * late: live updates are then left out. False without sink_open. */
bool sink_is_behind(FILE *f);
/*
 * Waits until all is written, as long as somebody reads; not longer than a few seconds for one who
 * does not, and a moment once Ctrl-C comes. Negative, with e set, when something was lost. 0
 * without sink_open.
 */
int sink_drain(FILE *f, struct err *e);
