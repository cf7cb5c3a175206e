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
};

extern const struct kernel kernels[];
extern const size_t n_kernels;
