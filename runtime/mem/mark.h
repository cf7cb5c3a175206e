/*
 * mark - marking: from words to objects to the words in them; private to runtime/
 *
 * A *candidate* is a word that may name an object: the value of a pointer field, what the barrier kept,
 * a word of a stack that was found to name a handed-out cell. Markers take candidates from work
 * buffers, mark what is not marked yet, and put the pointers found in it into buffers again.
 *
 * Threads: a marker belongs to one thread or coroutine; buffers go through the common lists.
 * Source:  prefetching before marking: Cher, Hosking, Vitek, "Software prefetching for mark-sweep
 *          garbage collection", ASPLOS 2004
 */
#pragma once

#include "heap.h"
#include "work.h"

enum { MARK_AHEAD = 16 /* a power of 2: places of each ring of what is on its way */ };

struct marker {
	_Alignas(16) struct work *work; /* NULL: none yet */
	uintptr_t candidates[MARK_AHEAD];
	struct object found[MARK_AHEAD];   /* to be marked; block NULL: none */
	struct object objects[MARK_AHEAD]; /* marked, to be searched */
	/* A word of marks: as it was or became, and what of it is not in the heap yet. */
	_Atomic uint64_t *word;
	uint64_t known, pending;
	size_t word_bytes; /* of each of its objects */
	uint64_t marked_bytes, searched_bytes;
	uint64_t marked_objects;
	/* Set: takes the words that mark_word() and its like were given, and nothing is marked. */
	void (*instead)(struct marker *k, uintptr_t lo, uintptr_t hi);
	unsigned at_candidate, at_found, at_object; /* places in the rings */
};

/* What a marker did, in bytes: of what it searched, and a little for each object. */
static inline uint64_t marker_cost(const struct marker *k)
{
	return k->searched_bytes + k->marked_objects * CELL_MIN;
}

void marker_begin(struct marker *k);
/* Passes its work on to the common list and its counts to the cycle. */
void marker_end(struct marker *k);
/* The value of a pointer field: names an object that is alive, or nothing in the heap. */
void mark_pointer(struct marker *k, uintptr_t value);
/* Any word. */
void mark_word(struct marker *k, uintptr_t word);
/* Every word in [lo, hi), aligned inwards. */
void mark_range(struct marker *k, uintptr_t lo, uintptr_t hi);
/* The pointers in an object, whether it is marked or not. */
void mark_fields(struct marker *k, const struct object *o);
/* Marks until about budget bytes have been searched or there is no work. false: no work is left in the
 * marker nor in the common list. */
bool mark_some(struct marker *k, uint64_t budget);

/* For the verifier: the queue's buffers, this marker's and the common ones, are given to fn and emptied. */
void marker_take_candidates(struct marker *k, void (*fn)(struct work *w));

void mark_pass_on(struct cache *c); /* what a P's barrier kept goes to the common list */
void mark_counts(uint64_t *ret_bytes, uint64_t *ret_objects, uint64_t *ret_searched); /* of the cycle */
void mark_begin_cycle(void);  /* in the pause */

/* For who searches objects: */

static inline void mark_candidate(struct marker *k, uintptr_t value)
{
	if (block_of(value))
		work_push(&k->work, value);
}

static inline uintptr_t mark_field(uintptr_t addr)
{
	/* relaxed: a store that races with this one shaded what it overwrote */
	return __atomic_load_n((const uintptr_t *)addr, __ATOMIC_RELAXED);
}

/* Marks what the first n of near->unit, objects of the block that are marked, reach within it, and takes what
 * they name elsewhere for candidates. Returns how many were searched. The block's mask is set. */
uint32_t near_search(struct marker *k, struct near *near, struct block *b, uint32_t n);
