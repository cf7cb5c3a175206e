/*
 * heap - blocks of cells: what allocation, marking and sweeping share; private to runtime/
 *
 * The heap is one reservation, cut into blocks of 64 KiB. A block holds cells of one size and one type
 * (a *slot*), or is part of a large object. All that is known of a block stands beside the heap, in
 * heap.blocks: whether a word names an object is answered without touching the object.
 *
 * Shapes:  two bits a cell. alloc: the cell is handed out, or claimed by a P's run and zeroed.
 *          mark: reached in this cycle. While marking is on, claimed cells are marked at once
 *          (allocate black). Sweeping is alloc = mark, mark = 0; all blocks are swept before the next
 *          marking begins, so that alloc is exact while anything is marked.
 * Threads: a block in a P's run (cached) belongs to that P, who sweeps it too; any other one is swept
 *          by whom the cursor gave it; lists of blocks belong to their slot's lock. Marks are set by
 *          anybody, atomically.
 */
#pragma once

#include "../rt.h"
#include "../sched/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BLOCK_SHIFT = 16,
	BLOCK_BYTES = 1 << BLOCK_SHIFT,
	CELL_MIN = 16,
	CELL_MAX = 32 << 10, /* larger ones are blocks of their own */
	MAP_WORDS = BLOCK_BYTES / CELL_MIN / 64,
	RUN_BYTES = 4 << 10, /* claimed, and zeroed, at one time; one cell at least */
	SLOTS_MAX = 4096,
	NEAR_VALUES = 128, /* at least 64, the fields of an object */
	SHADED_MAX = 256, /* pointers that a P's barrier keeps before it passes them on */
};

enum block_kind {
	BLOCK_FREE, /* zero: never used */
	BLOCK_CELLS,
	BLOCK_LARGE,      /* the first of n_blocks; bit 0 of the maps is the object's */
	BLOCK_LARGE_REST, /* the first one is n_back blocks before */
};

/* How an object is searched. */
enum scan {
	SCAN_NONE,
	SCAN_MASK,  /* at most 64 words: bit i of mask is word i */
	SCAN_WORDS, /* every word is a pointer or zero */
	SCAN_TYPE,  /* type->ptrs, again every type->bytes up to the end of the cell */
};

struct block {
	/* What marking needs, in one cache line. */
	_Atomic uint8_t kind; /* released last when a block comes into use */
	uint8_t scan;
	uint16_t slot;
	uint32_t cell_bytes; /* large: 0 */
	uint32_t magic;      /* of block_cell() */
	uint32_t n_cells;    /* large: 1 */
	uint64_t mask;
	const struct rt_type *type; /* NULL: bytes, or pointers */
	size_t bytes;               /* large: of the object, as asked for, rounded to 16 */
	union {
		uint32_t n_used;   /* cells: set bits of alloc, as of the last sweep and claims */
		uint32_t n_blocks; /* large */
		uint32_t n_back;   /* rest of large */
	};
	_Atomic uint32_t sweep_gen; /* heap.sweep_gen: swept; else to be swept */
	struct block *next;         /* of the slot's list */
	_Atomic bool cached;        /* in a P's run */
	bool dirty;                 /* its memory is not known to be zero */
	_Atomic bool special;       /* finalisers or weak references point into it */
	_Atomic bool sampled;       /* heap samples do */

	_Alignas(64) _Atomic uint64_t mark[MAP_WORDS];
	_Atomic uint64_t alloc[MAP_WORDS]; /* written by the block's owner only */
};

/* Cells of one size and type; number 0 is none. */
struct slot {
	struct lock lock;
	struct block *_Atomic first; /* blocks in no run with free cells, swept */
	struct rt_type *type;        /* NULL: bytes, or pointers */
	uint32_t cell_bytes, magic, n_cells;
	uint8_t scan;
	bool array; /* cells of a class, else of the type's size */
	uint64_t mask;
	_Atomic uint64_t frees; /* cells; what was claimed each P counts in its cache */
	_Atomic uint32_t n_blocks;
};

enum watch { WATCH_MARKING = 1, WATCH_DEBUG = 2 };

/* The part of a block that a P hands out from: cells in [cur, end) are zeroed. */
struct run {
	uintptr_t cur, end;
	struct block *block;
	uint16_t next_cell; /* where the search for the next run begins */
	uint16_t n_cut; /* cells from end on that were claimed with them: the first is to be sampled */
	uint32_t cell_bytes;
};

/* One past the last cell that was claimed. */
static inline uintptr_t run_claimed_end(const struct run *r)
{
	return r->end + (uintptr_t)r->n_cut * r->cell_bytes;
}

/* Of a marker that searches within one block. */
struct near {
	uint64_t seen[MAP_WORDS + 1]; /* the block's marks and its own; a bit behind the last cell is set */
	uintptr_t value[NEAR_VALUES + 1]; /* of fields: a batch */
	uint16_t unit[BLOCK_BYTES / CELL_MIN + 1]; /* objects to be searched: offsets in units of CELL_MIN */
};

