/*
 * waiters - coroutines that wait for one thing, in the order in which they came
 *
 * Owns:    nothing: a waiter lives on the stack of the coroutine that waits, and is off the list
 *          (or was taken off by who ended the wait) before that coroutine returns
 * Threads: a list and its waiters belong to the lock beside it (a guard, a channel's lock). The one
 *          exception: who took a waiter off and claimed it may write to it until co_ready().
 *
 * A wait that only a partner can end is plain: taking the waiter off the list decides it. A wait
 * with a deadline, or on several lists, is shared: taking it off is followed by wait_claim(), and
 * who loses that leaves it to the winner.
 */
#pragma once

#include "../sched/sched.h"

struct waiter {
	struct waiter *next, *prev;
	struct rt_co *co;
	uint64_t ticket;
	void *elem;  /* channel: what is copied from or to */
	int64_t n;   /* semaphore: how much; mutex: waits since; rwlock: 1 for writers */
	bool linked; /* in the list */
	bool shared; /* others may end the wait: claim it */
	bool ended;  /* a partner did it, not the deadline */
	bool closed; /* channel: the partner was rt_close() */
	bool handed; /* mutex: the waiter has it */
};

static inline struct waiter *waiters_first(const struct rt_waiters *l)
{
	return l->first;
}

static inline void waiter_init(struct waiter *w, struct rt_co *self, int64_t deadline)
{
	w->co = self;
	w->ticket = wait_ticket(self);
	w->shared = deadline != RT_FOREVER;
	w->ended = w->closed = w->handed = false;
}

static inline void waiters_append(struct rt_waiters *l, struct waiter *w)
{
	w->next = NULL;
	w->prev = l->last;
	if (w->prev)
		w->prev->next = w;
	else
		l->first = w;
	l->last = w;
	w->linked = true;
}

void waiters_prepend(struct rt_waiters *l, struct waiter *w);

static inline void waiters_unlink(struct rt_waiters *l, struct waiter *w)
{
	if (w->next)
		w->next->prev = w->prev;
	else
		l->last = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		l->first = w->next;
	w->linked = false;
}

/* Takes one off and decides its wait; false: a deadline or another list has ended it before. */
static inline bool waiter_take(struct rt_waiters *l, struct waiter *w)
{
	waiters_unlink(l, w);
	if (w->shared && !wait_claim(w->co, w->ticket))
		return false;
	w->ended = true;
	return true;
}

/* The first whose wait was still open, taken off; NULL: there is none. */
static inline struct waiter *waiters_take(struct rt_waiters *l)
{
	struct waiter *w;

	while ((w = l->first))
		if (waiter_take(l, w))
			return w;
	return NULL;
}

/* Coroutines to wake once the lock has been released, linked by next. */
struct wake_list {
	struct rt_co *first, *last;
};

static inline void wake_add(struct wake_list *l, struct rt_co *co)
{
	co->next = NULL;
	if (l->last)
		l->last->next = co;
	else
		l->first = co;
	l->last = co;
}

static inline void wake_all(struct wake_list *l)
{
	if (l->first)
		co_ready_list(l->first);
}

/* Whether there is no time left to wait; reads the clock only when it must. */
static inline bool deadline_passed(int64_t deadline)
{
	return deadline != RT_FOREVER && (deadline <= 0 || deadline <= now_ns());
}

/*
 * Parks the calling coroutine, whose waiter is in a list under l, and releases l.
 * Errors: -ETIMEDOUT: the waiter may still be in the list: see waiters_give_up()
 */
int waiter_park(struct waiter *w, enum wait_reason reason, struct lock *l, int64_t deadline);
/* After a timeout, under the lock: off the list, unless a late partner had taken it off. */
bool waiters_give_up(struct rt_waiters *l, struct waiter *w);
