/*
 * kernels - small functions whose every instruction is a place to be preempted at
 *
 * Each computes a value from its seed with one kind of state live: the same seed gives the same
 * value, whatever happens between two of its instructions. They are managed text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kernel {
	const char *name;
	uint64_t (*fn)(uint64_t seed);
	bool calls_foreign; /* a stop must hold the thread there, too */
	bool allocates;     /* its values lie on the heap: heap.h */
};

extern const struct kernel kernels[];
extern const size_t n_kernels;

uint64_t kernel_heap_call(uint64_t seed);
uint64_t kernel_heap_list(uint64_t seed);
uint64_t kernel_heap_move(uint64_t seed);
uint64_t kernel_heap_register(uint64_t seed);
uint64_t kernel_heap_syscall(uint64_t seed);
uint64_t kernel_heap_vector(uint64_t seed);
