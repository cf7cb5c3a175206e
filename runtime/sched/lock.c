#include "sched.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 40 };

void futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t ns)
{
	struct timespec t = {.tv_sec = ns / RT_SEC, .tv_nsec = ns % RT_SEC};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ns < 0 ? NULL : &t, NULL, 0);
}

void futex_wake(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void lock_wait(struct lock *l)
{
	/* On one processor the holder cannot go on while this one spins. */
	for (int i = 0; i < SPINS && atomic_load_explicit(&sched.n_procs, memory_order_relaxed) > 1; i++) {
		uint32_t free = 0;

		if (atomic_compare_exchange_weak_explicit(&l->word, &free, 1, memory_order_acquire,
							  memory_order_relaxed))
			return;
		__builtin_ia32_pause();
	}
	/* acquire: pairs with the release in lock_put() */
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire) != 0)
		futex_wait(&l->word, 2, -1);
}
