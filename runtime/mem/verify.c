/*
 * The verifier: in the pause that ends a marking, nothing that was marked, no global, pin, channel's
 * buffer or value of a coroutine may name an object that was not. It walks the heap by blocks and marks,
 * so it shares with the marker where the roots are and how an object's type is read; not the barrier,
 * the queues, the prefetching or the order.
 *
 * Stacks are left out: a word there may be left over from a call that has ended, and the object that it
 * names be rightly dead. What a coroutine took from the heap and stored again is found in the heap.
 *
 * RT_DEBUG=gcverify=1: a missed object ends the process.
 */
#include "gc.h"

#include "../sched/sched.h"
#include "mark.h"
#include "roots.h"

bool gc_verifies;

static const char *type_name(const struct block *b)
{
	return b->type ? b->type->name : b->scan == SCAN_WORDS ? "pointers" : "bytes";
}

static void check(uintptr_t value, const struct object *from)
{
	struct object o;

	if (!value || !object_find(value, &o) || map_has(o.block->mark, o.cell))
		return;
	if (from)
		rt_fatal("the collector missed %p (%s), which %p (%s) names: was it stored without RT_SET?",
			 (void *)o.addr, type_name(o.block), (void *)from->addr, type_name(from->block));
	rt_fatal("the collector missed %p (%s), which a global, a pin, a channel or a coroutine names",
		 (void *)o.addr, type_name(o.block));
}

static void check_word(const struct object *o, size_t at)
{
	check(__atomic_load_n((const uintptr_t *)(o->addr + at), __ATOMIC_RELAXED), o);
}

static void check_fields(const struct object *o)
{
	const struct block *b = o->block;
	const struct rt_type *t = b->type;
	size_t bytes = b->cell_bytes ? b->cell_bytes : b->bytes;

	if (b->scan == SCAN_NONE)
		return;
	if (b->scan == SCAN_TYPE) {
		for (size_t at = 0; at + t->bytes <= bytes; at += t->bytes)
			for (uint32_t i = 0; i < t->n_ptrs; i++)
				check_word(o, at + t->ptrs[i]);
		return;
	}
	for (size_t at = 0; at + 8 <= bytes; at += 8)
		if (b->scan == SCAN_WORDS || (at / 8 < 64 && b->mask >> at / 8 & 1))
			check_word(o, at);
}

static void check_block(struct block *b)
{
	uint8_t kind = atomic_load(&b->kind);
	uint32_t n = kind == BLOCK_CELLS ? b->n_cells : kind == BLOCK_LARGE ? 1 : 0;

	for (uint32_t cell = 0; cell < n; cell++) {
		struct object o = {b, cell, kind == BLOCK_LARGE ? block_base(b) : cell_addr(b, cell)};

		if (map_has(b->mark, cell))
			check_fields(&o);
	}
}

/* The word after it is the start of a marked object. A root that was set while marking names that, and the
 * object that ends there (mark_word) may rightly be dead; where it was set before, both are marked. */
static bool is_next_marked(uintptr_t candidate)
{
	struct object o;

	return candidate % sizeof(uintptr_t) == sizeof(uintptr_t) - 1 && object_find(candidate + 1, &o) &&
	       o.addr == candidate + 1 && map_has(o.block->alloc, o.cell) && map_has(o.block->mark, o.cell);
}

static void check_candidates(struct work *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (!is_next_marked(w->item[i]))
			check(w->item[i], NULL);
}

void gc_verify(void)
{
	struct marker k;

	for (size_t i = 0; i < heap.top >> BLOCK_SHIFT; i++)
		check_block(&heap.blocks[i]);
	marker_begin(&k);
	roots_without_stacks(&k);
	marker_take_candidates(&k, check_candidates);
}
