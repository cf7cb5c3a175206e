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

/* As fill(), where a marker may be reading: each word is the old one or the new one. */
static inline void fill_words(void *p, uint8_t byte, size_t n)
{
	uint64_t word = byte * UINT64_C(0x0101010101010101);

#if defined(__x86_64__)
	if (n >= FILL_BY_STRING) {
		fill(p, byte, n); /* whose string instruction does the same */
		return;
	}
#endif
	/* relaxed: pairs with field(); what the old word named was shaded, the new one names nothing */
	for (uint64_t *q = p, *end = q + n / 8; q < end; q++)
		__atomic_store_n(q, word, __ATOMIC_RELAXED);
}
