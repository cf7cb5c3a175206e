#include "mutex.h"

static void run_once(struct rt_once *o, void (*fn)(void *arg), void *arg)
{
	mutex_lock(&o->lock, RT_FOREVER);
	if (!atomic_load_explicit(&o->done, memory_order_relaxed)) {
		fn(arg);
		/* release: pairs with the acquire in rt_once() */
		atomic_store_explicit(&o->done, 1, memory_order_release);
	}
	mutex_unlock(&o->lock);
}

void rt_once(struct rt_once *o, void (*fn)(void *arg), void *arg)
{
	/* acquire: what fn wrote is seen by who finds it done */
	if (!atomic_load_explicit(&o->done, memory_order_acquire))
		run_once(o, fn, arg);
	poll_here();
}
