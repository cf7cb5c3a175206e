/*
 * counts - stacks and how often each was seen, as a profile or in Go's debug=1 layout
 *
 * Owns:    copies of the stacks
 * Threads: one at a time, on a system stack, never in a stopped world
 */
#pragma once

#include "map.h"
#include "out.h"

#include <stddef.h>
#include <stdint.h>

struct count {
	uintptr_t *pcs;
	uint32_t n;
	int64_t count;
};

struct counts {
	struct count *all;
	size_t n, room;
	int64_t total;
	struct map places; /* of a stack's hash: index in all */
};

void counts_add(struct counts *c, const uintptr_t *pcs, size_t n, int64_t count);
void counts_done(struct counts *c);
/* debug 0: a profile with one value NAME/count; else text. Sorts by count, the largest first. */
void counts_write(struct counts *c, struct out *o, const char *name, int debug);
