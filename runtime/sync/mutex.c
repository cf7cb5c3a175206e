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
 *         STARVING newcomers must not take it; set and cleared under the guard only
 *
 * Memory: whoever sets LOCKED acquires, pairing with the release of who cleared it in
 * mutex_unlock(); a handed-over mutex is passed on through the guard and co_ready().
 *
 * tests/runtime/model/mutex.c explores this protocol, with deadlines, in every interleaving.
 * Source: Go's sync.Mutex
 */
#include "mutex.h"

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

/* Under the guard, the mutex is free. The first waiter, which gets it (starving) or may try. */
static struct waiter *next_owner(struct rt_mutex *m, bool starving)
{
	struct waiter *w = waiters_take(&m->waiters);
	bool more = waiters_first(&m->waiters);

	if (!w) {
		clear_bits(m, WAITERS | STARVING);
		return NULL;
	}
	w->handed = starving;
	/* relaxed: see clear_bits(); LOCKED goes to w, which meets all this through co_ready() */
	atomic_fetch_or_explicit(&m->state, starving ? LOCKED : WOKEN, memory_order_relaxed);
	if (starving && (!more || now_ns() - w->n < STARVING_AFTER))
		clear_bits(m, STARVING);
	if (!more)
		clear_bits(m, WAITERS);
	return w;
}

static __attribute__((noinline)) void unlock_slow(struct rt_mutex *m)
{
	struct waiter *w = NULL;
	uint32_t s;

	lock_get(lock_of(&m->guard));
	s = atomic_load_explicit(&m->state, memory_order_relaxed);
	/* Somebody has barged in and will unlock in turn, or is awake and will look. */
	if (!(s & LOCKED) && (s & (STARVING | WOKEN)) != WOKEN)
		w = next_owner(m, s & STARVING);
	lock_put(lock_of(&m->guard));
	if (w)
		co_ready(w->co);
}

int mutex_lock(struct rt_mutex *m, int64_t deadline)
{
	return lock_free_one(m) ? 0 : lock_slow(m, deadline);
}

void mutex_unlock(struct rt_mutex *m)
{
	/* release: pairs with the acquire in cas() and lock_free_one() */
	uint32_t s = atomic_fetch_sub_explicit(&m->state, LOCKED, memory_order_release);

	if (__builtin_expect(s == LOCKED, 1))
		return;
	if (!(s & LOCKED))
		rt_fatal("unlock of mutex %p, which is not locked", (void *)m);
	if ((s & (STARVING | WOKEN)) != WOKEN)
		unlock_slow(m);
}

bool mutex_is_locked(const struct rt_mutex *m)
{
	return atomic_load_explicit(&m->state, memory_order_relaxed) & LOCKED;
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