/* A P's; p->cache. */
struct cache {
	struct run runs[SLOTS_MAX];
	_Atomic uint64_t claimed[SLOTS_MAX]; /* cells since the start; only the owner adds */
	_Atomic uint32_t n_slots; /* runs beyond were never used */
	uint32_t n_shaded;
	uintptr_t tiny, tiny_end; /* of the tiny allocator: pointer-free, below 16 bytes */
	size_t unaccounted;       /* bytes claimed that heap.in_use does not have yet: below RUN_BYTES */
	int64_t sample_in;        /* bytes to claim until the next heap sample, */
	int64_t sample_rate;      /* drawn for this rate */
	int64_t assist_credit;    /* bytes that may be allocated before marking is owed */
	uintptr_t shaded[SHADED_MAX]; /* of the barrier, on their way to the markers */
	struct near near;
};

/* The calling thread's P's, or an empty one that nothing can be had from: so the fast path need not
 * ask whether there is a P. Read anew after every switch, as this_m(). */
extern __thread struct cache *rt_tls_cache __attribute__((tls_model("initial-exec")));

static inline struct cache *this_cache(void)
{
#if defined(__x86_64__)
	struct cache *c;

	__asm__ volatile("movq rt_tls_cache@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
			 : "=r"(c)
			 :
			 : "memory");
	return c;
#else
	extern struct cache *this_cache_slow(void);
	return this_cache_slow();
#endif
}

struct heap {
	/* Read by everybody, hardly ever written. */
	uintptr_t base;
	size_t top; /* bytes from base that were ever in use; grows only */
	size_t reserved;
	struct block *blocks;
	uint32_t sweep_gen; /* changed by 2, in the pause that ends a marking */
	uint32_t cycle;     /* number of the marking; changed in the pause that begins it */
	_Atomic bool marking; /* changed in pauses only, where nobody is in the runtime's text */
	_Atomic uint8_t watch; /* why stores are more than stores: enum watch */

	_Alignas(64) _Atomic uint64_t in_use; /* bytes of cells: marked by the last cycle, claimed since */
	_Atomic uint64_t trigger; /* in_use at which a cycle begins */
	_Atomic uint64_t large_allocs, large_frees, large_alloc_bytes, large_free_bytes;

	_Alignas(64) struct slot slots[SLOTS_MAX];
	_Atomic uint32_t n_slots;
};
extern struct heap heap;

_Static_assert(offsetof(struct block, mark) == 64, "what marking needs of a block is one cache line");

/* The block of an address; NULL outside the heap. */
static inline struct block *block_of(uintptr_t addr)
{
	uintptr_t off = addr - heap.base;

	/* top is read once a marking only, in effect: it grows, and what is beyond was made after */
	return off < __atomic_load_n(&heap.top, __ATOMIC_RELAXED) ? &heap.blocks[off >> BLOCK_SHIFT] : NULL;
}

static inline uintptr_t block_base(const struct block *b)
{
	return heap.base + ((uintptr_t)(b - heap.blocks) << BLOCK_SHIFT);
}

/* magic is 2^32 / cell_bytes + 1: exact for offsets below 2^16 and cells of 16 bytes or more. */
static inline uint32_t block_cell(const struct block *b, uintptr_t addr)
{
	return (uint32_t)(((addr & (BLOCK_BYTES - 1)) * (uint64_t)b->magic) >> 32);
}

static inline uintptr_t cell_addr(const struct block *b, uint32_t cell)
{
	return block_base(b) + (uintptr_t)cell * b->cell_bytes;
}

static inline bool map_has(const _Atomic uint64_t *map, uint32_t cell)
{
	return atomic_load_explicit(&map[cell / 64], memory_order_relaxed) >> cell % 64 & 1;
}

/* An object by an address of its inside. */
struct object {
	struct block *block;
	uint32_t cell;
	uintptr_t addr; /* its start */
};

/* false: addr names no cell of a block in use (whether the cell is handed out is map_has(alloc)). */
static inline bool object_find(uintptr_t addr, struct object *ret)
{
	struct block *b = block_of(addr);
	uint8_t kind;

	if (!b)
		return false;
	/* acquire: pairs with the release when the block came into use */
	kind = atomic_load_explicit(&b->kind, memory_order_acquire);
	if (__builtin_expect(kind == BLOCK_CELLS, 1)) {
		ret->block = b;
		ret->cell = block_cell(b, addr);
		ret->addr = (addr & -(uintptr_t)BLOCK_BYTES) + (uintptr_t)ret->cell * b->cell_bytes;
		return ret->cell < b->n_cells;
	}
	if (kind == BLOCK_FREE)
		return false;
	if (kind == BLOCK_LARGE_REST)
		b -= b->n_back;
	ret->block = b;
	ret->cell = 0;
	ret->addr = block_base(b);
	return addr - ret->addr < b->bytes;
}

/* pages.c: blocks ---------------------------------------------------------------------------------- */

