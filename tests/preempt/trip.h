/*
 * trip - the reference: a signal's round trip between two threads of this process
 *
 * Flow:    trip_prepare() has the partner run elsewhere; trip_once() sends a signal and returns when
 *          its handler has acknowledged it, waiting as rt_stop_world() does; trip_rest()
 * Threads: one user. They take no lock and allocate nothing: they may be called in a stopped world,
 *          where no thread of the runtime disturbs them.
 */
#pragma once

#include <stdbool.h>

bool trip_begin(void); /* false: no thread */
void trip_prepare(void);
void trip_once(void);
void trip_rest(void);
void trip_end(void);
