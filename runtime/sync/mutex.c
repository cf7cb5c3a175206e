/*
 * A mutex that lets newcomers barge in front of the woken while that goes well: the lock is handed
 * to who runs already, instead of idling until a woken coroutine has been switched to. A waiter
 * that has waited for a millisecond without getting it turns that off: the mutex is starving,
 * newcomers queue up, and unlocking hands the mutex over to the first waiter. It recovers when the
 * one handed to was the last or had waited for less.
 *
 * state:  LOCKED   held
 *         WAITERS  the list is not empty; changes under the guard only
 *         WOKEN    a waiter was woken and has not decided yet: unlocking needs to wake no other
 *         STARVING newcomers must not take it, it is handed over; implies WAITERS; under the guard
 *
 * Memory: whoever sets LOCKED acquires, pairing with the release of who cleared it; a mutex that is
 * handed over stays LOCKED and is passed on through co_ready().
 *
 * tests/runtime/model/mutex.c explores this protocol, with deadlines, in every interleaving.
 * Source: Go's sync.Mutex
 */
#include "mutex.h"

#include "../obs/obs.h"

#include <errno.h>

enum { LOCKED = 1, WAITERS = 2, WOKEN = 4, STARVING = 8 };
#define STARVING_AFTER RT_MSEC

static inline bool cas(struct rt_mutex *m, uint32_t *from, uint32_t to)
{
	/* acquire: pairs with the release in mutex_unlock() */
	return atomic_compare_exchange_weak_explicit(&m->state, from, to, memory_order_acquire,
						     memory_order_relaxed);
}

static inline bool lock_free_one(struct rt_mutex *m)
{
	uint32_t s = 0;

	return atomic_compare_exchange_strong_explicit(&m->state, &s, LOCKED, memory_order_acquire,
						       memory_order_relaxed);
}

static bool barge(struct rt_mutex *m)
{
	uint32_t s = atomic_load_explicit(&m->state, memory_order_relaxed);

	while (!(s & (LOCKED | STARVING)))
		if (cas(m, &s, s | LOCKED))
			return true;
	return false;
}

/* Under the guard: takes it, or leaves the mark of who will wait for it; clear goes either way. */
static bool take_or_mark(struct rt_mutex *m, uint32_t clear, uint32_t mark)
{
	uint32_t s = atomic_load_explicit(&m->state, memory_order_relaxed);

	for (;;) {
		bool taken = !(s & (LOCKED | STARVING));

		if (cas(m, &s, (s & ~clear) | (taken ? LOCKED : mark)))
			return taken;
	}
}

static void clear_bits(struct rt_mutex *m, uint32_t bits)
{
	/* relaxed: these bits order nothing, the guard does */
	atomic_fetch_and_explicit(&m->state, ~bits, memory_order_relaxed);
}

static int timed_out(struct rt_mutex *m, struct waiter *w)
{
	lock_get(lock_of(&m->guard));
	if (waiters_give_up(&m->waiters, w) && !waiters_first(&m->waiters))
		clear_bits(m, WAITERS | STARVING);
	lock_put(lock_of(&m->guard));
	return -ETIMEDOUT;
}

/* What a waiter writes into the state: that it waits, and that it has waited too long. */
static uint32_t mark_of(struct waiter *w)
{
	int64_t now = now_ns();

	if (!w->n) {
		w->n = now;
		return WAITERS;
	}
	return now - w->n > STARVING_AFTER ? WAITERS | STARVING : WAITERS;
}

static __attribute__((noinline)) int lock_slow(struct rt_mutex *m, int64_t deadline)
{
	struct lock *guard = lock_of(&m->guard);
	struct rt_co *self = this_co();
	struct waiter w = {0};
	uint32_t woken = 0;

	if (barge(m))
		return 0;
	for (;;) {
		bool last_try = deadline_passed(deadline);
		uint32_t mark = last_try ? 0 : mark_of(&w);
		bool taken;

		lock_get(guard);
		taken = take_or_mark(m, woken, mark);
		if (taken || last_try) {
			lock_put(guard);
			return taken ? 0 : -ETIMEDOUT;
		}
		waiter_init(&w, self, deadline);
		if (woken) /* it has its turn behind it: first again */
			waiters_prepend(&m->waiters, &w);
		else
			waiters_append(&m->waiters, &w);
		if (waiter_park(&w, WAIT_MUTEX, guard, deadline) < 0)
			return timed_out(m, &w);
		if (w.handed)
			return 0;
		woken = WOKEN;
	}
}

