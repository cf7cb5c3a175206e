/*
 * collect - a collector by hand, for tests of the allocator: the test says what is alive
 *
 * The real one is kept from working by rt_gc_set_percent(-1), at the beginning of each runtime.
 */
#pragma once

#include "../../runtime/mem/gc.h"
#include "../../runtime/sched/sched.h"

static inline void mark_begin(void *arg)
{
	(void)arg;
	while (sweep_some(1000))
		;
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		cache_begin_marking(sched.ps[i]->cache);
	pace_begin(&(struct gc_cycle){0}); /* who allocates meanwhile owes */
	atomic_store(&heap.marking, true);
}

/* any time between; objects only */
static inline void mark(const void *p)
{
	struct object o;

	if (!object_find((uintptr_t)p, &o) || !map_has(o.block->alloc, o.cell))
		rt_fatal("test: %p is no object", p);
	atomic_fetch_or(&o.block->mark[o.cell / 64], UINT64_C(1) << o.cell % 64);
}

static inline void mark_end(void *arg)
{
	(void)arg;
	atomic_store(&heap.marking, false);
	heap.sweep_gen += 2;
	sweep_begin();
}

struct alive {
	void *const *objects; /* NULL entries are none */
	size_t n;
};

static inline void collect_stopped(void *arg)
{
	const struct alive *a = arg;

	mark_begin(NULL);
	for (size_t i = 0; i < a->n; i++)
		if (a->objects[i])
			mark(a->objects[i]);
	mark_end(NULL);
}

/* A whole cycle but for the sweep: what is not among them is garbage. */
static inline void collect(void *const *objects, size_t n)
{
	struct alive a = {objects, n};

	rt_stop_world("test", collect_stopped, &a);
}

static inline void sweep_all(void)
{
	while (sweep_some(64))
		rt_yield();
}

static inline void flush(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		cache_begin_marking(sched.ps[i]->cache);
}
