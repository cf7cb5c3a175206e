/* The allocator and the sweep, with a collector by hand. */
#include "collect.h"
#include "tap.h"

#include <string.h>

struct pair {
	struct pair *const left, *const right;
};
struct odd { /* 40 bytes, pointers at 8 and 24 */
	long a;
	struct odd *const next;
	long b;
	struct odd *const prev;
	long c;
};
struct big {
	struct big *const next;
	char text[792];
};
struct huge {
	struct huge *const next;
	char bytes[100000];
};
struct plain {
	char c[24];
};
RT_TYPE(pair_type, struct pair, left, right);
RT_TYPE(odd_type, struct odd, next, prev);
RT_TYPE(big_type, struct big, next);
RT_TYPE(huge_type, struct huge, next);
RT_TYPE_FREE(plain_type, struct plain);
RT_TYPE_FREE(begun_type, struct plain);

static bool is_zero(const void *p, size_t n)
{
	const char *c = p;

	for (size_t i = 0; i < n; i++)
		if (c[i])
			return false;
	return true;
}

/* Classes -------------------------------------------------------------------------------------- */

static void test_classes(void)
{
	unsigned bad_fit = 0, bad_waste = 0, bad_tail = 0;

	for (size_t n = 1; n <= CELL_MAX; n++) {
		unsigned c = class_of_bytes(n);
		size_t round = (n + 15) & ~(size_t)15;

		bad_fit += class_bytes(c) < n || (c > 0 && class_bytes(c - 1) >= n);
		if (n <= 16384)
			bad_waste += (class_bytes(c) - round) * 5 > class_bytes(c);
	}
	for (unsigned c = 0; c < CLASSES; c++) {
		bad_fit += class_bytes(c) % 16 != 0;
		bad_tail += BLOCK_BYTES % class_bytes(c) > BLOCK_BYTES / 50;
	}
	CHECK(!bad_fit, "the class of each size up to 32 KiB is the smallest that holds it");
	CHECK(!bad_waste, "up to 16 KiB at most a fifth of a cell is unused");
	CHECK(!bad_tail, "at most 2 %% of a block is left over");
}

static void test_division(void)
{
	unsigned bad = 0;

	for (uint32_t cell = CELL_MIN; cell <= CELL_MAX; cell += 16) {
		struct block b = {.cell_bytes = cell,
				  .magic = (uint32_t)((UINT64_C(1) << 32) / cell + 1)};

		for (uint32_t off = 0, i = 0, in = 0; off < BLOCK_BYTES; off++) {
			bad += block_cell(&b, off) != i;
			if (++in == cell) {
				in = 0;
				i++;
			}
		}
		RT_POLL();
	}
	for (uint32_t i = 1; i < atomic_load(&heap.n_slots); i++) {
		const struct slot *s = &heap.slots[i];

		bad += s->magic != (uint32_t)((UINT64_C(1) << 32) / s->cell_bytes + 1) ||
		       s->n_cells != BLOCK_BYTES / s->cell_bytes;
	}
	CHECK(!bad, "the cell of every offset in a block, for every size of cells");
}

static unsigned wrong_find(uintptr_t p, size_t cell_bytes, bool last)
{
	unsigned bad = 0;
	struct object o;

	for (size_t i = 0; i < cell_bytes; i++)
		bad += !object_find(p + i, &o) || o.addr != p || !map_has(o.block->alloc, o.cell);
	if (object_find(p + cell_bytes, &o))
		bad += o.addr != p + cell_bytes;
	else
		bad += !last;
	return bad;
}

