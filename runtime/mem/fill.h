/*
 * fill - zeroing and poisoning without libc; private to runtime/mem/
 *
 * A thread may be held for a stopped world in libc's memset, but not in the runtime's text: what is
 * done to a run must not be seen half done.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { FILL_BY_STRING = 512 }; /* from here on the string instruction is faster */

/* n is a multiple of 16, p too. */
static inline void fill(void *p, uint8_t byte, size_t n)
{
	typedef uint64_t two __attribute__((vector_size(16)));
	uint64_t word = byte * UINT64_C(0x0101010101010101);
	two v = {word, word};

#if defined(__x86_64__)
	if (n >= FILL_BY_STRING) {
		size_t words = n / 8;

		__asm__ volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(word) : "memory");
		return;
	}
#endif
	for (two *q = p, *end = (two *)((uintptr_t)p + n); q < end; q++) {
		*q = v;
		/* Else the compiler makes a call of memset of it. */
		__asm__ volatile("" : : : "memory");
	}
}
