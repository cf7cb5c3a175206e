/* leak_memory - every word of the process that lies outside some spans; private to runtime/ */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct span {
	uintptr_t lo, hi;
};

enum { LEAK_MEMORY_BUFFER = 512 << 10 };

/*
 * Words are given in pieces, in the order of their addresses, as copies that the kernel made in buffer
 * (LEAK_MEMORY_BUFFER bytes): memory that goes away meanwhile is no fault. Large spans are not read;
 * small ones are in the pieces, and the caller leaves them out. Allocates nothing.
 * Errors: what opening and reading /proc/self/maps and mem may give
 */
int leak_memory_each(const struct span *large, size_t n, void *buffer,
		     void (*words)(uintptr_t addr, const uintptr_t *copy, size_t n, void *arg), void *arg);