static void test_find(void)
{
	unsigned bad = 0, unaligned = 0, dirty = 0;
	struct object o;

	for (unsigned c = 0; c < CLASSES; c++) {
		uint32_t n = BLOCK_BYTES / class_bytes(c);

		for (uint32_t i = 0; i < n; i++) {
			char *p = rt_new_bytes(class_bytes(c));

			unaligned += (uintptr_t)p % 16 != 0;
			dirty += !is_zero(p, class_bytes(c));
			object_find((uintptr_t)p, &o);
			if (i < 3 || i + 3 > n)
				bad += wrong_find((uintptr_t)p, class_bytes(c), true);
			bad += o.block->cell_bytes != class_bytes(c);
			memset(p, 0xff, class_bytes(c));
		}
	}
	CHECK(!unaligned && !dirty, "cells of each class are aligned and zero");
	CHECK(!bad, "every address inside a cell finds it, the one behind does not");
	bad = object_find(heap.base - 1, &o) + object_find(heap.base + heap.top, &o) +
	      object_find(0, &o) + object_find((uintptr_t)&o, &o);
	CHECK(!bad, "addresses outside the heap find nothing");
	/* 33 cells of 1984 leave 64 bytes */
	bad = 0;
	for (uintptr_t at = heap.base; at < heap.base + heap.top; at += BLOCK_BYTES) {
		struct block *b = block_of(at);

		if (b->kind == BLOCK_CELLS && b->n_cells * b->cell_bytes < BLOCK_BYTES)
			bad += object_find(at + BLOCK_BYTES - 1, &o);
	}
	CHECK(!bad, "what is left over at the end of a block is no cell");
}

/* Types ---------------------------------------------------------------------------------------- */

static const struct block *block_at(const void *p)
{
	struct object o;

	if (!object_find((uintptr_t)p, &o))
		rt_fatal("test: %p is no object", p);
	return o.block;
}

static void test_types(void)
{
	const struct block *b = block_at(rt_new(&pair_type));

	CHECK(b->cell_bytes == 16 && b->scan == SCAN_MASK && b->mask == 3 && b->type == &pair_type,
	      "two pointers: cells of 16 bytes, both words are searched");
	b = block_at(rt_new(&odd_type));
	CHECK(b->cell_bytes == 48 && b->scan == SCAN_MASK && b->mask == 0xa,
	      "40 bytes: cells of 48, two words of them");
	b = block_at(rt_new_array(&odd_type, 3));
	CHECK(b->cell_bytes == 128 && b->scan == SCAN_MASK && b->mask == 0x294a &&
		      b->type == &odd_type,
	      "an array of three: the class's cells, the words of all three");
	b = block_at(rt_new(&big_type));
	CHECK(b->cell_bytes == 800 && b->scan == SCAN_TYPE, "800 bytes: searched by the type");
	b = block_at(rt_new_array(&pair_type, 100));
	CHECK(b->cell_bytes == 1808 && b->scan == SCAN_WORDS, "nothing but pointers: each word");
	b = block_at(rt_new(&plain_type));
	CHECK(b->cell_bytes == 32 && b->scan == SCAN_NONE && b->type == &plain_type,
	      "no pointers: not searched");
	b = block_at(rt_new_ptrs(5));
	CHECK(b->cell_bytes == 48 && b->scan == SCAN_MASK && b->mask == 0x3f,
	      "pointers: each word of the cell");
	b = block_at(rt_new_ptrs(1000));
	CHECK(b->cell_bytes == 8192 && b->scan == SCAN_WORDS, "many pointers");
	b = block_at(rt_new_bytes(100));
	CHECK(b->cell_bytes == 112 && b->scan == SCAN_NONE && !b->type, "bytes");
	b = block_at(rt_new(&huge_type));
	CHECK(b->kind == BLOCK_LARGE && b->scan == SCAN_TYPE && b->type == &huge_type &&
		      b->bytes == 100016 && b->n_blocks == 2,
	      "a large struct: blocks of its own");
	CHECK(block_at(rt_new(&pair_type)) == block_at(rt_new(&pair_type)),
	      "two of a type lie in one block");
}

/* Tiny ----------------------------------------------------------------------------------------- */

