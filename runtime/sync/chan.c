/*
 * A channel is a ring under one lock, with two lists of waiters. Who finds a partner waiting hands
 * the element over directly, from stack to stack, so an element is copied once and a woken
 * coroutine has nothing left to do: it neither takes the lock nor looks at the channel again (which
 * may be gone by then). A lock-free ring was weighed: it would spare the buffered case the lock,
 * and make select, close and the deadline's race each a protocol of its own.
 *
 * Source: Go's runtime/chan.go
 */
#include "chan.h"

#include "../mem/barrier.h"
#include "../mem/escape.h"
#include "../mem/roots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CLOSE_BATCH = 256 };

static inline void copy(void *to, const void *from, size_t n)
{
	if (n == sizeof(uint64_t))
		memcpy(to, from, sizeof(uint64_t));
	else if (n)
		memcpy(to, from, n);
}

static inline size_t count(const struct rt_chan *c)
{
	return atomic_load_explicit(&c->n, memory_order_relaxed);
}

static inline void set_count(struct rt_chan *c, size_t n)
{
	/* relaxed: rt_chan_len() promises a moment's truth, the lock orders all else */
	atomic_store_explicit(&c->n, n, memory_order_relaxed);
}

static inline char *slot(struct rt_chan *c, size_t i)
{
	return c->buffer + (i < c->cap ? i : i - c->cap) * c->elem_bytes;
}

_Noreturn void chan_sent_on_closed(struct rt_chan *c)
{
	rt_fatal("send on closed channel %p", (void *)c);
}

static inline bool try_send(struct rt_chan *c, const void *elem, struct rt_co **ret_wake)
{
	struct waiter *w;
	size_t n;

	*ret_wake = NULL;
	if (__builtin_expect(c->closed, 0))
		chan_sent_on_closed(c);
	if (escape_is_on())
		sample_stored_words(elem, c->elem_bytes);
	w = waiters_take(&c->receivers);
	if (w) {
		if (w->elem)
			copy(w->elem, elem, c->elem_bytes);
		*ret_wake = w->co;
		return true;
	}
	n = count(c);
	if (n == c->cap)
		return false;
	copy(slot(c, c->head + n), elem, c->elem_bytes);
	set_count(c, n + 1);
	return true;
}

/* The oldest of the buffer; the room it leaves goes to the sender that waits longest. */
static inline void recv_buffered(struct rt_chan *c, void *ret, struct rt_co **ret_wake)
{
	struct waiter *w = waiters_take(&c->senders);
	size_t n = count(c);
	char *oldest = slot(c, c->head);

	if (gc_is_marking()) /* the buffer may not have been searched yet */
		barrier_shade_words(oldest, c->elem_bytes);
	if (ret)
		copy(ret, oldest, c->elem_bytes);
	c->head = c->head + 1 == c->cap ? 0 : c->head + 1;
	if (w) { /* the ring was full: its new last slot is the one just emptied */
		copy(oldest, w->elem, c->elem_bytes);
		*ret_wake = w->co;
	} else {
		set_count(c, n - 1);
	}
}

static inline bool try_recv(struct rt_chan *c, void *ret, bool *ret_closed, struct rt_co **ret_wake)
{
	struct waiter *w;

	*ret_wake = NULL;
	*ret_closed = false;
	if (count(c)) {
		recv_buffered(c, ret, ret_wake);
		return true;
	}
	if (c->closed) {
		if (ret && c->elem_bytes)
			memset(ret, 0, c->elem_bytes);
		*ret_closed = true;
		return true;
	}
	w = waiters_take(&c->senders);
	if (!w)
		return false;
	if (ret)
		copy(ret, w->elem, c->elem_bytes);
	*ret_wake = w->co;
	return true;
}

bool chan_try_send(struct rt_chan *c, const void *elem, struct rt_co **ret_wake)
{
	return try_send(c, elem, ret_wake);
}

bool chan_try_recv(struct rt_chan *c, void *ret, bool *ret_closed, struct rt_co **ret_wake)
{
	return try_recv(c, ret, ret_closed, ret_wake);
}

void chan_init(struct rt_chan *c, size_t elem_bytes, size_t cap, void *buffer)
{
	*c = (struct rt_chan){.elem_bytes = elem_bytes, .cap = cap, .buffer = buffer};
}

/* Buffers are the collector's roots ------------------------------------------------------------- */

static struct {
	struct lock lock; /* before a channel's */
	struct rt_chan *first;
} all;

static void list(struct rt_chan *c)
{
	c->listed = true;
	lock_get(&all.lock);
	c->all_next = all.first;
	if (all.first)
		all.first->all_prev = c;
	all.first = c;
	lock_put(&all.lock);
}

static void unlist(struct rt_chan *c)
{
	lock_get(&all.lock);
	if (c->all_prev)
		c->all_prev->all_next = c->all_next;
	else
		all.first = c->all_next;
	if (c->all_next)
		c->all_next->all_prev = c->all_prev;
	lock_put(&all.lock);
}

void chan_search(struct rt_chan *c, struct marker *k)
{
	lock_get(&c->lock);
	for (size_t i = 0; i < count(c); i++) {
		uintptr_t elem = (uintptr_t)slot(c, c->head + i);

		mark_range(k, elem, elem + c->elem_bytes);
	}
	lock_put(&c->lock);
}

void chan_search_all(struct marker *k)
{
	lock_get(&all.lock);
	for (struct rt_chan *c = all.first; c; c = c->all_next)
		chan_search(c, k);
	lock_put(&all.lock);
}