void pages_init(void); /* reserves, at the first call; ends the process when it cannot */
/* n blocks beside each other, kind still BLOCK_FREE, dirty set on each whose memory is not zero. Ends
 * the process when there are none. The caller sets what it needs and releases kind last. */
struct block *pages_get(uint32_t n);
void pages_put(struct block *b, uint32_t n); /* kind is BLOCK_FREE already, and the maps are clear */
/* Gives memory of free blocks back to the kernel until mapped bytes are at most keep. Returns bytes. */
size_t pages_scavenge(size_t keep);
/* The next area behind that one, or the first (0), of the heap or of heap.blocks that is in use altogether
 * and no huge page yet; 0: there is none. It counts as one from here on. */
uintptr_t pages_next_full(uintptr_t after);
/* If it has been touched. Takes as long as to copy 2 MiB, in the kernel. false: this one cannot. */
bool pages_make_huge(uintptr_t area);
size_t pages_mapped(void);   /* bytes of used and of free, not given back blocks */
size_t pages_used(void);     /* bytes of used blocks */
size_t pages_released(void); /* bytes given back and not used again */

/* slot.c: size classes and types -------------------------------------------------------------------- */

enum {
	CLASSES = 40, /* at most RT_TYPE_CLASSES */
	SLOT_BYTES = 1, /* number of the first class's; those of pointers follow */
	SLOT_PTRS = SLOT_BYTES + CLASSES,
};
void slot_init(void);
uint32_t class_bytes(unsigned class);
extern uint8_t class_by_units[CELL_MAX / CELL_MIN + 1]; /* units of CELL_MIN */

static inline unsigned class_of_bytes(size_t bytes) /* at most CELL_MAX */
{
	return class_by_units[(bytes + CELL_MIN - 1) / CELL_MIN];
}

/* How bytes of objects of t beside each other are searched; *ret_mask is SCAN_MASK's. */
enum scan scan_of(const struct rt_type *t, size_t bytes, uint64_t *ret_mask);
/* Numbers of slots, made at first use. */
uint16_t slot_of_type(struct rt_type *t); /* at most CELL_MAX bytes */
uint16_t slot_of_array(struct rt_type *t, unsigned class);

static inline uint16_t slot_of_bytes(unsigned class)
{
	return (uint16_t)(SLOT_BYTES + class);
}

static inline uint16_t slot_of_ptrs(unsigned class)
{
	return (uint16_t)(SLOT_PTRS + class);
}

/* alloc.c: runs -------------------------------------------------------------------------------------- */

void heap_init(void); /* once a process; more calls do nothing */
struct cache *cache_new(void); /* of a P, never freed */
/* The calling thread has come to this one, or has none any more (NULL). */
void cache_use(struct cache *c);
/* In the pause that turns marking on: cells still in runs are marked, stale blocks in runs swept. */
void cache_begin_marking(struct cache *c);
void alloc_reset(void); /* a runtime has ended: every object is gone */

/* sweep.c ---------------------------------------------------------------------------------------------- */

void sweep_begin(void); /* in the pause that ends marking, after heap.sweep_gen += 2 */
/* Sweeps some blocks; false: nothing is left but blocks in runs, and those that others sweep just now.
 * any coroutine or thread with a P */
bool sweep_some(uint32_t n_blocks);
/* The caller's P takes a block of this slot with free cells; NULL: none turned up. */
struct block *sweep_take(struct slot *s);
/* A block in a run, by its owner, when it is not swept. true: it was not. */
bool sweep_cached(struct block *b);
/* Sweeps until n blocks came free, or it has looked at a multiple of that. */
void sweep_for_large(uint32_t n);
void sweep_reset(void); /* nothing is to be swept */
void sweep_forget_marks(void); /* a marking is given up */
/* Before a block with special set is swept: marks are those of the cycle. Whose it is defines it. */
void special_sweep(struct block *b);

/* stats.c ------------------------------------------------------------------------------------------------ */

struct slot_stats {
	const char *name; /* of the type; "bytes", "pointers" */
	uint32_t number;  /* 0: the large ones */
	bool array;
	uint32_t cell_bytes, blocks;
	uint64_t in_use, allocs, frees; /* cells */
	uint64_t in_use_bytes;
};
/* Every slot that was ever used; last the large objects, with cell_bytes 0. any */
void mem_each_slot(void (*fn)(const struct slot_stats *s, void *arg), void *arg);
/* Fills in what the allocator knows: heap_bytes, _mapped, _released, own_bytes, objects, allocs to
 * free_bytes. any */
void mem_alloc_stats(struct rt_mem_stats *ret);

/* gc.c: cycles ------------------------------------------------------------------------------------------ */

/* From the allocation's slow path, which claimed bytes: begins a cycle when due, and does the marking
 * that is owed. May poll; parks only if may_park. */
void gc_account(size_t bytes, bool may_park);

static inline bool gc_is_marking(void)
{
	/* relaxed: it changes in pauses, and a pause orders everything */
	return __builtin_expect(atomic_load_explicit(&heap.marking, memory_order_relaxed), 0);
}