/* Under the guard, by the holder: the first waiter gets the mutex (starving) or may try to. NULL:
 * all have given up. */
static struct waiter *pass_on(struct rt_mutex *m, bool starving)
{
	struct waiter *w = waiters_take(&m->waiters);
	bool more = waiters_first(&m->waiters);
	uint32_t clear = more ? 0 : WAITERS | STARVING;
	uint32_t s = atomic_load_explicit(&m->state, memory_order_relaxed);

	if (!w) {
		clear_bits(m, clear);
		return NULL;
	}
	w->handed = starving;
	if (starving && now_ns() - w->n < STARVING_AFTER)
		clear |= STARVING;
	if (starving) { /* LOCKED stays, and is w's, which meets all this through co_ready() */
		clear_bits(m, clear);
		return w;
	}
	/* release: pairs with the acquire in cas() and lock_free_one() */
	while (!atomic_compare_exchange_weak_explicit(&m->state, &s,
						      (s & ~(clear | LOCKED)) | WOKEN,
						      memory_order_release, memory_order_relaxed))
		;
	return w;
}

static bool has_to_wake(uint32_t s)
{
	return s & WAITERS && (s & STARVING || !(s & WOKEN));
}

/*
 * The mutex may be gone as soon as it is free and nobody waits, so freeing it is the last thing
 * that is done to it; under the guard it is freed only for a waiter that cannot go on before it is
 * woken.
 */
static __attribute__((noinline)) void unlock_slow(struct rt_mutex *m)
{
	uint32_t s = atomic_load_explicit(&m->state, memory_order_relaxed);
	struct waiter *w = NULL;

	while (!w) {
		if (!(s & LOCKED))
			rt_fatal("unlock of mutex %p, which is not locked", (void *)m);
		if (!has_to_wake(s)) {
			/* release: pairs with the acquire in cas() and lock_free_one() */
			if (atomic_compare_exchange_weak_explicit(&m->state, &s, s & ~LOCKED,
								  memory_order_release,
								  memory_order_relaxed))
				return;
			continue;
		}
		lock_get(lock_of(&m->guard));
		s = atomic_load_explicit(&m->state, memory_order_relaxed);
		if (has_to_wake(s))
			w = pass_on(m, s & STARVING);
		if (!w)
			s = atomic_load_explicit(&m->state, memory_order_relaxed);
		lock_put(lock_of(&m->guard));
	}
	obs_unlocks_for(w->n);
	co_ready(w->co);
}

int mutex_lock(struct rt_mutex *m, int64_t deadline)
{
	return lock_free_one(m) ? 0 : lock_slow(m, deadline);
}

void mutex_unlock(struct rt_mutex *m)
{
	uint32_t s = LOCKED;

	/* release: pairs with the acquire in cas() and lock_free_one() */
	if (!atomic_compare_exchange_strong_explicit(&m->state, &s, 0, memory_order_release,
						     memory_order_relaxed))
		unlock_slow(m);
}

bool mutex_is_locked(const struct rt_mutex *m)
{
	return atomic_load_explicit(&m->state, memory_order_relaxed) & LOCKED;
}

bool mutex_is_awaited(const struct rt_mutex *m)
{
	return atomic_load_explicit(&m->state, memory_order_relaxed) & WAITERS;
}

void rt_lock(struct rt_mutex *m)
{
	mutex_lock(m, RT_FOREVER);
	poll_here();
}

int rt_lock_dl(struct rt_mutex *m, int64_t deadline)
{
	int r = mutex_lock(m, deadline);

	poll_here();
	return r;
}

bool rt_trylock(struct rt_mutex *m)
{
	bool taken = barge(m);

	poll_here();
	return taken;
}

void rt_unlock(struct rt_mutex *m)
{
	mutex_unlock(m);
	poll_here();
}