void chan_each_listed(void (*fn)(struct rt_chan *c, void *arg), void *arg)
{
	for (struct rt_chan *c = all.first; c; c = c->all_next)
		fn(c, arg);
}

struct rt_chan *rt_chan_new(size_t elem_bytes, size_t cap)
{
	struct rt_chan *c;
	size_t bytes;

	if (__builtin_mul_overflow(elem_bytes, cap, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof(*c), &bytes))
		rt_fatal("channel of %zu elements of %zu bytes: more than there is memory", cap,
			 elem_bytes);
	c = malloc(bytes);
	if (!c)
		rt_fatal("channel of %zu elements of %zu bytes: out of memory", cap, elem_bytes);
	chan_init(c, elem_bytes, cap, c + 1);
	c->own = true;
	if (cap && elem_bytes >= sizeof(void *))
		list(c);
	return c;
}

void rt_chan_free(struct rt_chan *c)
{
	if (!c)
		return;
	if (c->receivers.first || c->senders.first)
		rt_fatal("channel %p is freed while coroutines wait on it", (void *)c);
	if (c->listed)
		unlist(c);
	free(c);
}

size_t rt_chan_len(const struct rt_chan *c)
{
	return count(c);
}

/* Under the lock, which it releases. Errors: -ETIMEDOUT */
static __attribute__((noinline)) int send_wait(struct rt_chan *c, const void *elem,
					       int64_t deadline)
{
	struct waiter w;

	waiter_init(&w, this_co(), deadline);
	w.elem = (void *)elem;
	waiters_append(&c->senders, &w);
	if (waiter_park(&w, WAIT_CHAN_SEND, &c->lock, deadline) < 0) {
		lock_get(&c->lock);
		waiters_give_up(&c->senders, &w);
		lock_put(&c->lock);
		return -ETIMEDOUT;
	}
	if (w.closed)
		chan_sent_on_closed(c);
	return 0;
}

/* Under the lock, which it releases. Errors: -EPIPE, -ETIMEDOUT */
static __attribute__((noinline)) int recv_wait(struct rt_chan *c, void *ret, int64_t deadline)
{
	struct waiter w;

	waiter_init(&w, this_co(), deadline);
	w.elem = ret;
	waiters_append(&c->receivers, &w);
	if (waiter_park(&w, WAIT_CHAN_RECV, &c->lock, deadline) < 0) {
		lock_get(&c->lock);
		waiters_give_up(&c->receivers, &w);
		lock_put(&c->lock);
		return -ETIMEDOUT;
	}
	return w.closed ? -EPIPE : 0;
}

static inline void unlock_and_wake(struct rt_chan *c, struct rt_co *wake)
{
	lock_put(&c->lock);
	if (wake)
		co_ready(wake);
}

static inline int send_until(struct rt_chan *c, const void *elem, int64_t deadline)
{
	struct rt_co *wake;

	lock_get(&c->lock);
	if (try_send(c, elem, &wake)) {
		unlock_and_wake(c, wake);
		return 0;
	}
	if (deadline_passed(deadline)) {
		lock_put(&c->lock);
		return -ETIMEDOUT;
	}
	return send_wait(c, elem, deadline);
}

static inline int recv_until(struct rt_chan *c, void *ret, int64_t deadline)
{
	struct rt_co *wake;
	bool closed;

	lock_get(&c->lock);
	if (try_recv(c, ret, &closed, &wake)) {
		unlock_and_wake(c, wake);
		return closed ? -EPIPE : 0;
	}
	if (deadline_passed(deadline)) {
		lock_put(&c->lock);
		return -ETIMEDOUT;
	}
	return recv_wait(c, ret, deadline);
}

void rt_send(struct rt_chan *c, const void *elem)
{
	send_until(c, elem, RT_FOREVER);
	poll_here();
}

bool rt_recv(struct rt_chan *c, void *ret)
{
	int r = recv_until(c, ret, RT_FOREVER);

	poll_here();
	return r == 0;
}

int rt_send_dl(struct rt_chan *c, const void *elem, int64_t deadline)
{
	int r = send_until(c, elem, deadline);

	poll_here();
	return r;
}

int rt_recv_dl(struct rt_chan *c, void *ret, int64_t deadline)
{
	int r = recv_until(c, ret, deadline);

	poll_here();
	return r;
}

bool chan_close(struct rt_chan *c, struct wake_list *wake, size_t max)
{
	struct waiter *w;

	c->closed = true;
	for (; max && (w = waiters_take(&c->receivers)); max--) {
		if (w->elem && c->elem_bytes)
			memset(w->elem, 0, c->elem_bytes);
		w->closed = true;
		wake_add(wake, w->co);
	}
	for (; max && (w = waiters_take(&c->senders)); max--) {
		w->closed = true; /* it ends the process when it runs: it knows where it stands */
		wake_add(wake, w->co);
	}
	return c->receivers.first || c->senders.first;
}

/* In batches, so that a million who wait hold up no stop of the world. */
void rt_close(struct rt_chan *c)
{
	bool more;

	lock_get(&c->lock);
	if (c->closed)
		rt_fatal("close of closed channel %p", (void *)c);
	do {
		struct wake_list wake = {0};

		more = chan_close(c, &wake, CLOSE_BATCH);
		lock_put(&c->lock);
		wake_all(&wake);
		poll_here();
		if (more)
			lock_get(&c->lock);
	} while (more);
}
