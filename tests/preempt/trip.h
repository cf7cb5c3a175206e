/*
 * trip - the reference: a signal's round trip between two threads of this process
 *
 * Units:   nanoseconds
 * Threads: one user. trip_once() blocks no lock and allocates nothing: it may be called in a stopped
 *          world, where no thread of the runtime disturbs it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

bool trip_begin(void); /* false: no thread */
int64_t trip_once(void); /* from the signal's sending to its handler's acknowledgement */
void trip_end(void);
