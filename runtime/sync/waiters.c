/*
 * The waiter's struct stays on its stack because every path that touches it holds the lock beside
 * the list, and a waiter whose deadline ended the wait takes that lock before it returns: so no
 * partner can be looking at it any more. Who claimed a waiter needs no lock: the coroutine cannot
 * return before that partner calls co_ready().
 */
#include "waiters.h"

void waiters_prepend(struct rt_waiters *l, struct waiter *w)
{
	w->prev = NULL;
	w->next = l->first;
	if (w->next)
		w->next->prev = w;
	else
		l->last = w;
	l->first = w;
	w->linked = true;
}

bool waiters_give_up(struct rt_waiters *l, struct waiter *w)
{
	if (!w->linked)
		return false;
	waiters_unlink(l, w);
	return true;
}

int waiter_park(struct waiter *w, enum wait_reason reason, struct lock *l, int64_t deadline)
{
	struct rt_co *self = w->co;
	int r;

	self->waits_on = l; /* a member of what it waits on: a channel's first one */
	if (deadline == RT_FOREVER)
		return co_park_unlock(reason, l);
	/* The timer starts while the lock is held, and may wake this coroutine at once on another
	 * thread: it then waits for the lock, so nothing here is gone before that is released. */
	wait_arm(self, w->ticket, deadline);
	r = co_park_unlock(reason, l);
	wait_disarm(self, deadline);
	return r;
}
