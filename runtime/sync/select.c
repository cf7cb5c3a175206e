/*
 * select - does exactly one of several channel operations
 *
 * All channels are locked, in the order of their addresses, so that "nothing is ready" holds for
 * all at one moment; then a waiter stands on each, all with the one ticket of this wait, and the
 * partner (or the deadline) that claims it decides. The losers' waiters are taken off one channel
 * after the other when the coroutine is back: nobody else can end the wait by then.
 *
 * The choice among those ready is a random bit of a mask: a random place to start at, going round,
 * would favour a ready case that follows a row of others. Waiters live in the caller's frame, in
 * one of two sizes, because 64 of them would make every parked select touch another page of stack.
 *
 * Source: Go's runtime/select.go
 */
#include "chan.h"

#include <errno.h>

enum { CASES_MAX = 64, CASES_SMALL = 8 };

struct selection {
	struct rt_case *cases;
	uint8_t order[CASES_MAX]; /* cases with a channel, by its address */
	unsigned n; /* of order */
	int64_t deadline;
};

static inline struct rt_chan *nth_chan(const struct selection *s, unsigned i)
{
	return s->cases[s->order[i]].chan;
}

static inline struct rt_waiters *list_of(const struct rt_case *k)
{
	return k->dir == RT_SEND ? &k->chan->senders : &k->chan->receivers;
}

/* By insertion: most selects have two to four cases. */
static void sort_cases(struct selection *s, struct rt_case *cases, size_t n)
{
	s->cases = cases;
	s->n = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned at = s->n;

		if (!cases[i].chan)
			continue;
		for (; at > 0 && nth_chan(s, at - 1) > cases[i].chan; at--)
			s->order[at] = s->order[at - 1];
		s->order[at] = (uint8_t)i;
		s->n++;
	}
}

static void lock_all(const struct selection *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (i == 0 || nth_chan(s, i) != nth_chan(s, i - 1))
			lock_get(&nth_chan(s, i)->lock);
}

void select_each_chan(const void *waits_on, void (*fn)(struct rt_chan *c, void *arg), void *arg)
{
	const struct selection *s = waits_on;

	for (unsigned i = 0; i < s->n; i++)
		fn(nth_chan(s, i), arg);
}

/* Nothing of s is read after the last unlock: its coroutine may have returned by then. */
static void unlock_all(const struct selection *s)
{
	for (unsigned i = s->n; i-- > 0;)
		if (i == 0 || nth_chan(s, i) != nth_chan(s, i - 1))
			lock_put(&nth_chan(s, i)->lock);
}

/* [0, n), from the thread's own generator (xorshift, Marsaglia 2003). Under a lock: one thread. */
static unsigned random_below(unsigned n)
{
	struct m *m = this_m();
	uint32_t x = m->random ? m->random : 0x9e3779b9;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	m->random = x;
	return (unsigned)((uint64_t)x * n >> 32);
}

static unsigned nth_bit(uint64_t mask, unsigned n)
{
	while (n--)
		mask &= mask - 1;
	return (unsigned)__builtin_ctzll(mask);
}

static bool may_be_ready(const struct rt_case *k)
{
	const struct rt_chan *c = k->chan;
	size_t n = atomic_load_explicit(&c->n, memory_order_relaxed);

	if (c->closed)
		return true;
	return k->dir == RT_SEND ? n < c->cap || c->receivers.first : n > 0 || c->senders.first;
}

static bool try_case(struct rt_case *k, struct rt_co **ret_wake)
{
	if (k->dir == RT_RECV)
		return chan_try_recv(k->chan, k->elem, &k->closed, ret_wake);
	k->closed = false;
	return chan_try_send(k->chan, k->elem, ret_wake);
}

/* Under all locks: the case that was done; -1: none is ready. */
static int try_any(const struct selection *s, struct rt_co **ret_wake)
{
	uint64_t ready = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (may_be_ready(&s->cases[s->order[i]]))
			ready |= UINT64_C(1) << s->order[i];
	/* A waiter that was seen may have been claimed by its deadline: the case is not ready. */
	while (ready) {
		unsigned n = (unsigned)__builtin_popcountll(ready);
		unsigned i = nth_bit(ready, n > 1 ? random_below(n) : 0);

		if (try_case(&s->cases[i], ret_wake))
			return (int)i;
		ready &= ~(UINT64_C(1) << i);
	}
	return -1;
}

/* The coroutine may have been woken by its deadline already, or be woken after the first unlock; it
 * has to take every one of these locks before it returns, and so before *arg is gone. */
static bool park_unlock_all(struct rt_co *co, void *arg)
{
	unlock_all(arg);
	return true;
}

static void enqueue(const struct selection *s, struct rt_co *self, struct waiter *w)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct rt_case *k = &s->cases[s->order[i]];

		waiter_init(&w[i], self, RT_FOREVER);
		w[i].shared = true;
		w[i].elem = k->elem;
		waiters_append(list_of(k), &w[i]);
	}
}

/* The position of the case that a partner did, its losers off their lists; -1: none. */
static int dequeue(const struct selection *s, struct waiter *w)
{
	int done = -1;

	for (unsigned i = 0; i < s->n; i++) {
		struct rt_case *k = &s->cases[s->order[i]];

		if (w[i].ended) {
			done = (int)i;
			continue;
		}
		lock_get(&k->chan->lock);
		waiters_give_up(list_of(k), &w[i]);
		lock_put(&k->chan->lock);
	}
	return done;
}

/* Under all locks, which it releases. */
static int wait_any(struct selection *s, struct waiter *w)
{
	struct rt_co *self = this_co();
	struct rt_case *k;
	int at;

	self->waits_on = s;
	enqueue(s, self, w);
	wait_arm(self, wait_ticket(self), s->deadline);
	if (s->n)
		co_park(WAIT_SELECT, park_unlock_all, s);
	else
		co_park(WAIT_FOREVER, NULL, NULL);
	wait_disarm(self, s->deadline);
	at = dequeue(s, w);
	if (at < 0)
		return -ETIMEDOUT;
	k = &s->cases[s->order[at]];
	if (w[at].closed && k->dir == RT_SEND)
		chan_sent_on_closed(k->chan);
	k->closed = w[at].closed;
	return s->order[at];
}

static __attribute__((noinline)) int wait_any_of_few(struct selection *s)
{
	struct waiter w[CASES_SMALL];

	return wait_any(s, w);
}

static __attribute__((noinline)) int wait_any_of_many(struct selection *s)
{
	struct waiter w[CASES_MAX];

	return wait_any(s, w);
}

static int select_until(struct rt_case *cases, size_t n, int64_t deadline)
{
	struct selection s = {.deadline = deadline};
	struct rt_co *wake = NULL;
	int done;

	sort_cases(&s, cases, n);
	lock_all(&s);
	done = try_any(&s, &wake);
	if (done >= 0 || deadline_passed(deadline)) {
		unlock_all(&s);
		if (wake)
			co_ready(wake);
		return done >= 0 ? done : -ETIMEDOUT;
	}
	return s.n <= CASES_SMALL ? wait_any_of_few(&s) : wait_any_of_many(&s);
}

int rt_select(struct rt_case *cases, size_t n, int64_t deadline)
{
	int r;

	if (n > CASES_MAX)
		rt_fatal("select of %zu cases: at most %d", n, CASES_MAX);
	r = select_until(cases, n, deadline);
	poll_here();
	return r;
}
