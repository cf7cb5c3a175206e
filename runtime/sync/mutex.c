#include "../sched/sched.h"

void rt_lock(struct rt_mutex *m)
{
	uint32_t free = 0;

	while (!atomic_compare_exchange_strong(&m->state, &free, 1)) {
		free = 0;
		rt_yield();
	}
}

void rt_unlock(struct rt_mutex *m)
{
	atomic_store(&m->state, 0);
}
