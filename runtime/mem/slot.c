/*
 * Size classes, and slots: which cells a type's objects live in.
 *
 * A single object of a type has cells of exactly its size (a multiple of 16); arrays, pointers and
 * bytes have those of a class. From 1 KiB on the classes are what divides a block with little left
 * over; the powers of two are among them.
 */
#include "heap.h"
#include "../sched/sched.h"

static const uint16_t classes[CLASSES] = {
	16,   32,   48,   64,   80,   96,   112,  128,   144,   160,   176,   192,   224,  256,
	320,  384,  448,  512,  640,  768,  896,  1024,  1232,  1520,  1808,  2048,  2512, 2976,
	3440, 4096, 5040, 5952, 7280, 8192, 9360, 10912, 13104, 16384, 21840, 32768,
};

uint8_t class_by_units[CELL_MAX / CELL_MIN + 1];
static struct lock lock; /* of making slots */

uint32_t class_bytes(unsigned class)
{
	return classes[class];
}

/* Searching ------------------------------------------------------------------------------------ */

static void check_type(const struct rt_type *t)
{
	for (uint32_t i = 0; i < t->n_ptrs; i++)
		if (t->ptrs[i] % 8 != 0 || t->ptrs[i] + 8 > t->bytes ||
		    (i > 0 && t->ptrs[i] <= t->ptrs[i - 1]))
			rt_fatal("type %s: pointer %u at offset %u: want multiples of 8 within %u "
				 "bytes, ascending"
				 " (make the type with RT_TYPE)",
				 t->name, i, t->ptrs[i], t->bytes);
	if (t->n_ptrs && t->bytes % 8 != 0)
		rt_fatal("type %s: %u bytes with pointers: want a multiple of 8", t->name,
			 t->bytes);
}

/* Of cells in which objects of t stand beside each other. */
static uint64_t mask_of(const struct rt_type *t, uint32_t cell_bytes)
{
	uint64_t mask = 0;

	for (uint32_t at = 0; at + t->bytes <= cell_bytes; at += t->bytes)
		for (uint32_t i = 0; i < t->n_ptrs; i++)
			mask |= UINT64_C(1) << (at + t->ptrs[i]) / 8;
	return mask;
}

enum scan scan_of(const struct rt_type *t, size_t bytes, uint64_t *ret_mask)
{
	*ret_mask = 0;
	if (t->n_ptrs == 0)
		return SCAN_NONE;
	if (bytes <= 64 * 8) {
		*ret_mask = mask_of(t, (uint32_t)bytes);
		return SCAN_MASK;
	}
	return t->n_ptrs == t->bytes / 8 ? SCAN_WORDS : SCAN_TYPE;
}

/* Making --------------------------------------------------------------------------------------- */

static uint16_t make(struct rt_type *t, uint32_t cell_bytes, bool array)
{
	uint32_t n = atomic_load_explicit(&heap.n_slots, memory_order_relaxed);
	struct slot *s = &heap.slots[n];

	if (n == SLOTS_MAX)
		rt_fatal("type %s: the heap has all of its %d kinds of cells (use fewer types, or "
			 "arrays of fewer sizes)",
			 t->name, SLOTS_MAX - 1);
	s->type = t;
	s->array = array;
	s->cell_bytes = cell_bytes;
	s->magic = (uint32_t)((UINT64_C(1) << 32) / cell_bytes + 1);
	s->n_cells = BLOCK_BYTES / cell_bytes;
	if (t)
		s->scan = (uint8_t)scan_of(t, cell_bytes, &s->mask);
	/* release: pairs with the acquire of who looks at every slot */
	atomic_store_explicit(&heap.n_slots, n + 1, memory_order_release);
	return (uint16_t)n;
}

/* *number is 0 until the slot is made. */
static uint16_t get(uint16_t *number, struct rt_type *t, uint32_t cell_bytes, bool array)
{
	/* acquire: pairs with the release below; the slot is whole */
	uint16_t n = __atomic_load_n(number, __ATOMIC_ACQUIRE);

	if (n)
		return n;
	check_type(t);
	lock_get(&lock);
	n = __atomic_load_n(number, __ATOMIC_RELAXED);
	if (!n) {
		n = make(t, cell_bytes, array);
		__atomic_store_n(number, n, __ATOMIC_RELEASE);
	}
	lock_put(&lock);
	return n;
}

uint16_t slot_of_type(struct rt_type *t)
{
	uint32_t bytes = (t->bytes + CELL_MIN - 1) & ~(CELL_MIN - 1u);

	return get(&t->slot, t, bytes ? bytes : CELL_MIN, false);
}

uint16_t slot_of_array(struct rt_type *t, unsigned class)
{
	return get(&t->array_slots[class], t, class_bytes(class), true);
}

/* Number 0 is none; bytes and pointers of each class have the next numbers. */
void slot_init(void)
{
	for (unsigned c = 0, i = 0; c < CLASSES; c++)
		while (i <= classes[c] / CELL_MIN)
			class_by_units[i++] = (uint8_t)c;
	atomic_store(&heap.n_slots, SLOT_BYTES);
	for (unsigned c = 0; c < CLASSES; c++)
		make(NULL, class_bytes(c), true);
	for (unsigned c = 0; c < CLASSES; c++) {
		struct slot *s = &heap.slots[make(NULL, class_bytes(c), true)];

		s->scan = s->cell_bytes <= 64 * 8 ? SCAN_MASK : SCAN_WORDS;
		s->mask = s->cell_bytes < 64 * 8 ? (UINT64_C(1) << s->cell_bytes / 8) - 1
						 : ~UINT64_C(0);
	}
}
