/*
 * Pools: each P has two magazines of objects that only its owner touches, so that get and put in any
 * order need no atomic operation; full ones go to a list of that P, under its lock, where other Ps may
 * take them whole. What a P has not handed out when a cycle begins becomes its victims: they are given
 * out one by one when nothing else is there, and the next cycle forgets the rest.
 *
 * What the collector sees: a P's heads (struct pool_local) are roots, searched in the pause that begins
 * a cycle, a few words for each P and pool; magazines are objects like any other, changed by
 * heap_set(), and marked beside the program. So a pool of a million objects lengthens no pause.
 *   - an object taken from a magazine while marking is on is shaded by heap_set(), the deletion barrier
 *   - one that is put then was reachable when marking began, or is new: it is marked or will be
 *   - a magazine that is unlinked from a list keeps its place in the snapshot: its head was a root, the
 *     rest is reached through next, which heap_set() changes
 * Clearing the heads in the pause and searching no magazine would be cheaper still, but victims are
 * handed out again, so each of them would have to be shaded there.
 *
 * Weighed: one slot and a ring without locks for each P, as Go has: takes a compare-and-swap for the
 * second object, and lets others take single objects. Magazines: Bonwick and Adams, "Magazines and
 * Vmem", 2001.
 */
#include "pool.h"

#include "mark.h"

#include <stdlib.h>
#include <string.h>

RT_TYPE(magazine_type, struct magazine, next, item[0], item[1], item[2], item[3], item[4], item[5],
	item[6], item[7], item[8], item[9], item[10], item[11], item[12], item[13]);

static struct {
	struct lock lock; /* guards first and their next */
	struct rt_pool_state *first;
} pools;

/* Finding what is this P's ------------------------------------------------------------------------- */

static struct rt_pool_state *state_of(struct rt_pool *p)
{
	/* acquire: pairs with the release in state_new() */
	return __atomic_load_n(&p->state, __ATOMIC_ACQUIRE);
}

static __attribute__((noinline)) struct rt_pool_state *state_new(struct rt_pool *p)
{
	struct rt_pool_state *made = calloc(1, sizeof *made), *there = NULL;

	if (!made)
		rt_fatal("pool \"%s\": out of memory", p->name);
	made->pool = p;
	lock_get(&pools.lock);
	there = p->state;
	if (!there) {
		made->next = pools.first;
		pools.first = made;
		__atomic_store_n(&p->state, made, __ATOMIC_RELEASE);
	}
	lock_put(&pools.lock);
	if (!there)
		return made;
	free(made);
	return there;
}

static __attribute__((noinline)) struct pool_local *local_new(struct rt_pool *p)
{
	struct rt_pool_state *s = state_of(p);
	struct pool_local *l = aligned_alloc(CACHE_LINE, CACHE_LINE);

	_Static_assert(sizeof *l <= CACHE_LINE, "a P's part of a pool is a line of its own");
	if (!s)
		s = state_new(p);
	if (!l)
		rt_fatal("pool \"%s\": out of memory", p->name);
	memset(l, 0, CACHE_LINE);
	atomic_store_explicit(&s->locals[this_m()->p->id], l, memory_order_release);
	return l;
}

static inline struct pool_local *local_of(struct rt_pool *p)
{
	struct rt_pool_state *s = state_of(p);
	struct pool_local *l =
		s ? atomic_load_explicit(&s->locals[this_m()->p->id], memory_order_relaxed) : NULL;

	return __builtin_expect(l != NULL, 1) ? l : local_new(p);
}

/* Magazines ------------------------------------------------------------------------------------------ */

static inline void *magazine_pop(struct magazine *m)
{
	void *obj = m->item[--m->n];

	heap_set((void *)&m->item[m->n], NULL);
	return obj;
}

static inline void magazine_push(struct magazine *m, void *obj)
{
	heap_set((void *)&m->item[m->n++], obj);
}

static inline bool has_item(const struct magazine *m)
{
	return m && m->n > 0;
}

static inline bool has_room(const struct magazine *m)
{
	return m && m->n < MAGAZINE_ITEMS;
}

static void swap(struct pool_local *l)
{
	struct magazine *m = l->loaded;

	l->loaded = l->previous;
	l->previous = m;
}

static void share(struct pool_local *l, struct magazine *m)
{
	lock_get(&l->lock);
	heap_set((void *)&m->next, l->shared);
	__atomic_store_n(&l->shared, m, __ATOMIC_RELAXED);
	lock_put(&l->lock);
}

/* A full magazine that is out of every list; NULL: this P has none. */
static struct magazine *take_shared(struct pool_local *l)
{
	struct magazine *m;

	/* relaxed: whether one is there is looked at again under the lock */
	if (!__atomic_load_n(&l->shared, __ATOMIC_RELAXED))
		return NULL;
	lock_get(&l->lock);
	m = l->shared;
	if (m)
		__atomic_store_n(&l->shared, m->next, __ATOMIC_RELAXED);
	lock_put(&l->lock);
	if (m)
		heap_set((void *)&m->next, NULL);
	return m;
}

static void *take_victim(struct pool_local *l)
{
	void *obj = NULL;

	if (!__atomic_load_n(&l->victim, __ATOMIC_RELAXED)) /* relaxed: as above */
		return NULL;
	lock_get(&l->lock);
	while (!obj && l->victim) {
		if (has_item(l->victim))
			obj = magazine_pop(l->victim);
		else
			__atomic_store_n(&l->victim, l->victim->next, __ATOMIC_RELAXED);
	}
	lock_put(&l->lock);
	return obj;
}

/* Get and put ---------------------------------------------------------------------------------------- */

