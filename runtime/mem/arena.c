/*
 * Arenas: chunks of the heap in which a pointer moves. A chunk is one object for the collector, all
 * pointers or all bytes; it is searched word by word, as a stack is, since types of what lies in it
 * are not kept.
 *
 * A reset makes the used part zero, so that old pointers keep nothing alive and allocation need not
 * clear. While marking is on, a word of a chunk may be the only way by which the snapshot reaches an
 * object whose address was loaded from it since: so what is about to be wiped is shaded, as by any
 * store. A number that looks like an address keeps what is there for one cycle more, at worst.
 *
 * Weighed: chunks of mmap as roots lengthen each pause by what they hold; a list of the objects' types
 * in each chunk makes marking precise and costs 8 bytes and a store for each object. As objects of the
 * heap, chunks are marked beside the program, freed when nobody knows them, and stay memory for whoever
 * still points into them.
 *
 * Debug mode: a reset fills with a pattern that is no address, and an allocation (each takes the slow way)
 * looks whether it is still there. What was filled and not yet given out again is looked at by the
 * next reset.
 */
#include "pool.h"

#include "barrier.h"
#include "fill.h"

#include <inttypes.h>

enum {
	CHUNK_BYTES = 32 << 10,
	OWN_CHUNK = 4,  /* an object of more than a fourth of a chunk may get one of its own */
	AT_ONCE = 4096, /* bytes wiped between two polls */
	PATTERN = 0xdd,
	PLACE_BYTES = 160,
};

struct chunk {
	struct chunk *const next;
	char *const mem;
	size_t bytes;
	size_t used;   /* of the current one: as of when the arena left it */
	size_t filled; /* debug: bytes from mem that held the pattern after the last reset */
};
RT_TYPE(chunk_type, struct chunk, next, mem);

struct arena {
	struct rt_arena bump; /* addresses in first; first keeps them alive */
	struct chunk *const first; /* in use, the current one first */
	struct chunk *const large; /* in use, one object each */
	struct chunk *const spare; /* zero, or filled */
	size_t chunk_bytes;
	size_t used; /* in chunks other than the current one */
	const char *name;
	enum rt_arena_kind kind;
	char *debug_end; /* debug: of the current chunk; bump.end is bump.at */
	uintptr_t reset_pc;
	uint64_t reset_co;
};
RT_TYPE(arena_type, struct arena, first, large, spare);

static bool debugging(void)
{
	return __builtin_expect(atomic_load_explicit(&arena_debug, memory_order_relaxed), 0);
}

struct rt_arena *rt_arena_new(const char *name, size_t chunk_bytes, enum rt_arena_kind kind)
{
	struct arena *a = rt_new(&arena_type);

	a->name = name;
	a->chunk_bytes = ((chunk_bytes ? chunk_bytes : CHUNK_BYTES) + 15) & ~(size_t)15;
	a->kind = kind;
	poll_here();
	return &a->bump;
}

static struct arena *of(const struct rt_arena *bump)
{
	return (struct arena *)(uintptr_t)bump;
}

static struct chunk *chunk_new(const struct arena *a, size_t bytes)
{
	struct chunk *c = rt_new(&chunk_type);
	void *mem = a->kind == RT_ARENA_PTRS ? rt_new_ptrs(bytes / sizeof(void *)) : rt_new_bytes(bytes);

	heap_set((void *)&c->mem, mem);
	c->bytes = bytes;
	return c;
}

/* Filling ---------------------------------------------------------------------------------------- */

static void wipe(const struct arena *a, char *mem, size_t bytes, uint8_t byte)
{
	for (size_t at = 0; at < bytes; at += AT_ONCE) {
		size_t n = bytes - at < AT_ONCE ? bytes - at : AT_ONCE;

		/* In one step with the wipe: there is no poll between. */
		if (a->kind == RT_ARENA_PTRS && gc_is_marking())
			barrier_shade_words(mem + at, n);
		fill_words(mem + at, byte, n);
		poll_here();
	}
}

