/*
 * Sweeping: alloc = mark, mark = 0, block by block, lazily.
 *
 * A cursor goes over the blocks that were in use when the marking ended. Allocations that need a
 * block move it on, and so does whoever calls sweep_some(). Blocks in a run are left out: their
 * owner sweeps them before it claims from them again.
 */
#include "bits.h"
#include "fill.h"
#include "gc.h"
#include "heap.h"
#include "sample.h"
#include "../sched/sched.h"

enum {
	TAKE_BLOCKS = 64,     /* looked at before a fresh block is taken instead */
	LARGE_LOOK = 16,      /* times the blocks that a large object needs, and */
	LARGE_LOOK_MORE = 64, /* these */
	FREED_POISON = 0xdb,
};

static struct {
	_Alignas(64) _Atomic size_t next;
	size_t end;
} cursor;

void sweep_reset(void)
{
	for (uint32_t i = 0; i < atomic_load(&heap.n_slots); i++)
		atomic_store(&heap.slots[i].first, NULL);
	cursor.end = 0;
}

void sweep_begin(void)
{
	sweep_reset();
	cursor.end = heap.top >> BLOCK_SHIFT;
	atomic_store(&cursor.next, 0);
}

void sweep_forget_marks(void)
{
	for (size_t i = 0; i < heap.top >> BLOCK_SHIFT; i++) {
		struct block *b = &heap.blocks[i];
		uint8_t kind = atomic_load(&b->kind);

		for (uint32_t w = 0; (kind == BLOCK_CELLS || kind == BLOCK_LARGE) && w * 64 < b->n_cells; w++)
			atomic_store(&b->mark[w], 0);
	}
}

/* One block ------------------------------------------------------------------------------------ */

#ifdef RT_CHECKS
bool gc_poisons = true;
#else
bool gc_poisons;
#endif

static void poison(const struct block *b, uint32_t word, uint64_t freed, uint64_t stray)
{
	if (stray)
		rt_fatal("heap: a cell of %u bytes at %#lx is marked and was not handed out",
			 b->cell_bytes, cell_addr(b, word * 64 + (uint32_t)__builtin_ctzll(stray)));
	for (; freed; freed &= freed - 1)
		fill((void *)cell_addr(b, word * 64 + (uint32_t)__builtin_ctzll(freed)),
		     FREED_POISON, b->cell_bytes);
}

/* Returns the cells that came free. */
static uint32_t sweep_maps(struct block *b)
{
	uint32_t freed = 0, used = 0;

	for (uint32_t i = 0; i * 64 < b->n_cells; i++) {
		uint64_t alloc = atomic_load_explicit(&b->alloc[i], memory_order_relaxed);
		uint64_t mark = atomic_load_explicit(&b->mark[i], memory_order_relaxed);

		if (!(alloc | mark))
			continue;
		if (__builtin_expect(gc_poisons, 0))
			poison(b, i, alloc & ~mark, mark & ~alloc);
		freed += bits_count(alloc & ~mark);
		used += bits_count(mark);
		atomic_store_explicit(&b->alloc[i], mark, memory_order_relaxed);
		atomic_store_explicit(&b->mark[i], 0, memory_order_relaxed);
	}
	b->n_used = used;
	return freed;
}

static void sweep_cells(struct block *b)
{
	uint32_t freed;

	if (atomic_load_explicit(&b->sampled, memory_order_relaxed))
		sample_sweep(b);
	freed = sweep_maps(b);
	if (freed) {
		b->dirty = true;
		atomic_fetch_add_explicit(&heap.slots[b->slot].frees, freed, memory_order_relaxed);
	}
	atomic_store_explicit(&b->sweep_gen, heap.sweep_gen, memory_order_relaxed);
}

/* Returns the blocks that came free. */
static uint32_t sweep_large(struct block *b)
{
	uint32_t n = b->n_blocks;
	bool marked;

	if (atomic_load_explicit(&b->sampled, memory_order_relaxed))
		sample_sweep(b);
	marked = atomic_exchange_explicit(&b->mark[0], 0, memory_order_relaxed) & 1;

	if (marked) {
		atomic_store_explicit(&b->sweep_gen, heap.sweep_gen, memory_order_relaxed);
		return 0;
	}
	atomic_store_explicit(&b->alloc[0], 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&heap.large_frees, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&heap.large_free_bytes, b->bytes, memory_order_relaxed);
	if (gc_poisons)
		fill((void *)block_base(b), FREED_POISON, b->bytes);
	for (uint32_t i = 0; i < n; i++)
		atomic_store_explicit(&b[i].kind, BLOCK_FREE, memory_order_relaxed);
	pages_put(b, n);
	return n;
}

static void put_free(struct block *b)
{
	atomic_fetch_sub_explicit(&heap.slots[b->slot].n_blocks, 1, memory_order_relaxed);
	atomic_store_explicit(&b->kind, BLOCK_FREE, memory_order_relaxed);
	pages_put(b, 1);
}

