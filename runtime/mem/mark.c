/*
 * Marking.
 *
 * Each of the three misses of marking is asked for a while before it is needed, in three rings: a
 * candidate from the work buffer asks for the line of its block and takes the place of an older one; that
 * one, by now found in its block, asks for its mark word and takes the place of an older one; that one, if
 * it was not marked yet, asks for its memory and takes the place of an older object, which is searched.
 * What a small object reaches without leaving its block does not go that way: it is searched with it.
 */
#include "mark.h"
#include "bits.h"
#include "fill.h"

#include "../sched/sched.h"

enum {
	PIECE_BYTES = 16 << 10, /* a larger object is searched in pieces */
	ITEMS_AT_ONCE = 32,     /* between two looks at the budget */
};
/* An item that is no candidate: the rest of an object that was begun, an object that is marked. */
#define PIECE (UINT64_C(1) << 63)
#define GREY (UINT64_C(1) << 62)

/* Of all markers. */
static struct {
	_Atomic uint64_t marked_bytes, marked_objects, searched_bytes;
} common;

/* Marks are written by all markers: their line, fetched to be read, would be fetched twice. GCC says
 * prefetchw only where every CPU has it; those that have not take it for nothing. */
static inline void prefetch_to_write(const void *p)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/* Candidates ------------------------------------------------------------------------------------ */

void mark_pointer(struct marker *k, uintptr_t value)
{
	if (k->instead)
		k->instead(k, (uintptr_t)&value, (uintptr_t)(&value + 1));
	else
		mark_candidate(k, value);
}

static bool is_handed_out(uintptr_t word, struct object *ret)
{
	/* acquire: pairs with the release in bits_set(): a new cell is marked, and zero */
	if (!object_find(word, ret))
		return false;
	return atomic_load_explicit(&ret->block->alloc[ret->cell / 64], memory_order_acquire) >>
	       ret->cell % 64 & 1;
}

static void any_word(struct marker *k, uintptr_t word)
{
	struct object o;
	bool found;

	/* one past the end may lie behind the last block */
	if (word - heap.base > __atomic_load_n(&heap.top, __ATOMIC_RELAXED))
		return;
	found = is_handed_out(word, &o);
	if (found)
		work_push(&k->work, word);
	if ((!found || o.addr == word) && is_handed_out(word - 1, &o))
		work_push(&k->work, word - 1);
}

void mark_word(struct marker *k, uintptr_t word)
{
	if (k->instead)
		k->instead(k, (uintptr_t)&word, (uintptr_t)(&word + 1));
	else
		any_word(k, word);
}

__attribute__((no_sanitize("address", "thread")))
void mark_range(struct marker *k, uintptr_t lo, uintptr_t hi)
{
	const volatile uintptr_t *w = (const uintptr_t *)((lo + 7) & ~(uintptr_t)7);
	const volatile uintptr_t *end = (const uintptr_t *)(hi & ~(uintptr_t)7);

	if (k->instead) {
		k->instead(k, (uintptr_t)w, (uintptr_t)end);
		return;
	}
	for (; w < end; w++)
		any_word(k, *w);
}

/* Searching ------------------------------------------------------------------------------------- */

static void search_words(struct marker *k, uintptr_t from, uintptr_t end)
{
	for (uintptr_t a = from; a < end; a += sizeof(uintptr_t))
		mark_candidate(k, mark_field(a));
}

static void search_type(struct marker *k, const struct rt_type *t, uintptr_t from, uintptr_t end)
{
	for (uintptr_t at = from; at + t->bytes <= end; at += t->bytes)
		for (uint32_t i = 0; i < t->n_ptrs; i++)
			mark_candidate(k, mark_field(at + t->ptrs[i]));
}

/* from: where this piece begins; what remains after it goes back into the queue. */
static void search_large(struct marker *k, const struct block *b, uintptr_t from)
{
	uintptr_t start = block_base(b), end = start + b->bytes;
	size_t piece = PIECE_BYTES;

	if (b->scan == SCAN_TYPE && b->type->bytes)
		piece = piece > b->type->bytes ? piece - piece % b->type->bytes : b->type->bytes;
	if (end - from > piece) {
		end = from + piece;
		work_push(&k->work, end | PIECE);
	}
	k->searched_bytes += end - from;
	if (b->scan == SCAN_WORDS)
		search_words(k, from, end);
	else
		search_type(k, b->type, from, end);
}

