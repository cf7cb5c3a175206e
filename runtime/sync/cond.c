/*
 * The waiter stands in the list before the mutex is let go, and the guard is held over both, so a
 * signal given under the mutex cannot fall between them. A waiter takes the mutex again like any
 * newcomer; moving it over to the mutex's list would save a switch when a broadcast wakes many, and
 * cost the barging that makes the mutex fast.
 */
#include "mutex.h"

#include <errno.h>

static int cond_wait(struct rt_cond *c, struct rt_mutex *m, int64_t deadline)
{
	struct waiter w;
	int r;

	if (deadline_passed(deadline))
		return -ETIMEDOUT;
	lock_get(lock_of(&c->guard));
	waiter_init(&w, this_co(), deadline);
	waiters_append(&c->waiters, &w);
	mutex_unlock(m);
	r = waiter_park(&w, WAIT_COND, lock_of(&c->guard), deadline);
	if (r < 0) {
		lock_get(lock_of(&c->guard));
		waiters_give_up(&c->waiters, &w);
		lock_put(lock_of(&c->guard));
	}
	mutex_lock(m, RT_FOREVER);
	return r;
}

int rt_cond_wait_dl(struct rt_cond *c, struct rt_mutex *m, int64_t deadline)
{
	int r = cond_wait(c, m, deadline);

	poll_here();
	return r;
}

void rt_cond_wait(struct rt_cond *c, struct rt_mutex *m)
{
	rt_cond_wait_dl(c, m, RT_FOREVER);
}

void rt_cond_signal(struct rt_cond *c)
{
	struct waiter *w;

	lock_get(lock_of(&c->guard));
	w = waiters_take(&c->waiters);
	lock_put(lock_of(&c->guard));
	if (w)
		co_ready(w->co);
	poll_here();
}

void rt_cond_broadcast(struct rt_cond *c)
{
	struct wake_list wake = {0};
	struct waiter *w;

	lock_get(lock_of(&c->guard));
	while ((w = waiters_take(&c->waiters)))
		wake_add(&wake, w->co);
	lock_put(lock_of(&c->guard));
	wake_all(&wake);
	poll_here();
}
