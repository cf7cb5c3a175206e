/*
 * doubt - whether enough was seen of a window to believe what was measured in it
 */
#pragma once

#include "state.h"

/* Makes the result inconclusive, with the reason and the next step, when what was not seen could have
 * decided the other way. */
void doubt(const struct slo *s, enum window w, struct objective_result *r, double baseline);

/* Whether somebody did not answer what was due in the window; why says who. */
bool doubt_coverage(const struct slo *s, enum window w, char *why, size_t size);

/* Sentences about what the windows' numbers leave out; a new array. */
json_t *doubt_notes(const struct slo *s);
