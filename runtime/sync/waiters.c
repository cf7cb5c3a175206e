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

struct timed_park {
	struct lock *lock;
	uint64_t ticket;
	int64_t deadline;
};

/*
 * The timer is started here, not before the park: it may fire at once on another thread, and must
 * find a coroutine that can be resumed. That coroutine then needs the lock, which is still held, so
 * the arguments on its stack outlive the last use of them.
 */
static bool arm_and_unlock(struct rt_co *co, void *arg)
{
	struct timed_park *t = arg;
	struct lock *l = t->lock;

	wait_arm(co, t->ticket, t->deadline);
	lock_put(l);
	return true;
}

int waiter_park(struct waiter *w, enum wait_reason reason, struct lock *l, int64_t deadline)
{
	struct timed_park t = {.lock = l, .ticket = w->ticket, .deadline = deadline};
	struct rt_co *self = w->co;
	int r;

	if (deadline == RT_FOREVER)
		return co_park_unlock(reason, l);
	r = co_park(reason, arm_and_unlock, &t);
	wait_disarm(self, deadline);
	return r;
}
