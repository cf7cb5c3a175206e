/*
 * Pins and added ranges. A pin is counted in a hash table with open addressing, that grows by mmap: it
 * is asked for by foreign threads too, and read by markers under its lock.
 */
#include "pins.h"

#include "../sched/sched.h"
#include "barrier.h"

#include <sys/mman.h>

enum { RANGES_MAX = 256, PINS_MIN = 512 };

struct pin {
	uintptr_t addr; /* 0: never used */
	uint64_t n;     /* 0: unpinned; the place is used again for the same address */
};

static struct {
	struct lock lock;
	struct pin *table;
	size_t size, used; /* size is a power of 2 */
	struct {
		uintptr_t lo, hi;
	} ranges[RANGES_MAX];
	unsigned n_ranges;
} pins;

static struct pin *place(struct pin *table, size_t size, uintptr_t addr)
{
	size_t i = (addr >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20;

	while (table[i & (size - 1)].addr && table[i & (size - 1)].addr != addr)
		i++;
	return &table[i & (size - 1)];
}

static struct pin *new_table(size_t size)
{
	void *p = mmap(NULL, size * sizeof(struct pin), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		rt_fatal("no memory for %zu pins", size);
	return p;
}

/* Under the lock. Those that were unpinned are left behind. */
static void make_room(void)
{
	size_t live = 0, size = PINS_MIN;
	struct pin *table;

	if (pins.table && pins.used < pins.size / 2)
		return;
	for (size_t i = 0; i < pins.size; i++)
		live += pins.table[i].n != 0;
	while (size < 4 * (live + 1))
		size *= 2;
	table = new_table(size);
	for (size_t i = 0; i < pins.size; i++)
		if (pins.table[i].n)
			*place(table, size, pins.table[i].addr) = pins.table[i];
	if (pins.table)
		munmap(pins.table, pins.size * sizeof *pins.table);
	pins.table = table;
	pins.size = size;
	pins.used = live;
}

void rt_pin(void *obj)
{
	struct pin *p;

	if (!obj)
		return;
	lock_get(&pins.lock);
	make_room();
	p = place(pins.table, pins.size, (uintptr_t)obj);
	pins.used += !p->addr;
	p->addr = (uintptr_t)obj;
	p->n++;
	lock_put(&pins.lock);
}

void rt_unpin(void *obj)
{
	struct pin *p = NULL;

	if (!obj)
		return;
	lock_get(&pins.lock);
	if (pins.table)
		p = place(pins.table, pins.size, (uintptr_t)obj);
	if (p && p->n) {
		p->n--;
		/* It may be known to nobody else, and to a caller that was searched already. */
		if (gc_is_marking())
			barrier_shade_words(&obj, sizeof obj);
	} else {
		p = NULL;
	}
	lock_put(&pins.lock);
	if (!p)
		rt_fatal("%p is unpinned and was not pinned", obj);
}

void rt_root_add(const void *addr, size_t bytes)
{
	bool full;

	lock_get(&pins.lock);
	full = pins.n_ranges == RANGES_MAX;
	if (!full) {
		pins.ranges[pins.n_ranges].lo = (uintptr_t)addr;
		pins.ranges[pins.n_ranges++].hi = (uintptr_t)addr + bytes;
	}
	lock_put(&pins.lock);
	if (full)
		rt_fatal("more than %d ranges are roots (rt_root_add)", RANGES_MAX);
}

void rt_root_remove(const void *addr)
{
	bool found = false;

	lock_get(&pins.lock);
	for (unsigned i = 0; i < pins.n_ranges && !found; i++) {
		if (pins.ranges[i].lo != (uintptr_t)addr)
			continue;
		pins.ranges[i] = pins.ranges[--pins.n_ranges];
		found = true;
	}
	lock_put(&pins.lock);
	if (!found)
		rt_fatal("%p is no range of rt_root_add", addr);
}

void pins_search(struct marker *k)
{
	lock_get(&pins.lock);
	for (size_t i = 0; i < pins.size; i++)
		if (pins.table[i].n)
			mark_word(k, pins.table[i].addr);
	lock_put(&pins.lock);
}

/* Without the lock: the world stands still, and the lock is never held by who does. */
void pins_search_ranges(struct marker *k)
{
	for (unsigned i = 0; i < pins.n_ranges; i++)
		mark_range(k, pins.ranges[i].lo, pins.ranges[i].hi);
}

void pins_reset(void)
{
	lock_get(&pins.lock);
	if (pins.table)
		munmap(pins.table, pins.size * sizeof *pins.table);
	pins.table = NULL;
	pins.size = pins.used = 0;
	pins.n_ranges = 0;
	lock_put(&pins.lock);
}
