/*
 * A heap per P. What another thread takes part in is the lock of one heap; the P of a timer changes
 * under the locks of both heaps only (timers_move).
 */
#include "sched.h"

#include <sys/mman.h>

enum { FAN = 4, FIRST_ROOM = 512 };

static void put(struct timers *h, uint32_t i, struct timer *t)
{
	h->heap[i] = t;
	t->index = i;
}

static void sift_up(struct timers *h, uint32_t i)
{
	struct timer *t = h->heap[i];

	while (i > 0) {
		uint32_t up = (i - 1) / FAN;

		if (h->heap[up]->when <= t->when)
			break;
		put(h, i, h->heap[up]);
		i = up;
	}
	put(h, i, t);
}

static void sift_down(struct timers *h, uint32_t i)
{
	struct timer *t = h->heap[i];

	for (;;) {
		uint32_t least = i * FAN + 1, end = least + FAN;

		if (least >= h->n)
			break;
		for (uint32_t k = least + 1; k < end && k < h->n; k++)
			if (h->heap[k]->when < h->heap[least]->when)
				least = k;
		if (h->heap[least]->when >= t->when)
			break;
		put(h, i, h->heap[least]);
		i = least;
	}
	put(h, i, t);
}

static void publish_first(struct timers *h)
{
	/* seq_cst: pairs with timers_first() after an idle thread's last look at the queues */
	atomic_store(&h->first, h->n ? h->heap[0]->when : 0);
}

/* Not malloc: a thread that is stopped in its midst would hold up this one, which is not stopped. */
static void grow(struct timers *h)
{
	uint32_t room = h->room ? 2 * h->room : FIRST_ROOM;
	void *heap = h->room ? mremap(h->heap, h->room * sizeof *h->heap, room * sizeof *h->heap,
				      MREMAP_MAYMOVE)
			     : mmap(NULL, room * sizeof *h->heap, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (heap == MAP_FAILED)
		rt_fatal("out of memory for %u timers", room);
	h->heap = heap;
	h->room = room;
}

static void insert(struct p *p, struct timer *t)
{
	struct timers *h = &p->timers;

	if (h->n == h->room)
		grow(h);
	atomic_store_explicit(&t->p, p, memory_order_relaxed);
	put(h, h->n++, t);
	sift_up(h, t->index);
}

static void take_out(struct timers *h, struct timer *t)
{
	uint32_t i = t->index;
	struct timer *last = h->heap[--h->n];

	/* release: who finds NULL may reuse the timer */
	atomic_store_explicit(&t->p, NULL, memory_order_release);
	if (last == t)
		return;
	put(h, i, last);
	sift_up(h, i);
	sift_down(h, last->index);
}

void timer_start(struct timer *t)
{
	struct p *p = this_m()->p;
	int64_t when = t->when > 0 ? t->when : 1; /* 0 is "none" in timers.first */

	t->when = when;
	lock_get(&p->timers.lock);
	insert(p, t);
	publish_first(&p->timers);
	lock_put(&p->timers.lock); /* it may fire now, and be started again: t is not looked at */
	/* Should this P stay busy, sysmon sees to it that somebody calls the timer. */
	if (when < atomic_load_explicit(&sched.monitor_until, memory_order_relaxed))
		monitor_wake(when);
}

bool timer_stop(struct timer *t)
{
	for (;;) {
		struct p *p = atomic_load_explicit(&t->p, memory_order_acquire);
		bool pending;

		if (!p)
			return false;
		lock_get(&p->timers.lock);
		pending = atomic_load_explicit(&t->p, memory_order_relaxed) == p;
		if (pending) {
			take_out(&p->timers, t);
			publish_first(&p->timers);
		}
		lock_put(&p->timers.lock);
		if (pending)
			return true;
	}
}

int64_t timers_run(struct p *p, int64_t now, bool *ret_ran)
{
	struct timers *h = &p->timers;
	int64_t first = atomic_load(&h->first);

	if (!first || first > now)
		return first;
	lock_get(&h->lock);
	while (h->n && h->heap[0]->when <= now) {
		struct timer *t = h->heap[0];
		void (*fn)(void *arg, uint64_t seq) = t->fn;
		void *arg = t->arg;
		uint64_t seq = t->seq;

		take_out(h, t);
		publish_first(h);
		lock_put(&h->lock);
		fn(arg, seq);
		if (ret_ran)
			*ret_ran = true;
		lock_get(&h->lock);
	}
	first = h->n ? h->heap[0]->when : 0;
	lock_put(&h->lock);
	return first;
}

int64_t timers_first(void)
{
	int64_t least = 0;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		int64_t first = atomic_load(&sched.ps[i]->timers.first);

		if (first && (!least || first < least))
			least = first;
	}
	return least;
}

void timers_move(struct p *from, struct p *to)
{
	struct p *low = from->id < to->id ? from : to, *high = low == from ? to : from;

	lock_get(&low->timers.lock);
	lock_get(&high->timers.lock);
	while (from->timers.n) {
		struct timer *t = from->timers.heap[--from->timers.n];

		insert(to, t);
	}
	publish_first(&from->timers);
	publish_first(&to->timers);
	lock_put(&high->timers.lock);
	lock_put(&low->timers.lock);
}

void timers_clear(struct p *p)
{
	p->timers.n = 0;
	atomic_store(&p->timers.first, 0);
}
