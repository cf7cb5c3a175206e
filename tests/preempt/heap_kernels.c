#include "kernels.h"

#include "heap.h"
#include "rt.h"

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185;
	return x ^ x >> 27;
}

uint64_t kernel_heap_list(uint64_t seed)
{
	struct heap_node *first = NULL;

	for (unsigned i = 0; i < 6; i++) {
		struct heap_node *n = rt_new(heap_node_type);

		n->value[i % 4] = seed = mix(seed + i);
		RT_SET(n->next, first);
		first = n;
	}
	return heap_finish(first);
}

/* The only references move from the cabinet to a new object, or go. */
uint64_t kernel_heap_move(uint64_t seed)
{
	struct heap_node *cabinet, *n;

	heap_fill_cabinet(seed);
	for (unsigned i = 0; i < 3; i++)
		seed = mix(seed + i);
	cabinet = heap_cabinet();
	n = rt_new(heap_node_type);
	n->value[0] = seed;
	RT_SET(n->other, cabinet->next);
	RT_SET(cabinet->next, NULL);
	n->value[1] = mix(mix(seed));
	RT_SET(cabinet->other, NULL);
	return heap_finish(n);
}

/* During the call nobody else knows the bytes: its frame does. */
uint64_t kernel_heap_syscall(uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		seed = mix(seed + i);
	return heap_finish_bytes(rt_blocking(heap_read, heap_ask(seed)));
}

/* A register does. */
uint64_t kernel_heap_call(uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		seed = mix(seed + i);
	return heap_finish_bytes(heap_read_in_call(heap_ask(seed)));
}
