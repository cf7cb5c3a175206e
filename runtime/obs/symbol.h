/*
 * symbol - the functions and lines behind an address
 *
 * Owns:    strings belong to this file and stay good for the life of the process
 * Threads: any, one at a time (a lock). Deep in libdw: call it on a system stack, never in a stopped
 *          world. The first call reads the debug information: milliseconds
 */
#pragma once

#include <stdint.h>

enum { SYMBOL_INLINE_MAX = 8 };

struct symbol {
	const char *function; /* never NULL in what symbol_of() returns */
	const char *file;     /* NULL: no debug information */
	unsigned line;
	uintptr_t entry; /* of the function; of the one it was inlined into for an inlined one */
};

/*
 * What is executed at pc, the innermost inlined function first. A return address names the
 * instruction after a call: take one off it. Returns how many, 0: nothing is known of pc.
 */
int symbol_of(uintptr_t pc, struct symbol ret[static SYMBOL_INLINE_MAX]);
