/*
 * Blocks of the heap: first fit at the lowest address, so that the heap stays dense and what is
 * given back to the kernel lies at its end.
 *
 * The whole address space is reserved at once, readable and writable: the kernel gives memory at
 * the first touch, and taking a block needs no system call. A block is used or free, and mapped
 * (the kernel may have given memory for it) or not.
 *
 * Huge pages: areas that are full after a cycle are made one by the collector, those of the first 128 MiB
 * only when the heap has twice as much, and of the table of blocks (2 MiB for each 120 MiB of heap). Marking
 * a large heap misses the TLB with every object and with every pointer's block: a random graph of 8.4
 * million took 58 ns of CPU an object with huge pages throughout and 100 with none. Nobody gets one at
 * the first touch: a thread that clears 2 MiB in a page fault cannot be stopped meanwhile (beside other load
 * p99 of the pauses was 28 ms), and a small heap has nothing to win.
 */
#include "bits.h"
#include "heap.h"
#include "../sched/sched.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifdef RT_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define RESERVE_MAX ((size_t)256 << 30)
#define RESERVE_MIN ((size_t)32 << 20)
#define HUGE_FROM ((size_t)128 << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
/* Those who shadow every byte of a mapping. */
#define RESERVE_SHADOWED ((size_t)2 << 30)

enum {
	BLOCKS_MAX = 256 << (30 - BLOCK_SHIFT),
	SCAVENGE_BLOCKS = 64, /* given back in one system call */
	ALIGN = 2 << 20, /* and the bytes of an area */
	AREA_BLOCKS = ALIGN >> BLOCK_SHIFT,
	PAGE_BYTES = 4 << 10,
};
_Static_assert(AREA_BLOCKS == 32, "an area is half a word of the maps");

struct heap heap;

static struct {
	struct lock lock;
	size_t n;          /* blocks reserved */
	size_t first_free; /* every block below is used */
	bits used[BLOCKS_MAX / 64], mapped[BLOCKS_MAX / 64];
	bits released[BLOCKS_MAX / 64]; /* was given back, and not used since */
	bits huge[BLOCKS_MAX / AREA_BLOCKS / 64]; /* areas that are one, and gave nothing back since */
	size_t huge_table; /* bytes of the table of blocks, from its start */
	_Atomic size_t n_mapped, n_released, n_used;
} pages;

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uintptr_t align(uintptr_t p)
{
	return (p + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1);
}

/* Both, and as much again is left for stacks and the rest where address space is short. */
static bool reserve_both(size_t bytes, bool scarce)
{
	size_t meta = (bytes >> BLOCK_SHIFT) * sizeof(struct block);
	size_t spare_bytes = scarce ? bytes : ALIGN;
	void *p = reserve(bytes + ALIGN), *blocks = reserve(meta + ALIGN), *spare = reserve(spare_bytes);

	if (spare)
		munmap(spare, spare_bytes);
	if (!p || !blocks || !spare) {
		if (p)
			munmap(p, bytes + ALIGN);
		if (blocks)
			munmap(blocks, meta + ALIGN);
		return false;
	}
	heap.base = align((uintptr_t)p);
	heap.blocks = (struct block *)align((uintptr_t)blocks);
	heap.reserved = bytes;
	pages.n = bytes >> BLOCK_SHIFT;
	return true;
}

static size_t reserve_at_most(void)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	return RESERVE_SHADOWED;
#endif
	/* valgrind goes through every byte of a mapping. */
	return RUNNING_ON_VALGRIND ? RESERVE_SHADOWED / 16 : RESERVE_MAX;
}

void pages_init(void)
{
	size_t most = reserve_at_most(), bytes = most;

	if (heap.reserved)
		return;
	for (; !reserve_both(bytes, bytes < most); bytes /= 2)
		if (bytes <= RESERVE_MIN)
			rt_fatal("cannot reserve %zu MiB of address space for the heap: %s (raise "
				 "RLIMIT_AS, ulimit -v)",
				 bytes >> 20, strerror(errno));
}

/* Taking and putting back ---------------------------------------------------------------------- */

/* The first of n free blocks beside each other; pages.n: there are none. */
static size_t find(uint32_t n)
{
	size_t i = bits_find_clear(pages.used, pages.first_free, pages.n);

	pages.first_free = i;
	while (i + n <= pages.n) {
		size_t end = bits_find_set(pages.used, i, i + n);

		if (end == i + n)
			return i;
		i = bits_find_clear(pages.used, end, pages.n);
	}
	return pages.n;
}

/* [from, end) come into use. */
static void take(size_t from, size_t end)
{
	size_t n_mapped = 0, n_released = 0;

	for (size_t i = from / 64; i <= (end - 1) / 64; i++) {
		uint64_t among = bits_among(i, from, end);

		n_mapped += bits_count(among & ~pages.mapped[i]);
		n_released += bits_count(among & pages.released[i]);
	}
	bits_set(pages.used, from, end);
	bits_set(pages.mapped, from, end);
	bits_clear(pages.released, from, end);
	pages.n_used += end - from;
	pages.n_mapped += n_mapped;
	pages.n_released -= n_released;
	if (heap.top < end << BLOCK_SHIFT)
		__atomic_store_n(&heap.top, end << BLOCK_SHIFT, __ATOMIC_RELAXED);
}

struct block *pages_get(uint32_t n)
{
	size_t i;

	lock_get(&pages.lock);
	i = find(n);
	if (i < pages.n)
		take(i, i + n);
	lock_put(&pages.lock);
	if (i == pages.n)
		rt_fatal("out of memory: no %zu KiB beside each other are free in the heap's %zu "
			 "MiB of address space (%zu MiB in use; raise RLIMIT_AS or keep less alive)",
			 (size_t)n << (BLOCK_SHIFT - 10), heap.reserved >> 20,
			 pages_mapped() >> 20);
	return &heap.blocks[i];
}

