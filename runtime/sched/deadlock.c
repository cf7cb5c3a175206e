/* All threads idle, no timer, no descriptor, no foreign thread that may post: nothing will happen. */
#include "sched.h"

void deadlock_check(void)
{
	if (sched.n_ms > sched.n_idle_ms || atomic_load(&sched.wanted_ms) || sched.attached)
		return;
	if (atomic_load(&sched.exiting) || atomic_load(&sched.stopping) || !atomic_load(&sched.running))
		return;
	if (timers_first() || netpoll_has_waiters() || sched.global.n)
		return;
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (!runq_is_empty(sched.ps[i]))
			return;
	dump_deadlock();
}
