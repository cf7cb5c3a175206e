/* What the allocator tells about itself. Numbers of a moment: nothing is stopped for them. */
#include "heap.h"
#include "sample.h"
#include "../sched/sched.h"

/* Cells that every P claimed, without those that still are in its run. */
static uint64_t handed_out(uint32_t number)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct cache *c = sched.ps[i]->cache;
		struct run *r = &c->runs[number];
		uintptr_t cur = __atomic_load_n(&r->cur, __ATOMIC_RELAXED);
		uintptr_t end = __atomic_load_n(&r->end, __ATOMIC_RELAXED) +
				(uintptr_t)__atomic_load_n(&r->n_cut, __ATOMIC_RELAXED) *
					heap.slots[number].cell_bytes;
		uint64_t left = end > cur && end - cur <= BLOCK_BYTES
					? (end - cur) / heap.slots[number].cell_bytes
					: 0;

		sum += count_read(&c->claimed[number]) - left;
	}
	return sum;
}

static struct slot_stats of_slot(uint32_t number)
{
	const struct slot *s = &heap.slots[number];
	struct slot_stats ret = {
		.name = s->type ? s->type->name : s->scan == SCAN_NONE ? "bytes" : "pointers",
		.number = number,
		.array = s->array && s->type,
		.cell_bytes = s->cell_bytes,
		.blocks = count_read(&s->n_blocks),
		.frees = count_read(&s->frees), /* before the others: they only grow */
	};

	ret.allocs = handed_out(number);
	ret.in_use = ret.allocs > ret.frees ? ret.allocs - ret.frees : 0;
	ret.in_use_bytes = ret.in_use * ret.cell_bytes;
	return ret;
}

static struct slot_stats of_large(void)
{
	struct slot_stats ret = {
		.name = "large",
		.frees = count_read(&heap.large_frees),
	};
	uint64_t bytes, bytes_freed;

	ret.allocs = count_read(&heap.large_allocs);
	ret.in_use = ret.allocs > ret.frees ? ret.allocs - ret.frees : 0;
	bytes_freed = count_read(&heap.large_free_bytes);
	bytes = count_read(&heap.large_alloc_bytes);
	ret.in_use_bytes = bytes > bytes_freed ? bytes - bytes_freed : 0;
	return ret;
}

void mem_each_slot(void (*fn)(const struct slot_stats *s, void *arg), void *arg)
{
	/* acquire: pairs with the release in slot.c's make() */
	uint32_t n = atomic_load_explicit(&heap.n_slots, memory_order_acquire);
	struct slot_stats s;

	for (uint32_t i = SLOT_BYTES; i < n; i++) {
		s = of_slot(i);
		if (s.allocs)
			fn(&s, arg);
	}
	s = of_large();
	if (s.allocs)
		fn(&s, arg);
}

static void add(const struct slot_stats *s, void *arg)
{
	struct rt_mem_stats *sum = arg;

	sum->objects += s->in_use;
	sum->allocs += s->allocs;
	sum->frees += s->frees;
	sum->alloc_bytes += s->allocs * s->cell_bytes;
	sum->free_bytes += s->frees * s->cell_bytes;
}

void mem_alloc_stats(struct rt_mem_stats *ret)
{
	ret->objects = ret->allocs = ret->frees = 0;
	ret->free_bytes = count_read(&heap.large_free_bytes);
	ret->alloc_bytes = count_read(&heap.large_alloc_bytes);
	mem_each_slot(add, ret);
	ret->heap_bytes =
		ret->alloc_bytes > ret->free_bytes ? ret->alloc_bytes - ret->free_bytes : 0;
	ret->heap_mapped = pages_mapped();
	ret->heap_released = pages_released();
	ret->own_bytes = (__atomic_load_n(&heap.top, __ATOMIC_RELAXED) >> BLOCK_SHIFT) *
			 sizeof(struct block) + sample_own_bytes();
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		ret->own_bytes += count_read(&sched.ps[i]->cache->n_slots) *
				  (sizeof(struct run) + sizeof(uint64_t));
}
