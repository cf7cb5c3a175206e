/*
 * cache - segments kept in memory, least recently used first out
 *
 * Owns:    entries are objects of the collected heap, found from globals
 * Threads: coroutines; one lock, held for a lookup or an insertion
 */
#pragma once

#include "blob.h"

struct cache_key {
	uint32_t room;
	int64_t seq;
};

struct blob *cache_get(struct cache_key key); /* NULL: it is not there */
/* Unless the blob alone is larger than the budget. */
void cache_put(struct cache_key key, struct blob *b);
bool cache_has(struct cache_key key);
/* Sets the budget and drops what no longer fits. */
void cache_set_limit(int64_t bytes);
int64_t cache_bytes(void);
