/*
 * goroutine - which coroutines and threads there are, as profiles and as text
 *
 * Flow:    world stopped -> [snapshot] -> profile or text
 * Threads: coroutines only; each call stops the world for as long as the walk takes
 * Errors:  -ENOMEM no address space
 */
#pragma once

#include "out.h"
#include "snapshot.h"

/* debug 0: gzipped profile.proto; 1: stacks with counts; 2: each coroutine, as a Go panic prints it. */
int goroutine_profile(struct out *o, int debug);
/* Where threads were started. debug 0 or 1. */
int threadcreate_profile(struct out *o, int debug);
/* As SIGQUIT: each coroutine with name, state, reason, waiting time, stack and creation site. */
void goroutine_dump(struct out *o, const struct snapshot *s);
