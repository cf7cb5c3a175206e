/*
 * map - numbers and texts to numbers; grows, forgets nothing
 *
 * Owns:    copies of the texts
 * Threads: one at a time. Allocates with malloc: never in a stopped world
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_entry {
	char *text; /* NULL: the key is the number */
	uint64_t key, value;
	bool used;
};

struct map {
	struct map_entry *entries;
	size_t n, room; /* room: a power of two */
};

/* The value's place, valid until the next call; *ret_fresh: the key is new and the value 0. */
uint64_t *map_number(struct map *m, uint64_t key, bool *ret_fresh);
uint64_t *map_text(struct map *m, const char *key, bool *ret_fresh);
void map_done(struct map *m);
