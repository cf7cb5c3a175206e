/*
 * command - one line of a control connection into its answer; private to control/
 */
#pragma once

#include "protocol.h"

#include <stdint.h>

/* line, without its end, is changed; ret gets the answer with its end. The control's thread. */
void command_answer(int connection, char *line, int64_t now, char ret[CONTROL_ANSWER_MAX]);

/* Counts a probe of the time to safepoint. Any thread. */
void command_note_probe(void);
