/*
 * A coroutine's life: from a free slot to its end and, where somebody holds its handle, until that
 * is given up.
 *
 * The end and the handle meet in co->joiner under co->end_lock: it holds NULL, the coroutine that
 * waits, or a mark. Whoever comes second frees the slot. A joiner shows itself, and is parked, under
 * the lock: its deadline may wake it on another thread before the park is complete, and it must not
 * withdraw before it has been shown.
 */
#include "../mem/barrier.h"
#include "../mem/roots.h"
#include "../obs/obs.h"
#include "switch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENDED ((struct rt_co *)1)    /* before anybody waited */
#define DETACHED ((struct rt_co *)2) /* nobody will */

static struct {
	_Atomic uint32_t n;
	void (*_Atomic destructor[KEYS_MAX])(void *value);
} keys;

/* Starting ------------------------------------------------------------------------------------ */

static uint64_t next_id(struct p *p)
{
	if (p->id_next == p->id_end) {
		p->id_next = atomic_fetch_add_explicit(&sched.next_id, ID_BATCH, memory_order_relaxed);
		p->id_end = p->id_next + ID_BATCH;
	}
	return ++p->id_next;
}

int64_t co_count(void)
{
	int64_t n = 0;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		n += (int64_t)(count_read(&sched.ps[i]->started) - count_read(&sched.ps[i]->ended));
	return n;
}

struct rt_co *co_new(struct p *p, const struct rt_attr *attr, uintptr_t created_at)
{
	struct rt_co *co = stack_get(p, attr ? attr->stack_bytes : 0);
	struct rt_co *self = this_co();

	if (!co)
		return NULL;
	context_prepare(&co->saved, co, co_entry);
	co->id = next_id(p);
	co->parent_id = self ? self->id : 0;
	co->created_at = created_at;
	co->name = attr ? attr->name : NULL;
	co->reason = WAIT_NONE;
	co->rt_errno_value = 0;
	co->off = 0;
	co->joined = co->ending = co->off_pending = co->wait_armed = false;
	co->joiner = NULL;
	co->result = NULL;
	co->searched = roots_searched_mark(); /* nothing is on its stack but what its maker knows */
	co->scopes = NULL;
	if (__builtin_expect(--p->latency.new_in <= 0, 0))
		latency_new(p, co);
	annotate_start(co);
	count_up(&p->started);
	co_set(co, CO_IDLE, CO_RUNNABLE);
	return co;
}

static struct rt_co *start(void (*plain)(void *), void *(*joined)(void *), void *arg,
			   const struct rt_attr *attr, uintptr_t created_at)
{
	struct p *p = this_m()->p;
	struct rt_co *co = co_new(p, attr, created_at);

	if (!co)
		return NULL;
	co->arg = arg;
	if (joined) {
		co->joined = true;
		co->fn.joined = joined;
	} else {
		co->fn.plain = plain;
	}
	obs_trace(TRACE_CREATE, co->id, (uintptr_t)co->fn.plain);
	if (co->name)
		obs_trace(TRACE_NAME, co->id, (uintptr_t)co->name);
	runq_put(p, co, true);
	schedule_wake_one();
	return co;
}

int rt_go(void (*fn)(void *arg), void *arg)
{
	struct rt_co *co = start(fn, NULL, arg, NULL, (uintptr_t)__builtin_return_address(0));

	poll_here();
	return co ? 0 : -ENOMEM;
}

int rt_go_attr(void (*fn)(void *arg), void *arg, const struct rt_attr *attr)
{
	struct rt_co *co = start(fn, NULL, arg, attr, (uintptr_t)__builtin_return_address(0));

	poll_here();
	return co ? 0 : -ENOMEM;
}

struct rt_co *rt_spawn(void *(*fn)(void *arg), void *arg, const struct rt_attr *attr)
{
	struct rt_co *co = start(NULL, fn, arg, attr, (uintptr_t)__builtin_return_address(0));

	poll_here();
	return co;
}

/* Ending -------------------------------------------------------------------------------------- */

static void give_back(struct m *m, struct rt_co *co, enum co_state from)
{
	/* The stack has been left for good, and so has its ticket: late timers find another value. */
	atomic_store_explicit(&co->ticket, wait_ticket(co) + 1, memory_order_release);
	co_set(co, from, CO_IDLE);
	stack_put(m->p, co);
}

/* On the next context's stack. */
static void after_exit(struct m *m, struct rt_co *co)
{
	struct rt_co *waits;

	annotate_end(co);
	count_up(&m->p->ended);
	if (!co->joined) {
		give_back(m, co, CO_RUNNING);
		return;
	}
	co_set(co, CO_RUNNING, CO_DEAD);
	lock_get(&co->end_lock);
	waits = co->joiner;
	co->joiner = ENDED;
	if (waits && waits != DETACHED && !wait_claim(waits, co->joiner_ticket))
		waits = NULL; /* its deadline was faster, and it finds the mark */
	lock_put(&co->end_lock);
	if (waits == DETACHED)
		give_back(m, co, CO_DEAD);
	else if (waits)
		co_ready(waits);
}

