/*
 * Strictly first come, first served: a reader gets in at once only when no writer waits, and the
 * list is granted from its head, readers in a row together. So neither side can starve the other.
 *
 * Whoever takes something away that may have blocked the head calls grant(): the unlockers, and a
 * waiter that gives up, since readers behind it may go now.
 */
#include "waiters.h"

#include <errno.h>

static void grant(struct rt_rwlock *l, struct wake_list *wake)
{
	struct waiter *w;

	while ((w = waiters_first(&l->waiters))) {
		bool writer = w->n;

		if (l->writing || (writer && l->readers))
			return;
		l->writers_waiting -= writer;
		if (!waiter_take(&l->waiters, w))
			continue;
		if (writer)
			l->writing = true;
		else
			l->readers++;
		wake_add(wake, w->co);
	}
}

static int timed_out(struct rt_rwlock *l, struct waiter *w)
{
	struct wake_list wake = {0};

	lock_get(lock_of(&l->guard));
	if (waiters_give_up(&l->waiters, w)) {
		l->writers_waiting -= (uint32_t)w->n;
		grant(l, &wake);
	}
	lock_put(lock_of(&l->guard));
	wake_all(&wake);
	return -ETIMEDOUT;
}

/* Under the guard, which it releases. */
static __attribute__((noinline)) int wait_for(struct rt_rwlock *l, bool writer, int64_t deadline)
{
	struct waiter w;

	if (deadline_passed(deadline)) {
		lock_put(lock_of(&l->guard));
		return -ETIMEDOUT;
	}
	waiter_init(&w, this_co(), deadline);
	w.n = writer;
	l->writers_waiting += writer;
	waiters_append(&l->waiters, &w);
	if (waiter_park(&w, writer ? WAIT_RWLOCK_WRITE : WAIT_RWLOCK_READ, lock_of(&l->guard),
			deadline) < 0)
		return timed_out(l, &w);
	return 0;
}

int rt_rdlock_dl(struct rt_rwlock *l, int64_t deadline)
{
	int r = 0;

	lock_get(lock_of(&l->guard));
	if (!l->writing && !l->writers_waiting) {
		l->readers++;
		lock_put(lock_of(&l->guard));
	} else {
		r = wait_for(l, false, deadline);
	}
	poll_here();
	return r;
}

int rt_wrlock_dl(struct rt_rwlock *l, int64_t deadline)
{
	int r = 0;

	lock_get(lock_of(&l->guard));
	if (!l->writing && !l->readers && !waiters_first(&l->waiters)) {
		l->writing = true;
		lock_put(lock_of(&l->guard));
	} else {
		r = wait_for(l, true, deadline);
	}
	poll_here();
	return r;
}

void rt_rdlock(struct rt_rwlock *l)
{
	rt_rdlock_dl(l, RT_FOREVER);
}

void rt_wrlock(struct rt_rwlock *l)
{
	rt_wrlock_dl(l, RT_FOREVER);
}

void rt_rdunlock(struct rt_rwlock *l)
{
	struct wake_list wake = {0};

	lock_get(lock_of(&l->guard));
	if (!l->readers)
		rt_fatal("read unlock of rwlock %p, which has no reader", (void *)l);
	if (--l->readers == 0)
		grant(l, &wake);
	lock_put(lock_of(&l->guard));
	wake_all(&wake);
	poll_here();
}

void rt_wrunlock(struct rt_rwlock *l)
{
	struct wake_list wake = {0};

	lock_get(lock_of(&l->guard));
	if (!l->writing)
		rt_fatal("write unlock of rwlock %p, which has no writer", (void *)l);
	l->writing = false;
	grant(l, &wake);
	lock_put(lock_of(&l->guard));
	wake_all(&wake);
	poll_here();
}