static void put_listed(struct slot *s, struct block *b)
{
	lock_get(&s->lock);
	b->next = atomic_load_explicit(&s->first, memory_order_relaxed);
	atomic_store_explicit(&s->first, b, memory_order_relaxed);
	lock_put(&s->lock);
}

/* The blocks ----------------------------------------------------------------------------------- */

static bool is_stale(const struct block *b)
{
	/* A cached one is its owner's, and swept before it leaves the cache.
	 * acquire: pairs with the release when it does, in alloc.c's next_block() */
	return !atomic_load_explicit(&b->cached, memory_order_acquire) &&
	       atomic_load_explicit(&b->sweep_gen, memory_order_relaxed) != heap.sweep_gen;
}

/* The next block to be swept, by the caller and nobody else: the cursor passes it once. NULL: none
 * is left, or the budget is used up. */
static struct block *next_stale(uint32_t *budget)
{
	while (*budget > 0 &&
	       atomic_load_explicit(&cursor.next, memory_order_relaxed) < cursor.end) {
		size_t i = atomic_fetch_add_explicit(&cursor.next, 1, memory_order_relaxed);
		struct block *b = &heap.blocks[i];
		uint8_t kind;

		if (i >= cursor.end)
			break;
		--*budget;
		/* acquire: pairs with the release when the block came into use */
		kind = atomic_load_explicit(&b->kind, memory_order_acquire);
		if ((kind == BLOCK_CELLS || kind == BLOCK_LARGE) && is_stale(b))
			return b;
	}
	return NULL;
}

/* Returns the blocks that came free; *ret_partly: it has free cells. */
static uint32_t sweep_block(struct block *b, bool *ret_partly)
{
	*ret_partly = false;
	if (atomic_load_explicit(&b->special, memory_order_relaxed))
		special_sweep(b);
	if (atomic_load_explicit(&b->kind, memory_order_relaxed) == BLOCK_LARGE)
		return sweep_large(b);
	sweep_cells(b);
	*ret_partly = b->n_used > 0 && b->n_used < b->n_cells;
	return b->n_used == 0;
}

static uint32_t sweep_and_put(struct block *b)
{
	bool cells = atomic_load_explicit(&b->kind, memory_order_relaxed) == BLOCK_CELLS, partly;
	uint32_t freed = sweep_block(b, &partly);

	if (cells && freed)
		put_free(b);
	else if (partly)
		put_listed(&heap.slots[b->slot], b);
	return freed;
}

bool sweep_some(uint32_t n_blocks)
{
	uint32_t budget = n_blocks;
	struct block *b;

	while ((b = next_stale(&budget)))
		sweep_and_put(b);
	return atomic_load_explicit(&cursor.next, memory_order_relaxed) < cursor.end;
}

/* Somebody wants the world or this P. */
static bool is_asked(void)
{
	return __atomic_load_n(rt_poll_word, __ATOMIC_RELAXED) != 0;
}

void sweep_for_large(uint32_t n)
{
	uint64_t look = (uint64_t)n * LARGE_LOOK + LARGE_LOOK_MORE;
	uint32_t budget = look > UINT32_MAX ? UINT32_MAX : (uint32_t)look, freed = 0;
	struct block *b;

	while (freed < n && !is_asked() && (b = next_stale(&budget)))
		freed += sweep_and_put(b);
}

static struct block *take_listed(struct slot *s)
{
	struct block *b;

	if (!atomic_load_explicit(&s->first, memory_order_relaxed))
		return NULL;
	lock_get(&s->lock);
	b = atomic_load_explicit(&s->first, memory_order_relaxed);
	if (b)
		atomic_store_explicit(&s->first, b->next, memory_order_relaxed);
	lock_put(&s->lock);
	return b;
}

struct block *sweep_take(struct slot *s)
{
	uint32_t budget = TAKE_BLOCKS;
	struct block *b = take_listed(s);

	while (!b && !is_asked() && (b = next_stale(&budget))) {
		bool mine = &heap.slots[b->slot] == s, partly;

		if (atomic_load_explicit(&b->kind, memory_order_relaxed) != BLOCK_CELLS || !mine) {
			sweep_and_put(b);
			b = NULL;
		} else if (!sweep_block(b, &partly) && !partly) {
			b = NULL; /* full */
		}
	}
	if (b)
		atomic_store_explicit(&b->cached, true, memory_order_relaxed);
	return b;
}

bool sweep_cached(struct block *b)
{
	if (__builtin_expect(
		    atomic_load_explicit(&b->sweep_gen, memory_order_relaxed) == heap.sweep_gen, 1))
		return false;
	if (atomic_load_explicit(&b->special, memory_order_relaxed))
		special_sweep(b);
	sweep_cells(b);
	return true;
}