/* [from, to) of the chunk, as far as it was filled, still is. */
static void check(const struct arena *a, const struct chunk *c, size_t from, size_t to)
{
	char place[PLACE_BYTES];

	for (size_t at = from; at < to && at < c->filled; at++) {
		if ((unsigned char)c->mem[at] == PATTERN)
			continue;
		debug_place(a->reset_pc, place, sizeof place);
		rt_fatal("arena \"%s\": use after reset: %p (byte %zu of a chunk of %zu) was written after "
			 "the reset by %s in coroutine %" PRIu64
			 "\nnext step: find who kept a pointer into the arena over rt_arena_reset",
			 a->name, (void *)(c->mem + at), at, c->bytes, place, a->reset_co);
	}
}

/* Allocating --------------------------------------------------------------------------------------- */

static void leave_chunk(struct arena *a)
{
	if (!a->first)
		return;
	a->first->used = (size_t)(a->bump.at - a->first->mem);
	a->used += a->first->used;
}

static void enter_chunk(struct arena *a, struct chunk *c)
{
	leave_chunk(a);
	heap_set((void *)&c->next, a->first);
	heap_set((void *)&a->first, c);
	a->bump.at = c->mem;
	a->debug_end = c->mem + c->bytes;
	a->bump.end = debugging() ? a->bump.at : a->debug_end;
}

static struct chunk *spare_chunk(struct arena *a)
{
	struct chunk *c = a->spare;

	if (!c)
		return chunk_new(a, a->chunk_bytes);
	heap_set((void *)&a->spare, c->next);
	return c;
}

static void *alloc_large(struct arena *a, size_t bytes)
{
	struct chunk *c = chunk_new(a, bytes);

	c->used = bytes;
	a->used += bytes;
	heap_set((void *)&c->next, a->large);
	heap_set((void *)&a->large, c);
	return c->mem;
}

static void *bump(struct arena *a, size_t bytes)
{
	struct chunk *c = a->first;
	char *at = a->bump.at;

	a->bump.at = at + bytes;
	if (!debugging())
		return at;
	a->bump.end = a->bump.at;
	check(a, c, (size_t)(at - c->mem), (size_t)(a->bump.at - c->mem));
	fill_words(at, 0, bytes);
	return at;
}

void *rt_arena_alloc_slow(struct rt_arena *arena, size_t bytes)
{
	struct arena *a = of(arena);
	size_t n = bytes ? (bytes + 15) & ~(size_t)15 : 16;
	void *obj;

	if (n < bytes)
		rt_fatal("arena \"%s\": an object of %zu bytes: more than there is memory", a->name, bytes);
	if (n > a->chunk_bytes / OWN_CHUNK && n > (size_t)(a->debug_end - a->bump.at)) {
		obj = alloc_large(a, n);
	} else {
		if (n > (size_t)(a->debug_end - a->bump.at))
			enter_chunk(a, spare_chunk(a));
		obj = bump(a, n);
	}
	poll_here();
	return obj;
}

size_t rt_arena_used(const struct rt_arena *arena)
{
	const struct arena *a = of(arena);

	return a->used + (a->first ? (size_t)(a->bump.at - a->first->mem) : 0);
}

/* Resetting ------------------------------------------------------------------------------------------- */

static void clean(struct arena *a, struct chunk *c)
{
	if (debugging()) {
		check(a, c, c->used, c->bytes);
		c->filled = c->filled > c->used ? c->filled : c->used;
		wipe(a, c->mem, c->used, PATTERN);
	} else {
		wipe(a, c->mem, c->used, 0);
	}
	c->used = 0;
}

void rt_arena_reset(struct rt_arena *arena)
{
	struct arena *a = of(arena);
	struct chunk *used = a->first;

	leave_chunk(a);
	for (struct chunk *c = a->spare; debugging() && c; c = c->next)
		check(a, c, 0, c->bytes);
	/* Spare ones were too many for this round. */
	heap_set((void *)&a->spare, NULL);
	heap_set((void *)&a->first, NULL);
	for (struct chunk *c = a->large; debugging() && c; c = c->next)
		clean(a, c);
	heap_set((void *)&a->large, NULL);
	a->bump = (struct rt_arena){0};
	a->debug_end = NULL;
	a->used = 0;
	while (used) {
		struct chunk *next = used->next;

		clean(a, used);
		heap_set((void *)&used->next, a->spare);
		heap_set((void *)&a->spare, used);
		used = next;
	}
	a->reset_pc = (uintptr_t)__builtin_return_address(0);
	a->reset_co = this_co()->id;
	poll_here();
}
