/*
 * The waiter stands in the list before the mutex is let go, so no signal given under the mutex can
 * fall between them. The mutex is let go when the coroutine has been parked and the guard released:
 * waking its next owner may start a thread, which is nothing to do under a lock. Should the waiter
 * be woken before that, it waits for this very mutex, so its frame is still there.
 *
 * A waiter takes the mutex again like any newcomer; moving it over to the mutex's list would save a
 * switch when a broadcast wakes many, and cost the barging that makes the mutex fast.
 */
#include "mutex.h"

#include <errno.h>

struct held {
	struct lock *guard;
	struct rt_mutex *mutex;
};

static bool let_go(struct rt_co *co, void *arg)
{
	const struct held *held = arg;
	struct rt_mutex *m = held->mutex;

	lock_put(held->guard);
	mutex_unlock(m);
	return true;
}

static int cond_wait(struct rt_cond *c, struct rt_mutex *m, int64_t deadline)
{
	struct held held = {lock_of(&c->guard), m};
	struct rt_co *self = this_co();
	struct waiter w;
	int r;

	if (!mutex_is_locked(m))
		rt_fatal("wait on condition %p with mutex %p, which is not locked", (void *)c,
			 (void *)m);
	if (deadline_passed(deadline))
		return -ETIMEDOUT;
	lock_get(lock_of(&c->guard));
	self->waits_on = c;
	waiter_init(&w, self, deadline);
	waiters_append(&c->waiters, &w);
	wait_arm(self, w.ticket, deadline);
	r = co_park(WAIT_COND, let_go, &held);
	wait_disarm(self, deadline);
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