/*
 * Marks go into the heap a word at a time: objects that were made together are marked together, and an
 * atomic operation for each would cost as much as all the rest. Until then another marker, or a barrier,
 * takes them for unmarked; the object is searched twice then, which does no harm.
 */
static void flush_marks(struct marker *k)
{
	uint64_t twice;

	if (!k->pending)
		return;
	/* relaxed: what an object holds was written before it could be found, or is new and marked */
	twice = atomic_fetch_or_explicit(k->word, k->pending, memory_order_relaxed) & k->pending;
	for (; twice; twice &= twice - 1) {
		k->marked_objects--;
		k->marked_bytes -= k->word_bytes;
	}
	k->pending = 0;
}

static inline void take_word(struct marker *k, const struct object *o, _Atomic uint64_t *word)
{
	flush_marks(k);
	k->word = word;
	k->word_bytes = o->block->cell_bytes ? o->block->cell_bytes : o->block->bytes;
	k->known = atomic_load_explicit(word, memory_order_relaxed);
}

/* true: it was not marked, and is to be searched. */
static inline bool mark_object(struct marker *k, const struct object *o)
{
	_Atomic uint64_t *word = &o->block->mark[o->cell / 64];
	uint64_t bit = UINT64_C(1) << o->cell % 64;

	if (word != k->word)
		take_word(k, o, word);
	if (k->known & bit)
		return false;
	k->known |= bit;
	k->pending |= bit;
	k->marked_objects++;
	k->marked_bytes += k->word_bytes;
	return o->block->scan != SCAN_NONE;
}

/* One of at most 64 words. Lists and trees that were made together are full of pointers into their own
 * block. */
static void search_small(struct marker *k, struct block *b, uintptr_t addr)
{
	struct near *near = &this_cache()->near;
	uintptr_t base = addr & -(uintptr_t)BLOCK_BYTES;
	uint32_t n = 0;

	for (uint64_t mask = b->mask; mask; mask &= mask - 1) {
		uintptr_t value = mark_field(addr + 8 * (unsigned)__builtin_ctzll(mask));
		struct object o = {b, 0, 0};

		if (value - base >= BLOCK_BYTES) {
			mark_candidate(k, value);
			continue;
		}
		o.cell = block_cell(b, value);
		if (o.cell < b->n_cells && mark_object(k, &o))
			near->unit[n++] = (uint16_t)(o.cell * b->cell_bytes / CELL_MIN);
	}
	if (n) {
		flush_marks(k);
		n = near_search(k, near, b, n);
		k->word = NULL; /* it may have changed */
	}
	k->searched_bytes += (uint64_t)(n + 1) * b->cell_bytes;
}

static inline void search(struct marker *k, const struct object *o)
{
	struct block *b = o->block;
	uintptr_t a = o->addr;

	if (b->scan == SCAN_MASK && b->cell_bytes) {
		search_small(k, b, a);
	} else if (!b->cell_bytes) {
		search_large(k, b, a);
	} else if (b->scan == SCAN_WORDS) {
		k->searched_bytes += b->cell_bytes;
		search_words(k, a, a + b->cell_bytes);
	} else {
		k->searched_bytes += b->cell_bytes;
		search_type(k, b->type, a, a + b->cell_bytes);
	}
}

void mark_fields(struct marker *k, const struct object *o)
{
	if (o->block->scan != SCAN_NONE)
		search(k, o);
}

static inline void search_later(struct marker *k, const struct object *o)
{
	struct object *place = &k->objects[k->at_object++ % MARK_AHEAD];
	struct object old = *place;

	__builtin_prefetch((const void *)o->addr);
	*place = *o;
	if (old.block)
		search(k, &old);
}

static inline void mark_later(struct marker *k, const struct object *o)
{
	struct object *place = &k->found[k->at_found++ % MARK_AHEAD];
	struct object old = *place;

	prefetch_to_write(&o->block->mark[o->cell / 64]);
	*place = *o;
	if (old.block && mark_object(k, &old))
		search_later(k, &old);
}

static inline void find_later(struct marker *k, uintptr_t candidate)
{
	uintptr_t *place = &k->candidates[k->at_candidate++ % MARK_AHEAD];
	uintptr_t old = *place;
	struct object o;

	__builtin_prefetch(block_of(candidate));
	*place = candidate;
	if (old && object_find(old, &o))
		mark_later(k, &o);
}