static void run_destructors(struct rt_co *self)
{
	for (int k = KEYS_MAX - 1; self->locals && k >= 0; k--) {
		void (*fn)(void *) = atomic_load_explicit(&keys.destructor[k], memory_order_acquire);
		void *value = self->locals[k];

		self->locals[k] = NULL;
		if (value && fn)
			fn(value);
	}
	free(self->locals);
	self->locals = NULL;
}

_Noreturn void rt_exit(void *result)
{
	struct rt_co *self = this_co();

	self->result = result;
	if (self->locals)
		run_destructors(self);
	if (self->off)
		rt_fatal("a coroutine ends between rt_preempt_off and rt_preempt_on");
	self->ending = true;
	obs_trace(TRACE_EXIT, self->id, 0);
	schedule_leave(this_m(), after_exit);
	__builtin_unreachable();
}

_Noreturn void co_entry(void)
{
	struct rt_co *self;
	void *arg, *result = NULL;

	annotate_arrive(NULL, true);
	switch_finish();
	self = this_co();
	arg = self->arg;
	self->arg = NULL; /* the collector need not keep it longer than the coroutine does */
	if (self->joined)
		result = self->fn.joined(arg);
	else
		self->fn.plain(arg);
	rt_exit(result);
}

/* Handles ------------------------------------------------------------------------------------- */

/* Under end_lock, which it holds again afterwards. */
static void wait_for_end(struct rt_co *co, int64_t deadline)
{
	struct rt_co *self = this_co();

	if (co->joiner)
		rt_fatal("coroutine %llu is joined twice", (unsigned long long)co->id);
	self->waits_on = co;
	co->joiner = self;
	co->joiner_ticket = wait_ticket(self);
	wait_arm(self, co->joiner_ticket, deadline);
	co_park_unlock(WAIT_JOIN, &co->end_lock);
	wait_disarm(self, deadline);
	lock_get(&co->end_lock);
	if (co->joiner == self)
		co->joiner = NULL;
}

int rt_join_dl(struct rt_co *co, int64_t deadline, void **ret)
{
	bool ended;

	lock_get(&co->end_lock);
	if (co->joiner != ENDED && deadline > 0)
		wait_for_end(co, deadline);
	ended = co->joiner == ENDED; /* the end and the deadline may have come together: the end wins */
	lock_put(&co->end_lock);
	if (ended && gc_is_marking())
		barrier_shade_words(&co->result, sizeof co->result);
	if (ended && ret)
		*ret = co->result;
	if (ended)
		give_back(this_m(), co, CO_DEAD);
	poll_here();
	return ended ? 0 : -ETIMEDOUT;
}

void rt_join(struct rt_co *co, void **ret)
{
	rt_join_dl(co, RT_FOREVER, ret);
}

void rt_detach(struct rt_co *co)
{
	struct rt_co *was;

	lock_get(&co->end_lock);
	was = co->joiner;
	co->joiner = DETACHED;
	lock_put(&co->end_lock);
	if (was == ENDED)
		give_back(this_m(), co, CO_DEAD);
	else if (was)
		rt_fatal("coroutine %llu is detached while somebody joins it, or twice",
			 (unsigned long long)co->id);
	poll_here();
}

/* Of the calling coroutine -------------------------------------------------------------------- */

struct rt_co *rt_self(void)
{
	return this_co();
}

uint64_t rt_id(const struct rt_co *co)
{
	return co->id;
}

void rt_set_name(const char *name)
{
	struct rt_co *self = this_co();

	self->name = name;
	obs_trace(TRACE_NAME, self->id, (uintptr_t)name);
}

int *rt_errno_location(void)
{
	return &this_co()->rt_errno_value;
}

int rt_key_new(void (*destructor)(void *value))
{
	uint32_t k = atomic_fetch_add(&keys.n, 1);

	if (k >= KEYS_MAX) {
		atomic_fetch_sub(&keys.n, 1);
		return -ENOSPC;
	}
	/* release: pairs with the acquire in run_destructors() */
	atomic_store_explicit(&keys.destructor[k], destructor, memory_order_release);
	return (int)k;
}

void *rt_local_get(int key)
{
	struct rt_co *self = this_co();

	return self->locals ? self->locals[key] : NULL;
}

void rt_local_set(int key, void *value)
{
	struct rt_co *self = this_co();

	if (key < 0 || key >= KEYS_MAX)
		rt_fatal("%d is not a key of rt_key_new", key);
	if (!self->locals)
		self->locals = calloc(KEYS_MAX, sizeof *self->locals);
	if (!self->locals)
		rt_fatal("out of memory for coroutine-local values");
	self->locals[key] = value;
}
