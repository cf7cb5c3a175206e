/*
 * keep - objects whose only pointer is hidden, and collections at the worst moment; for the tests of the
 * collector
 */
#pragma once

#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/heap.h"
#include "help.h"
#include "scrub_x86_64.h"

#include <string.h>

struct node {
	struct node *const next;
	struct node *const other;
	uint64_t value[2]; /* a whole cell: one past the end is another object */
};
RT_TYPE(node_type, struct node, next, other);

#define GOOD UINT64_C(0x5eed5eed5eed5eed)

/* With one P the collector's first slice ends long before a chain of CHAIN objects does; under TSan, which
 * takes a microsecond for each word, before a tenth of it. */
#ifdef __SANITIZE_THREAD__
enum { CHAIN = 30000, FEW = 16 };
#else
enum { CHAIN = 300000, FEW = 16 };
#endif

static struct node *chain; /* a root */

/* Words that name no object for whoever looks. The compiler must not know what they were. */
typedef uintptr_t hidden;

static inline hidden hide(const void *p)
{
	hidden h = ~(hidden)p;

	__asm__ volatile("" : "+r"(h));
	return h;
}

static inline void *unhide(hidden h)
{
	__asm__ volatile("notq %0" : "+r"(h));
	return (void *)h;
}

__attribute__((noinline, unused)) static struct node *new_node(struct node *next)
{
	struct node *n = rt_new(&node_type);

	n->value[0] = GOOD;
	RT_SET(n->next, next);
	return n;
}

/* On another stack, which is gone then: nothing is left of it on the caller's. */
static inline void *make_hidden(void *arg)
{
	hidden *to = arg;

	for (int i = 0; i < FEW; i++)
		to[i] = hide(new_node(NULL));
	scrub();
	return NULL;
}

static inline void make(hidden *to)
{
	rt_join(rt_spawn(make_hidden, to, NULL), NULL);
}

/* After a whole cycle; its block may be swept or not. Noinline, as count_there(): the address would stay in
 * the caller's frame, or in a register that calls keep, where nothing scrubs. */
__attribute__((noinline, unused)) static bool is_there(hidden h)
{
	struct object o;

	if (!object_find((uintptr_t)unhide(h), &o))
		return false;
	if (atomic_load(&o.block->sweep_gen) != heap.sweep_gen && !map_has(o.block->mark, o.cell))
		return false;
	return map_has(o.block->alloc, o.cell);
}

__attribute__((noinline, unused)) static int count_there(const hidden *h, int n)
{
	int there = 0;

	for (int i = 0; i < n; i++)
		there += is_there(h[i]) && ((struct node *)unhide(h[i]))->value[0] == GOOD;
	return there;
}

static inline void make_chain(void)
{
	for (int i = 0; i < CHAIN; i++) {
		chain = new_node(chain);
		RT_POLL();
	}
}

static inline void until_cycle(void)
{
	uint32_t cycle = heap.cycle;

	while (heap.cycle == cycle)
		rt_yield();
}

static inline void until_marking(void)
{
	until_cycle();
	if (!gc_is_marking())
		rt_fatal("test: the marking was over at once, so there is nothing to see");
}

static inline void until_marked(void)
{
	while (gc_is_marking())
		rt_yield();
}

/* fn as a coroutine beside one whole cycle. */
static inline void beside_cycle(void *(*fn)(void *arg), void *arg)
{
	struct rt_co *co = rt_spawn(fn, arg, NULL);

	settle();
	rt_gc();
	rt_join(co, NULL);
}
