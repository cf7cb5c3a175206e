/* worker - what the actions know of the pass that exhaustive.c runs */
#pragma once

#include <stdbool.h>

struct rt_co;

struct rt_co *worker_co(void);
bool worker_is_away(void); /* it was sent away and has not come back to its instruction */
bool worker_is_back(void); /* it has come back since, or no pass runs */
void worker_note(const char *wrong_state); /* in another coroutine; NULL: nothing is wrong */
void worker_not_taken(const char *why);    /* likewise: this pass did not do what its action is for */
