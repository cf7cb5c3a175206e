/*
 * Stacks: slots of one size in chunks of 256 MiB that are reserved and never given back. From low to
 * high a slot is a guard of 4 pages, the stack, and the struct rt_co at its top, so that a parked
 * coroutine with a shallow stack is one page.
 *
 * Slots lie pages apart. With the same place in each, all coroutines would use the same few sets of the
 * first-level cache: more than eight that take turns would drive one another out. And from a constant
 * distance between them the processor learns to fetch the next slots early: those that another P
 * has in use are torn from its cache. So the place of the struct moves by some lines, never twice in
 * a row by as many.
 *
 * The guard is made before the first touch, by MADV_GUARD_INSTALL (Linux 6.13), which needs no VMA
 * of its own; elsewhere by mprotect, and then vm.max_map_count bounds the number of coroutines. A
 * page per guard would not do: a 16 KiB frame can step over it unprobed. Huge pages are refused:
 * the first touch of a stack would cost 2 MiB.
 */
#include "annotate.h"
#include "sched.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

enum {
	GUARD_BYTES = 16 << 10,
	CHUNK_BYTES = 256 << 20,
	CHUNKS_MAX = 1 << 13, /* 2 TiB of address space */
	CLASSES = 4,
	BATCH = 32, /* slots that move between a P and the common list at one time */
	COLOURS = 16, /* places of the struct in a slot, a line apart; rt-gdb.py knows them */
};

static const size_t class_bytes[CLASSES] = {64 << 10, 256 << 10, 1 << 20, 8 << 20};

struct chunk {
	uintptr_t base;
	size_t slot_bytes;
	unsigned class;
	_Atomic uint32_t n_used; /* slots that were ever handed out */
};

static struct {
	struct lock lock;
	struct chunk chunks[CHUNKS_MAX];
	_Atomic uint32_t n_chunks;
	struct chunk *open[CLASSES]; /* with room for another slot */
	struct rt_co *free[CLASSES];
	bool by_mprotect;
} stacks;

static unsigned class_of(size_t bytes)
{
	unsigned c = 0;

	while (c + 1 < CLASSES && class_bytes[c] < bytes)
		c++;
	return c;
}

static struct chunk *new_chunk(unsigned class)
{
	uint32_t n = atomic_load_explicit(&stacks.n_chunks, memory_order_relaxed);
	struct chunk *c = &stacks.chunks[n];
	void *p;

	if (n == CHUNKS_MAX)
		return NULL;
	p = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, CHUNK_BYTES, MADV_NOHUGEPAGE);
	c->base = (uintptr_t)p;
	c->slot_bytes = class_bytes[class] + GUARD_BYTES;
	c->class = class;
	/* release: pairs with the acquire in chunk_count(): the chunk is whole */
	atomic_store_explicit(&stacks.n_chunks, n + 1, memory_order_release);
	return c;
}

static uint32_t chunk_count(void)
{
	return atomic_load_explicit(&stacks.n_chunks, memory_order_acquire);
}

static struct rt_co *slot_co(const struct chunk *c, uint32_t i)
{
	uintptr_t end = c->base + (i + 1) * c->slot_bytes;

	end -= i * (i + 1) / 2 % COLOURS * CACHE_LINE;
	return (struct rt_co *)((end - sizeof(struct rt_co)) & ~(uintptr_t)(CACHE_LINE - 1));
}

static bool guard(uintptr_t lo)
{
	if (!stacks.by_mprotect) {
		if (madvise((void *)lo, GUARD_BYTES, MADV_GUARD_INSTALL) == 0)
			return true;
		stacks.by_mprotect = true;
	}
	return mprotect((void *)lo, GUARD_BYTES, PROT_NONE) == 0;
}

static struct rt_co *new_slot(unsigned class)
{
	struct chunk *c = stacks.open[class];
	uint32_t i = c ? atomic_load_explicit(&c->n_used, memory_order_relaxed) : 0;
	uintptr_t lo;
	struct rt_co *co;

	if (!c || (i + 1) * c->slot_bytes > CHUNK_BYTES) {
		c = new_chunk(class);
		i = 0;
	}
	if (!c)
		return NULL;
	stacks.open[class] = c;
	lo = c->base + i * c->slot_bytes;
	if (!guard(lo))
		return NULL;
	co = slot_co(c, i);
	co->stack_lo = lo + GUARD_BYTES;
	co->stack_class = (uint8_t)class;
	annotate_slot(co);
	/* release: pairs with the acquire in stack_each() */
	atomic_store_explicit(&c->n_used, i + 1, memory_order_release);
	return co;
}

/* One slot for the caller, and some more into the list of a P while they lie ready. */
static struct rt_co *take(struct p *p, unsigned class)
{
	struct rt_co *co;

