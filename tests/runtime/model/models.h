/*
 * models - the protocols that main.c explores, each with its mutants
 *
 * A mutant is the protocol with one thing wrong: the search must find what breaks then, else the
 * model would not notice if the runtime had that fault. AS_IT_IS is the protocol itself.
 */
#pragma once

#include "explore.h"

enum { AS_IT_IS = 0 };

struct protocol {
	const char *name;
	struct model model;
	unsigned instances; /* sizes and starting points, [0, instances) */
	void (*choose)(unsigned instance, unsigned mutant);
	const char *const *mutants; /* what is wrong with 1, 2...; NULL ends */
};

extern const struct protocol protocol_idle;  /* schedule.c: making work and going idle */
extern const struct protocol protocol_mark;  /* mem/: marking beside coroutines */
extern const struct protocol protocol_mutex; /* sync/mutex.c */
extern const struct protocol protocol_park;  /* schedule.c, waiters.h: a partner, a deadline */
extern const struct protocol protocol_poll;  /* schedule.c, timer.c: the wait in the netpoller */
extern const struct protocol protocol_runq;  /* queue.c: the ring and its thieves */
