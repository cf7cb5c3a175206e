/* A wait group: a count, and who waits for it to become zero. */
#include "waiters.h"

#include <errno.h>

static void release_all(struct rt_group *g, struct wake_list *wake)
{
	struct waiter *w;

	while ((w = waiters_take(&g->waiters)))
		wake_add(wake, w->co);
}

void rt_group_add(struct rt_group *g, int n)
{
	struct wake_list wake = {0};
	int32_t was;

	lock_get(lock_of(&g->guard));
	was = g->count;
	if (__builtin_add_overflow(was, n, &g->count))
		rt_fatal("wait group %p: %d and %d more are too many", (void *)g, was, n);
	if (g->count < 0)
		rt_fatal("wait group %p: the count would be negative (%d)", (void *)g, g->count);
	if (g->count == 0)
		release_all(g, &wake);
	lock_put(lock_of(&g->guard));
	wake_all(&wake);
	poll_here();
}

void rt_group_done(struct rt_group *g)
{
	rt_group_add(g, -1);
}

/* Under the guard, which it releases. */
static int wait_for_zero(struct rt_group *g, int64_t deadline)
{
	struct waiter w;

	if (deadline_passed(deadline)) {
		lock_put(lock_of(&g->guard));
		return -ETIMEDOUT;
	}
	waiter_init(&w, this_co(), deadline);
	waiters_append(&g->waiters, &w);
	if (waiter_park(&w, WAIT_GROUP, lock_of(&g->guard), deadline) == 0)
		return 0;
	lock_get(lock_of(&g->guard));
	waiters_give_up(&g->waiters, &w);
	lock_put(lock_of(&g->guard));
	return -ETIMEDOUT;
}

int rt_group_wait_dl(struct rt_group *g, int64_t deadline)
{
	int r = 0;

	lock_get(lock_of(&g->guard));
	if (g->count == 0)
		lock_put(lock_of(&g->guard));
	else
		r = wait_for_zero(g, deadline);
	poll_here();
	return r;
}

void rt_group_wait(struct rt_group *g)
{
	rt_group_wait_dl(g, RT_FOREVER);
}