static void test_tiny(void)
{
	static const uint8_t sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 15};
	unsigned bad = 0, shared = 0;
	char *before = NULL;
	struct object o = {0};

	for (unsigned i = 0; i < 10000; i++) {
		size_t n = sizes[i * 7 % sizeof sizes];
		char *p = rt_new_bytes(n);

		bad += (uintptr_t)p % (n & -n) != 0 || !is_zero(p, n) ||
		       !object_find((uintptr_t)p, &o) || o.addr + 16 < (uintptr_t)p + n;
		memset(p, 0xff, n);
		shared += before && o.addr == ((uintptr_t)before & ~(uintptr_t)15);
		before = p;
	}
	CHECK(!bad, "below 16 bytes: aligned as the size allows, zero, inside one cell");
	CHECK(shared > 1000, "and several to a cell");
	before = rt_new_bytes(1);
	collect((void *[]){before}, 1);
	CHECK(((uintptr_t)rt_new_bytes(1) & ~(uintptr_t)15) != ((uintptr_t)before & ~(uintptr_t)15),
	      "a cell that was begun before a marking is not gone on with");
}

/* Sweeping ------------------------------------------------------------------------------------- */

enum { MANY_OBJECTS = 20000 };

static struct rt_mem_stats stats(void)
{
	struct rt_mem_stats s = {0};

	mem_alloc_stats(&s);
	return s;
}

static void test_sweep(void)
{
	void **p = calloc(MANY_OBJECTS, sizeof *p);
	unsigned bad = 0;
	uint64_t before;
	size_t mapped;

	collect(NULL, 0);
	sweep_all();
	rt_stop_world("test", flush, NULL);
	before = stats().objects;
	for (unsigned i = 0; i < MANY_OBJECTS; i++) {
		p[i] = rt_new_bytes(200);
		memset(p[i], (int)i, 200);
	}
	CHECK(stats().objects == before + MANY_OBJECTS, "the cells in use are counted");
	mapped = pages_mapped();
	for (unsigned i = 0; i < MANY_OBJECTS; i++)
		if (i % 3)
			p[i] = NULL;
	collect(p, MANY_OBJECTS);
	sweep_all();
	rt_stop_world("test", flush, NULL);
	CHECK(stats().objects == (MANY_OBJECTS + 2) / 3,
	      "a third was marked: a third is in use (%lu)", (unsigned long)stats().objects);
	for (unsigned i = 0; i < MANY_OBJECTS; i += 3)
		for (unsigned k = 0; k < 200; k++)
			bad += ((unsigned char *)p[i])[k] != (i & 0xff);
	CHECK(!bad, "what was marked is as it was");
	for (unsigned i = 0; i < MANY_OBJECTS; i++)
		if (i % 3) {
			p[i] = rt_new_bytes(200);
			bad += !is_zero(p[i], 200);
			memset(p[i], (int)i, 200);
		}
	CHECK(!bad, "cells that came free are zero when they are handed out again");
	CHECK(pages_mapped() == mapped, "and they are the same memory");
	for (unsigned i = 0; i < MANY_OBJECTS; i++)
		for (unsigned k = 0; k < 200; k++)
			bad += ((unsigned char *)p[i])[k] != (i & 0xff);
	CHECK(!bad, "none was handed out twice");
	collect(NULL, 0);
	sweep_all();
	rt_stop_world("test", flush, NULL);
	CHECK(stats().objects == 0 && stats().heap_bytes == 0, "nothing marked: nothing is in use");
	free(p);
}

/* A P that is in the middle of a block goes on at its beginning when that came free. */
static void test_begun_block(void)
{
	const struct block *b;
	uint32_t n = 0;

	collect(NULL, 0);
	sweep_all();
	while (n++ < 200)
		b = block_at(rt_new(&begun_type));
	collect(NULL, 0);
	for (n = 0; block_at(rt_new(&begun_type)) == b; n++)
		;
	CHECK(n + 128 >= b->n_cells,
	      "a block that was begun is used up, from its beginning (%u of %u)", n, b->n_cells);
}

