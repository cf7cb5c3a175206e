/*
 * Stores to pointer fields. The check, the shading and the store are one step for stops and preemption,
 * which happen in the runtime's own text at polls only: a store that was begun before marking is
 * complete before it, and one that is begun after shades what it overwrites.
 *
 * RT_BARRIER (meson: -Drt_barrier=) chooses at build time, for comparison (bench rows memory.barrier_kinds);
 * new objects are black with each, and each has its own protocol (tests/runtime/model/mark.c):
 *   satb      (Yuasa) shades what is overwritten; stacks are searched once
 *   dijkstra  shades what is written; stacks are searched again in the last pause
 *   hybrid    shades both, as Go does; stacks are searched once
 */
#include "../sched/sched.h"
#include "barrier.h"
#include "escape.h"
#include "mark.h"
#include "pool.h"

#include <string.h>

static __attribute__((noinline)) void keep(uintptr_t p)
{
	struct m *m = this_m();
	struct marker k;

	if (m && m->p) {
		struct cache *c = m->p->cache;

		if (c->n_shaded == SHADED_MAX)
			mark_pass_on(c);
		c->shaded[c->n_shaded++] = p;
		return;
	}
	marker_begin(&k);
	mark_pointer(&k, p);
	marker_end(&k);
}

/* What a pointer field names, and is not marked yet. */
static inline bool is_white(void *p)
{
	struct object o;

	return object_find((uintptr_t)p, &o) && !map_has(o.block->mark, o.cell);
}

static inline void shade(void *p)
{
	if (is_white(p))
		keep((uintptr_t)p);
}

void barrier_shade(void *old)
{
	shade(old);
}

static void shade_word(uintptr_t word)
{
	struct object o;

	if (object_find(word, &o) && map_has(o.block->alloc, o.cell) && !map_has(o.block->mark, o.cell))
		keep(o.addr);
}

void barrier_shade_words(const void *p, size_t bytes)
{
	const uintptr_t *w = p;

	if ((uintptr_t)p % sizeof *w)
		return; /* pointers are aligned */
	for (size_t i = 0; i < bytes / sizeof *w; i++) {
		shade_word(w[i]);
		shade_word(w[i] - 1); /* one past the end of another */
	}
}

static inline void shade_for_store(void *old, void *value)
{
	if (RT_BARRIER != BARRIER_DIJKSTRA)
		shade(old);
	if (RT_BARRIER != BARRIER_SATB)
		shade(value);
}

/* A pointer in an object that names a stack would outlive what it names; of a scoped object's, that is
 * seen when its block is left. */
static inline void check_value(const char *what, const void *field, const void *value)
{
#ifdef RT_CHECKS
	struct rt_co *owner = stack_of((uintptr_t)value);
	struct object o;

	if (owner && object_find((uintptr_t)field, &o) && atomic_load(&rt_scoped_debug) &&
	    !scoped_holds(value))
		rt_fatal("%s: object %p (%s) is to name %p, on the stack of coroutine %llu (use rt_new)",
			 what, (void *)o.addr, o.block->type ? o.block->type->name : "pointers", value,
			 (unsigned long long)owner->id);
#else
	(void)what, (void)field, (void)value;
#endif
}

static __attribute__((noinline, cold)) void store_seen(void **field, void *value, uintptr_t pc)
{
	if (gc_is_marking())
		shade_for_store(*field, value);
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
	if (atomic_load_explicit(&rt_scoped_debug, memory_order_relaxed))
		scoped_stored(field, value, pc);
	if (escape_is_on())
		sample_stored(value);
}

void rt_store(void **field, void *value)
{
	uint8_t watch = atomic_load_explicit(&heap.watch, memory_order_relaxed); /* it changes in pauses */
	void *old;

	check_value("rt_store", field, value);
	if (__builtin_expect(!watch, 1)) {
		__atomic_store_n(field, value, __ATOMIC_RELAXED);
	} else if (watch & WATCH_DEBUG) {
		store_seen(field, value, (uintptr_t)__builtin_return_address(0));
	} else {
		old = *field;
		/* relaxed: a marker sees the old word or the new one; both are kept. Stored first, so that
		 * nothing has to outlive the call of keep(): the pause that ends marking comes after it. */
		__atomic_store_n(field, value, __ATOMIC_RELAXED);
		shade_for_store(old, value);
	}
}

void barrier_watch(void)
{
	atomic_store(&heap.watch, (atomic_load(&heap.marking) ? WATCH_MARKING : 0) |
				  (atomic_load(&rt_scoped_debug) || escape_is_on() ? WATCH_DEBUG : 0));
}

static void shade_object(const struct rt_type *t, char *dst, const char *src)
{
	for (uint32_t i = 0; i < t->n_ptrs; i++)
		shade_for_store(*(void **)(dst + t->ptrs[i]), *(void *const *)(src + t->ptrs[i]));
}

static inline void check_object(const struct rt_type *t, const char *dst, const char *src)
{
	for (uint32_t i = 0; i < t->n_ptrs; i++)
		check_value("rt_copy", dst + t->ptrs[i], *(void *const *)(src + t->ptrs[i]));
}

/* Word by word: a marker must not see half a pointer. */
static void copy_words(char *dst, const char *src, size_t bytes, bool backward)
{
	size_t n = bytes / 8;

	for (size_t i = 0; i < n; i++) {
		size_t at = 8 * (backward ? n - 1 - i : i);

		__atomic_store_n((uint64_t *)(dst + at), *(const uint64_t *)(src + at), __ATOMIC_RELAXED);
	}
}

void rt_copy(struct rt_type *t, void *dst, const void *src, size_t n)
{
	bool backward = (uintptr_t)dst > (uintptr_t)src;
	struct object o;

	if (t->n_ptrs == 0 || !object_find((uintptr_t)dst, &o)) {
		memmove(dst, src, n * t->bytes);
		return;
	}
	if (t->bytes % 8)
		rt_fatal("rt_copy of %s: %u bytes, and its pointers would not be aligned", t->name, t->bytes);
	for (size_t i = 0; i < n; i++) {
		size_t at = t->bytes * (backward ? n - 1 - i : i);

		check_object(t, (char *)dst + at, (const char *)src + at);
		/* Polls between objects are fine: each is shaded and stored in one step. */
		if (gc_is_marking())
			shade_object(t, (char *)dst + at, (const char *)src + at);
		if (escape_is_on())
			sample_stored_words((const char *)src + at, t->bytes);
		copy_words((char *)dst + at, (const char *)src + at, t->bytes, backward);
		if (i % 64 == 63)
			RT_POLL();
	}
}
