/*
 * heap - where the objects in use, and all so far, were made
 *
 * Threads: coroutines
 */
#pragma once

#include "../mem/sample.h"
#include "out.h"

enum heap_profile { HEAP_PROFILE, ALLOCS_PROFILE };

/* The same four values, alloc_objects, alloc_space, inuse_objects, inuse_space; the names differ in what is
 * shown first. debug 0: gzipped profile.proto, else text. In use is what the last collection found. */
void heap_profile(struct out *o, enum heap_profile which, int debug);

/* What a sampled object stands for under this rate. */
double heap_weight(const struct heap_site *s, int64_t rate);