void pages_put(struct block *b, uint32_t n)
{
	size_t i = (size_t)(b - heap.blocks);

	for (uint32_t k = 0; k < n; k++)
		b[k].dirty = true;
	lock_get(&pages.lock);
	bits_clear(pages.used, i, i + n);
	pages.n_used -= n;
	if (i < pages.first_free)
		pages.first_free = i;
	lock_put(&pages.lock);
}

/* Back to the kernel --------------------------------------------------------------------------- */

/* Takes the highest free blocks with memory below *end, at most SCAVENGE_BLOCKS at one time. */
static size_t take_mapped(size_t *end)
{
	size_t i = *end, n = 0;

	for (; i > 0 && n < SCAVENGE_BLOCKS; i--) {
		uint64_t bit = UINT64_C(1) << (i - 1) % 64;
		bool gives = pages.mapped[(i - 1) / 64] & ~pages.used[(i - 1) / 64] & bit;

		if (!gives && n > 0)
			break;
		n += gives;
	}
	*end = i;
	if (n)
		bits_set(pages.used, i, i + n);
	return n;
}

static void put_released(size_t i, size_t n)
{
	for (size_t k = i; k < i + n; k++)
		heap.blocks[k].dirty = false;
	bits_clear(pages.mapped, i, i + n);
	bits_set(pages.released, i, i + n);
	bits_clear(pages.huge, i / AREA_BLOCKS, (i + n - 1) / AREA_BLOCKS + 1);
	pages.n_mapped -= n;
	pages.n_released += n;
}

size_t pages_scavenge(size_t keep)
{
	/* relaxed: what is beyond came into use just now */
	size_t end = __atomic_load_n(&heap.top, __ATOMIC_RELAXED) >> BLOCK_SHIFT, done = 0, n;

	do {
		bool gone;

		lock_get(&pages.lock);
		n = pages_mapped() > keep ? take_mapped(&end) : 0;
		lock_put(&pages.lock);
		if (!n)
			break;
		/* Nobody else has them meanwhile. */
		gone = madvise((void *)(heap.base + (end << BLOCK_SHIFT)), n << BLOCK_SHIFT,
			       MADV_DONTNEED) == 0;
		lock_get(&pages.lock);
		if (gone)
			put_released(end, n);
		bits_clear(pages.used, end, end + n);
		if (end < pages.first_free)
			pages.first_free = end;
		lock_put(&pages.lock);
		done += gone ? n : 0;
	} while (end > 0);
	return done << BLOCK_SHIFT;
}

/* Huge pages ----------------------------------------------------------------------------------- */

static bool is_full(size_t area)
{
	uint64_t word = area * AREA_BLOCKS / 64, shift = area * AREA_BLOCKS % 64;

	return (uint32_t)((pages.used[word] & pages.mapped[word]) >> shift) == UINT32_MAX;
}

static bool is_of_heap(uintptr_t addr)
{
	return addr - heap.base < heap.reserved;
}

static uintptr_t next_of_heap(uintptr_t after)
{
	size_t area = heap.top < 2 * HUGE_FROM ? HUGE_FROM / ALIGN : 0, end = heap.top / ALIGN;

	if (is_of_heap(after))
		area = (after - heap.base) / ALIGN + 1;
	while (area < end && (!is_full(area) || map_has(pages.huge, (uint32_t)area)))
		area++;
	if (area >= end)
		return 0;
	bits_set(pages.huge, area, area + 1);
	return heap.base + area * ALIGN;
}

/* Below heap.top it is dense, and nothing of it is given back. */
static uintptr_t next_of_table(void)
{
	uintptr_t area = (uintptr_t)heap.blocks + pages.huge_table;

	if (area + ALIGN > (uintptr_t)&heap.blocks[heap.top >> BLOCK_SHIFT])
		return 0;
	pages.huge_table += ALIGN;
	return area;
}

uintptr_t pages_next_full(uintptr_t after)
{
	uintptr_t area = 0;

	lock_get(&pages.lock);
	if (!is_of_heap(after))
		area = next_of_table();
	if (!area)
		area = next_of_heap(after);
	lock_put(&pages.lock);
	return area;
}

/* The program has touched nearly all of it: what a large object never used stays unmapped. */
static bool is_touched(uintptr_t area)
{
	unsigned char in[ALIGN / PAGE_BYTES];
	unsigned n = 0;

	if (mincore((void *)area, ALIGN, in) < 0)
		return false;
	for (unsigned i = 0; i < sizeof in; i++)
		n += in[i] & 1;
	return n >= sizeof in / 8 * 7;
}

bool pages_make_huge(uintptr_t area)
{
	size_t at = (area - heap.base) / ALIGN;

	if (is_touched(area))
		return madvise((void *)area, ALIGN, MADV_COLLAPSE) == 0 || errno != EINVAL;
	if (is_of_heap(area)) {
		lock_get(&pages.lock);
		bits_clear(pages.huge, at, at + 1);
		lock_put(&pages.lock);
	}
	return true;
}

size_t pages_mapped(void)
{
	return atomic_load_explicit(&pages.n_mapped, memory_order_relaxed) << BLOCK_SHIFT;
}

size_t pages_used(void)
{
	return atomic_load_explicit(&pages.n_used, memory_order_relaxed) << BLOCK_SHIFT;
}

size_t pages_released(void)
{
	return atomic_load_explicit(&pages.n_released, memory_order_relaxed) << BLOCK_SHIFT;
}