static void test_blocks(void)
{
	size_t mapped, given;
	void *p[40];
	unsigned bad = 0;

	for (unsigned i = 0; i < 40; i++) {
		p[i] = rt_new_bytes(1 << 20);
		bad += !is_zero(p[i], 1 << 20) || block_at(p[i])->kind != BLOCK_LARGE;
		bad += block_at((char *)p[i] + (1 << 20) - 1) != block_at(p[i]);
		memset(p[i], 0xee, 1 << 20);
	}
	CHECK(!bad, "large objects are zero, and found by their last byte");
	mapped = pages_mapped();
	for (unsigned i = 0; i < 40; i++)
		if (i % 2)
			p[i] = NULL;
	collect(p, 40);
	sweep_all();
	for (unsigned i = 1; i < 40; i += 2) {
		p[i] = rt_new_bytes((1 << 20) - 5);
		bad += !is_zero(p[i], (1 << 20) - 5);
	}
	CHECK(!bad && pages_mapped() == mapped,
	      "blocks of large objects come back, and are zero again");
	for (unsigned i = 0; i < 40; i += 2)
		bad += ((unsigned char *)p[i])[1 << 19] != 0xee;
	CHECK(!bad, "the others are as they were");
	collect(NULL, 0);
	sweep_all();
	mapped = pages_mapped();
	given = pages_scavenge(1 << 20);
	CHECK(pages_mapped() <= mapped - given + BLOCK_BYTES && given >= 35 << 20 &&
		      pages_released() >= given,
	      "free blocks go back to the kernel: %zu MiB of %zu", given >> 20, mapped >> 20);
	p[0] = rt_new_bytes(10 << 20);
	CHECK(is_zero(p[0], 10 << 20) && pages_released() <= given - (8 << 20),
	      "and come again, zero");
}

/* A marking goes on while objects are made. */
static void test_black(void)
{
	void *old[100], *made[3000];
	unsigned bad = 0;

	collect(NULL, 0);
	sweep_all();
	for (unsigned i = 0; i < 100; i++)
		old[i] = rt_new_bytes(64);
	rt_stop_world("test", mark_begin, NULL);
	for (unsigned i = 0; i < 3000; i++) {
		struct object o;

		made[i] = i % 300 ? rt_new_bytes(64) : rt_new_bytes(100000);
		bad += !object_find((uintptr_t)made[i], &o) || !map_has(o.block->mark, o.cell);
		memset(made[i], 0x77, 64);
	}
	CHECK(!bad, "what is made while marking is on is marked");
	mark(old[0]);
	rt_stop_world("test", mark_end, NULL);
	sweep_all();
	rt_stop_world("test", flush, NULL);
	for (unsigned i = 0; i < 3000; i++)
		bad += !map_has(block_at(made[i])->alloc,
				block_at(made[i])->kind == BLOCK_LARGE
					? 0
					: block_cell(block_at(made[i]), (uintptr_t)made[i])) ||
		       ((char *)made[i])[63] != 0x77;
	CHECK(!bad && stats().objects >= 3001 && stats().objects < 3001 + 64,
	      "and lives through the sweep (%lu)", (unsigned long)stats().objects);
}

static void *run(void *arg)
{
	(void)arg;
	rt_gc_set_percent(-1);
	test_classes();
	test_division();
	test_find();
	test_types();
	test_tiny();
	test_sweep();
	test_begun_block();
	test_blocks();
	test_black();
	return NULL;
}

static void *again(void *arg)
{
	(void)arg;
	rt_gc_set_percent(-1);
	CHECK(stats().objects == 0, "the next runtime begins with nothing in use");
	for (unsigned i = 0; i < 1000; i++)
		if (!is_zero(rt_new_bytes(3000), 3000)) {
			CHECK(false, "zero in the next runtime");
			break;
		}
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 1}, run, NULL, NULL);
	rt_run(&(struct rt_options){.procs = 1}, again, NULL, NULL);
	return tap_done();
}