static void *take_from_all(struct pool_local *own, struct rt_pool_state *s, bool victims)
{
	unsigned n = atomic_load(&sched.n_made), id = this_m()->p->id;

	for (unsigned i = 0; i < n; i++) {
		/* acquire: pairs with the release in local_new() */
		struct pool_local *l = atomic_load_explicit(&s->locals[(id + i) % n], memory_order_acquire);
		struct magazine *m;
		void *obj;

		if (l && victims && (obj = take_victim(l)))
			return obj;
		if (l && !victims && (m = take_shared(l))) {
			own->previous = own->loaded; /* both are empty */
			own->loaded = m;
			return magazine_pop(m);
		}
	}
	return NULL;
}

static __attribute__((noinline)) void *take_slow(struct rt_pool *p, struct pool_local *l)
{
	void *obj;

	if (has_item(l->previous)) {
		swap(l);
		return magazine_pop(l->loaded);
	}
	obj = take_from_all(l, p->state, false);
	return obj ? obj : take_from_all(l, p->state, true);
}

static inline void *take(struct rt_pool *p)
{
	struct pool_local *l = local_of(p);

	return __builtin_expect(has_item(l->loaded), 1) ? magazine_pop(l->loaded) : take_slow(p, l);
}

static void *make(struct rt_pool *p)
{
	if (p->make)
		return p->make();
	return p->type ? rt_new(p->type) : rt_new_bytes(p->bytes);
}

void *rt_pool_get(struct rt_pool *p)
{
	bool debug = atomic_load_explicit(&pool_debug, memory_order_relaxed);
	void *obj = take(p);

	if (!obj) {
		obj = make(p);
		if (__builtin_expect(debug, 0))
			pool_debug_made(p, obj);
	} else if (__builtin_expect(debug, 0)) {
		obj = pool_debug_get(p, obj);
	}
	poll_here();
	return obj;
}

/* false: a magazine is missing. */
static bool give(struct rt_pool *p, void *obj, struct magazine **spare)
{
	struct pool_local *l = local_of(p);

	if (__builtin_expect(has_room(l->loaded), 1)) {
		magazine_push(l->loaded, obj);
		return true;
	}
	if (has_room(l->previous)) {
		swap(l);
	} else if (*spare) {
		if (l->previous)
			share(l, l->previous);
		l->previous = l->loaded;
		l->loaded = *spare;
	} else {
		return false;
	}
	magazine_push(l->loaded, obj);
	return true;
}

void rt_pool_put(struct rt_pool *p, void *obj)
{
	struct magazine *spare = NULL;

	if (__builtin_expect(atomic_load_explicit(&pool_debug, memory_order_relaxed), 0))
		obj = pool_debug_put(p, obj, (uintptr_t)__builtin_return_address(0));
	else if (p->reset)
		p->reset(obj);
	/* Making one may move the caller to another P. */
	while (!give(p, obj, &spare))
		spare = rt_new(&magazine_type);
	poll_here();
}

/* The life of a pool ----------------------------------------------------------------------------------- */

static void forget(struct pool_local *l, void *arg)
{
	l->loaded = l->previous = l->shared = l->victim = NULL;
}

/* In front of the victims, in a pause: nobody is in here, and no snapshot has been taken. */
static void sacrifice(struct pool_local *l, struct magazine *m)
{
	if (!has_item(m))
		return;
	*(struct magazine **)(uintptr_t)&m->next = l->victim;
	l->victim = m;
}

static void cycle(struct pool_local *l, void *arg)
{
	struct magazine *old = l->victim;

	l->victim = l->shared;
	l->shared = NULL;
	sacrifice(l, l->previous);
	sacrifice(l, l->loaded);
	l->loaded = l->previous = NULL;
	if (atomic_load_explicit(&pool_debug, memory_order_relaxed))
		pool_debug_drop(old);
}

static void each_local(struct rt_pool_state *s, void (*fn)(struct pool_local *l, void *arg), void *arg)
{
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		/* acquire: pairs with the release in local_new() */
		struct pool_local *l = atomic_load_explicit(&s->locals[i], memory_order_acquire);

		if (l)
			fn(l, arg);
	}
}

void pool_cycle(void)
{
	for (struct rt_pool_state *s = pools.first; s; s = s->next)
		each_local(s, cycle, NULL);
}

static void search(struct pool_local *l, void *k)
{
	mark_pointer(k, (uintptr_t)l->loaded);
	mark_pointer(k, (uintptr_t)l->previous);
	mark_pointer(k, (uintptr_t)l->shared);
	mark_pointer(k, (uintptr_t)l->victim);
}

void pool_search(struct marker *k)
{
	for (struct rt_pool_state *s = pools.first; s; s = s->next)
		each_local(s, search, k);
	pool_debug_search(k);
}

void pool_forget_all(void)
{
	lock_get(&pools.lock);
	for (struct rt_pool_state *s = pools.first; s; s = s->next)
		each_local(s, forget, NULL);
	lock_put(&pools.lock);
	pool_debug_forget_all();
}

static void local_free(struct pool_local *l, void *arg)
{
	if (atomic_load_explicit(&pool_debug, memory_order_relaxed)) {
		pool_debug_drop(l->victim);
		pool_debug_drop(l->shared);
		pool_debug_drop(l->previous);
		pool_debug_drop(l->loaded);
	}
	free(l);
}

void rt_pool_done(struct rt_pool *p)
{
	struct rt_pool_state *s = p->state, **at = &pools.first;

	if (s) {
		lock_get(&pools.lock);
		while (*at != s)
			at = &(*at)->next;
		*at = s->next;
		lock_put(&pools.lock);
		p->state = NULL;
		each_local(s, local_free, NULL);
		free(atomic_load(&s->pristine));
		free(s);
	}
	poll_here();
}
