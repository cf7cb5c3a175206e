/*
 * poll - descriptors that wait through epoll: one record a number, never given back
 *
 * An operation holds its record between desc_enter() and desc_leave(): until then the number is
 * not closed and cannot mean another file.
 *
 * Threads: coroutines; netpoll() and netpoll_break() (sched.h) are for the scheduler
 */
#pragma once

#include "../sched/sched.h"

enum poll_dir { POLL_READ, POLL_WRITE, POLL_DIRS };

/* What is known of a descriptor without asking the kernel. */
enum {
	DESC_SOCKET = 1, /* send(2) and recv(2) work */
	DESC_STREAM = 2, /* TCP: a short read has emptied it */
};

struct poll_waiter {
	struct rt_co *co;
	uint64_t ticket;
	struct poll_waiter *next;
};

struct desc {
	struct lock lock; /* guards generation to closer */
	uint32_t generation;
	bool ready[POLL_DIRS]; /* an event came while nobody waited */
	_Atomic uint32_t events[POLL_DIRS]; /* how many came; written under the lock */
	bool hung_up;          /* the end or an error was among the events */
	struct poll_waiter *waiters[POLL_DIRS];
	struct rt_co *closer; /* waits until the last operation is over */

	_Atomic uint32_t state; /* open, closing, and the number of operations under way */
	uint32_t flags;         /* constant while open */
	_Atomic uint32_t reads, drained_at;
};

/* Errors: -EPERM epoll cannot wait for it, -EMFILE the number is beyond the table, epoll_ctl's */
int desc_open(int fd, uint32_t flags);
/* 0, and *ret NULL when it is not open: the descriptor is the caller's to block on. Errors: -ECANCELED
 * it is being closed */
int desc_enter(int fd, struct desc **ret);
void desc_leave(struct desc *d);
/* Ends the waits on it, waits for the operations to end and forgets it. 1: it was open, and is the
 * caller's to close(2); 0: it was not. Errors: -ECANCELED somebody else is closing it */
int desc_close(int fd);

/* How many events came so far: asked before an attempt, after which desc_wait() is told. */
uint32_t desc_events(struct desc *d, enum poll_dir dir);
/* Waits for an event after those that were seen. Errors: -ETIMEDOUT, -ECANCELED it is being closed */
int desc_wait(struct desc *d, enum poll_dir dir, uint32_t seen, int64_t deadline);

/* A read that took all there was is told, so that the next one waits without trying: an attempt
 * begins with desc_reading(), whose answer goes to desc_drained() when it came back short. */
uint32_t desc_reading(struct desc *d);
void desc_drained(struct desc *d, uint32_t reading);
bool desc_is_drained(struct desc *d);