/* What is on its way is worked off; false: there was nothing. */
static bool drain_ahead(struct marker *k)
{
	bool any = false;

	for (unsigned i = 0; i < MARK_AHEAD; i++) {
		uintptr_t c = k->candidates[i];
		struct object o;

		k->candidates[i] = 0;
		if (c && object_find(c, &o))
			mark_later(k, &o);
		any |= c != 0;
	}
	for (unsigned i = 0; i < MARK_AHEAD; i++) {
		struct object o = k->found[i];

		k->found[i].block = NULL;
		if (o.block && mark_object(k, &o))
			search_later(k, &o);
		any |= o.block != NULL;
	}
	for (unsigned i = 0; i < MARK_AHEAD; i++) {
		struct object o = k->objects[i];

		k->objects[i].block = NULL;
		if (o.block)
			search(k, &o);
		any |= o.block != NULL;
	}
	return any;
}

/* The rest of an object that was begun. */
static void search_piece(struct marker *k, uintptr_t from)
{
	struct object o;

	if (object_find(from, &o))
		search_large(k, o.block, from);
}

static inline void take_up_item(struct marker *k, uintptr_t item)
{
	if (item & GREY) {
		uintptr_t addr = item & ~GREY;

		/* Its start, so that the block is its first; which cell it is the search does not ask. */
		search_later(k, &(struct object){block_of(addr), 0, addr});
	} else {
		find_later(k, item);
	}
}

bool mark_some(struct marker *k, uint64_t budget)
{
	uint64_t until = marker_cost(k) + budget;

	work_share(k->work);
	while (marker_cost(k) < until) {
		for (unsigned i = 0; i < ITEMS_AT_ONCE; i++) {
			uintptr_t item = work_pop(&k->work);

			if (__builtin_expect((item & PIECE) != 0, 0)) {
				search_piece(k, item & ~PIECE);
				break; /* its rest is the next item */
			} else if (item) {
				take_up_item(k, item);
			} else if (!drain_ahead(k)) {
				return false;
			}
		}
	}
	return true;
}

/* Markers --------------------------------------------------------------------------------------- */

void marker_begin(struct marker *k)
{
	fill(k, 0, sizeof *k);
}

void marker_end(struct marker *k)
{
	for (unsigned i = 0; i < MARK_AHEAD; i++) {
		if (k->objects[i].block)
			work_push(&k->work, k->objects[i].addr | GREY);
		if (k->found[i].block)
			work_push(&k->work, k->found[i].addr);
		if (k->candidates[i])
			work_push(&k->work, k->candidates[i]);
	}
	flush_marks(k);
	if (k->work && k->work->n)
		work_put_full(k->work);
	else if (k->work)
		work_put_empty(k->work);
	atomic_fetch_add_explicit(&common.marked_bytes, k->marked_bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&common.marked_objects, k->marked_objects, memory_order_relaxed);
	atomic_fetch_add_explicit(&common.searched_bytes, k->searched_bytes, memory_order_relaxed);
	marker_begin(k);
}

void marker_take_candidates(struct marker *k, void (*fn)(struct work *w))
{
	struct work *w;

	while ((w = work_take_full())) {
		fn(w);
		work_put_empty(w);
	}
	if (k->work) {
		fn(k->work);
		work_put_empty(k->work);
		k->work = NULL;
	}
}

/* Marked here, so that the barrier keeps an object once. */
void mark_pass_on(struct cache *c)
{
	struct marker k;
	struct object o;

	if (c->n_shaded == 0)
		return;
	marker_begin(&k);
	for (uint32_t i = 0; i < c->n_shaded; i++)
		if (object_find(c->shaded[i], &o) && mark_object(&k, &o))
			work_push(&k.work, o.addr | GREY);
	c->n_shaded = 0;
	marker_end(&k);
}

void mark_counts(uint64_t *ret_bytes, uint64_t *ret_objects, uint64_t *ret_searched)
{
	*ret_bytes = atomic_load(&common.marked_bytes);
	*ret_objects = atomic_load(&common.marked_objects);
	*ret_searched = atomic_load(&common.searched_bytes);
}

void mark_begin_cycle(void)
{
	atomic_store(&common.marked_bytes, 0);
	atomic_store(&common.marked_objects, 0);
	atomic_store(&common.searched_bytes, 0);
}
