/*
 * A counting semaphore served in order: a large demand at the head is not overtaken by small ones.
 * Whoever gives units back, or gives up its place, serves the list from its head.
 */
#include "waiters.h"

#include <errno.h>
#include <inttypes.h>

static void serve(struct rt_sem *s, struct wake_list *wake)
{
	struct waiter *w;

	while ((w = waiters_first(&s->waiters)) && w->n <= s->count) {
		int64_t n = w->n;

		if (!waiter_take(&s->waiters, w))
			continue;
		s->count -= n;
		wake_add(wake, w->co);
	}
}

static int timed_out(struct rt_sem *s, struct waiter *w)
{
	struct wake_list wake = {0};

	lock_get(lock_of(&s->guard));
	if (waiters_give_up(&s->waiters, w))
		serve(s, &wake);
	lock_put(lock_of(&s->guard));
	wake_all(&wake);
	return -ETIMEDOUT;
}

/* Under the guard, which it releases. */
static int wait_for(struct rt_sem *s, int64_t n, int64_t deadline)
{
	struct waiter w;

	if (deadline_passed(deadline)) {
		lock_put(lock_of(&s->guard));
		return -ETIMEDOUT;
	}
	waiter_init(&w, this_co(), deadline);
	w.n = n;
	waiters_append(&s->waiters, &w);
	if (waiter_park(&w, WAIT_SEM, lock_of(&s->guard), deadline) < 0)
		return timed_out(s, &w);
	return 0;
}

int rt_sem_acquire_dl(struct rt_sem *s, int64_t n, int64_t deadline)
{
	int r = 0;

	if (n < 0)
		rt_fatal("semaphore %p: acquire of %" PRId64, (void *)s, n);
	lock_get(lock_of(&s->guard));
	if (!waiters_first(&s->waiters) && n <= s->count) {
		s->count -= n;
		lock_put(lock_of(&s->guard));
	} else {
		r = wait_for(s, n, deadline);
	}
	poll_here();
	return r;
}

void rt_sem_acquire(struct rt_sem *s, int64_t n)
{
	rt_sem_acquire_dl(s, n, RT_FOREVER);
}

void rt_sem_release(struct rt_sem *s, int64_t n)
{
	struct wake_list wake = {0};

	if (n < 0)
		rt_fatal("semaphore %p: release of %" PRId64, (void *)s, n);
	lock_get(lock_of(&s->guard));
	if (__builtin_add_overflow(s->count, n, &s->count))
		rt_fatal("semaphore %p: %" PRId64 " units more are too many", (void *)s, n);
	serve(s, &wake);
	lock_put(lock_of(&s->guard));
	wake_all(&wake);
	poll_here();
}
