/*
 * timer - deadlines on a heap per P
 *
 * Units:   CLOCK_MONOTONIC nanoseconds
 * Owns:    a timer belongs to who starts it and must stay readable: the heap points to it
 * Threads: a callback runs on whichever thread finds the timer due, in the scheduler: it must not
 *          block. It gets the values that the timer had when it fell due, so that a timer which is
 *          started anew meanwhile is not confused with it.
 * Source:  4-ary heap after LaMarca and Ladner, 1996
 */
#pragma once

#include "lock.h"

#include <stdbool.h>
#include <stdint.h>

struct p;

struct timer {
	int64_t when;
	void (*fn)(void *arg, uint64_t seq);
	void *arg;
	uint64_t seq;
	struct p *_Atomic p; /* whose heap it is in; NULL: none */
	uint32_t index;
};

struct timers {
	struct lock lock;
	struct timer **heap;
	uint32_t n, room;
	_Atomic int64_t first; /* when of heap[0], 0: none; readable without the lock */
};

/* Into the heap of the calling thread's P (coroutines only). */
void timer_start(struct timer *t);
bool timer_stop(struct timer *t); /* true: it was pending and will not fire */
/* Calls what is due on p. Returns when the next one is, 0: none. any M. */
int64_t timers_run(struct p *p, int64_t now, bool *ret_ran);
/* The earliest over all Ps in use; 0: none. */
int64_t timers_first(void);
void timers_move(struct p *from, struct p *to); /* world stopped */
void timers_clear(struct p *p);
