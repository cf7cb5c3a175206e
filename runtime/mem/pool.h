/*
 * pool - what the collector and the rest of the runtime need to know of pools, arenas and scopes; private
 */
#pragma once

#include "heap.h"

#include "../sched/sched.h"

enum { MAGAZINE_ITEMS = 14 };

/* A handful of objects; in the debug mode, of records that name them. Of the heap: what it holds is
 * marked through it, and changes through heap_set(). */
struct magazine {
	struct magazine *const next;
	void *const item[MAGAZINE_ITEMS];
	uint32_t n;
};

/* What one P has of a pool. Roots, searched in the pause that begins a cycle: plain stores will do. */
struct pool_local {
	struct magazine *loaded, *previous; /* the owner's own */
	struct lock lock;                   /* guards the rest */
	struct magazine *shared;            /* full ones, for everybody */
	struct magazine *victim;            /* what the last cycle found here */
};

struct rt_pool_state {
	struct rt_pool *pool;
	struct rt_pool_state *next; /* of every pool; under a lock */
	char *_Atomic pristine;     /* debug: the bytes of a new object; of malloc */
	/* Made when the P first uses the pool; released, pairs with the acquire of who steals. */
	struct pool_local *_Atomic locals[PROCS_MAX];
};

/* In the pause that begins a cycle, before roots are searched: forgets what the last cycle found in
 * the pools, and keeps what is there now until the next one. */
void pool_cycle(void);
struct marker;
/* In a pause: what P's have of pools, roots of the cycle. */
void pool_search(struct marker *k);
/* The runtime has ended, and every object with it. */
void pool_forget_all(void);

/* A pointer field of an object of the heap, by the runtime: RT_SET without a call while nothing is
 * marked. No stop comes between the look and the store: this is the runtime's text. */
static inline void heap_set(void *field, void *value)
{
	if (__builtin_expect(gc_is_marking(), 0))
		rt_store(field, value);
	else
		__atomic_store_n((void **)field, value, __ATOMIC_RELAXED);
}

/* The debug modes, of RT_DEBUG; set before the first coroutine runs. -1: by the build. */
void pool_debug_set(long pool, long arena, long scoped);
extern _Atomic bool pool_debug, arena_debug;

/* pool_debug.c ------------------------------------------------------------------------------------- */

/* obj, put at pc: the record that goes into the pool in its place. */
void *pool_debug_put(struct rt_pool *p, void *obj, uintptr_t pc);
/* The object of a record, as it was put. */
void *pool_debug_get(struct rt_pool *p, void *record);
/* obj has just been made: the first one shows what a new one looks like. */
void pool_debug_made(struct rt_pool *p, void *obj);
/* In the pause: the records of a list of magazines are about to be forgotten. */
void pool_debug_drop(struct magazine *list);
void pool_debug_search(struct marker *k);
void pool_debug_forget_all(void);
/* "FUNCTION (FILE:LINE)" of the call that returns to pc. */
const char *debug_place(uintptr_t pc, char *ret, size_t bytes);

/* scoped.c ------------------------------------------------------------------------------------------ */

/* By rt_store() and rt_copy() while rt_scoped_debug: an object's field was made to hold value. */
void scoped_stored(void **field, void *value, uintptr_t pc);
/* While rt_scoped_debug: value lies in a scoped object of the calling coroutine, whose end is watched. */
bool scoped_holds(const void *value);