	lock_get(&stacks.lock);
	co = stacks.free[class];
	if (co)
		stacks.free[class] = co->next;
	else
		co = new_slot(class);
	for (unsigned i = 1; class == 0 && i < BATCH && stacks.free[0]; i++) {
		struct rt_co *more = stacks.free[0];

		stacks.free[0] = more->next;
		more->next = p->free;
		p->free = more;
		p->n_free++;
	}
	lock_put(&stacks.lock);
	return co;
}

struct rt_co *stack_get(struct p *p, size_t stack_bytes)
{
	unsigned class = class_of(stack_bytes ? stack_bytes : sched.stack_bytes);
	struct rt_co *co = p->free;

	if (class != 0 || !co)
		return take(p, class);
	p->free = co->next;
	p->n_free--;
	return co;
}

void stack_put(struct p *p, struct rt_co *co)
{
	if (co->stack_class == 0) {
		co->next = p->free;
		p->free = co;
		if (++p->n_free < 4 * BATCH)
			return;
	}
	lock_get(&stacks.lock);
	if (co->stack_class != 0) {
		co->next = stacks.free[co->stack_class];
		stacks.free[co->stack_class] = co;
	}
	while (p->n_free > 2 * BATCH) {
		co = p->free;
		p->free = co->next;
		p->n_free--;
		co->next = stacks.free[0];
		stacks.free[0] = co;
	}
	lock_put(&stacks.lock);
}

void stack_each(void (*fn)(struct rt_co *co, void *arg), void *arg)
{
	for (uint32_t k = 0; k < chunk_count(); k++) {
		struct chunk *c = &stacks.chunks[k];
		uint32_t n = atomic_load_explicit(&c->n_used, memory_order_acquire);

		for (uint32_t i = 0; i < n; i++)
			fn(slot_co(c, i), arg);
	}
}

/* A place is a chunk and a slot of it. */
bool stack_next_slice(_Atomic uint64_t *next, uint64_t *ret, uint32_t n)
{
	uint64_t at = atomic_load_explicit(next, memory_order_relaxed);

	for (;;) {
		uint64_t chunk = at >> 32, after;

		if (chunk >= chunk_count())
			return false;
		if ((uint32_t)at >= atomic_load_explicit(&stacks.chunks[chunk].n_used, memory_order_acquire))
			after = (chunk + 1) << 32;
		else
			after = at + n;
		if (!atomic_compare_exchange_weak_explicit(next, &at, after, memory_order_relaxed,
							   memory_order_relaxed))
			continue;
		if (after >> 32 == chunk) {
			*ret = at;
			return true;
		}
		at = after;
	}
}

void stack_slice(uint64_t at, uint32_t n, void (*fn)(struct rt_co *co, void *arg), void *arg)
{
	struct chunk *c = &stacks.chunks[at >> 32];
	uint32_t end = atomic_load_explicit(&c->n_used, memory_order_acquire), i = (uint32_t)at;

	if (end > i + n)
		end = i + n;
	for (uint32_t ahead = i; ahead < i + 4 && ahead < end; ahead++)
		__builtin_prefetch(slot_co(c, ahead));
	for (; i < end; i++) {
		if (i + 4 < end)
			__builtin_prefetch(slot_co(c, i + 4));
		fn(slot_co(c, i), arg);
	}
}

static void forget(struct rt_co *co, void *arg)
{
	atomic_store_explicit(&co->state, CO_IDLE, memory_order_relaxed);
	co->sampled = 0;
	co->next = stacks.free[co->stack_class];
	stacks.free[co->stack_class] = co;
}

void stack_forget_all(void)
{
	memset(stacks.free, 0, sizeof stacks.free);
	stack_each(forget, NULL);
}

void stack_each_chunk(void (*fn)(uintptr_t lo, uintptr_t hi, void *arg), void *arg)
{
	for (uint32_t k = 0; k < chunk_count(); k++)
		fn(stacks.chunks[k].base, stacks.chunks[k].base + CHUNK_BYTES, arg);
}

static struct rt_co *slot_at(uintptr_t addr, bool *ret_guard)
{
	for (uint32_t k = 0; k < chunk_count(); k++) {
		const struct chunk *c = &stacks.chunks[k];
		uintptr_t off = addr - c->base;

		if (off >= CHUNK_BYTES)
			continue;
		*ret_guard = off % c->slot_bytes < GUARD_BYTES;
		off /= c->slot_bytes;
		return off < atomic_load_explicit(&c->n_used, memory_order_acquire)
			? slot_co(c, (uint32_t)off) : NULL;
	}
	return NULL;
}

struct rt_co *stack_guarded_by(uintptr_t addr)
{
	bool in_guard = false;
	struct rt_co *co = slot_at(addr, &in_guard);

	return in_guard ? co : NULL;
}

struct rt_co *stack_of(uintptr_t addr)
{
	bool in_guard;
	struct rt_co *co = slot_at(addr, &in_guard);

	return co && stack_holds(co, addr) ? co : NULL;
}
