/* Open addressing with linear probes, at most half full. */
#include "map.h"

#include "../sched/sched.h"

#include <stdlib.h>
#include <string.h>

static uint64_t hash_number(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

static uint64_t hash_text(const char *s)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
	return h;
}

static struct map_entry *find(struct map *m, uint64_t key, const char *text)
{
	size_t i = hash_number(key) & (m->room - 1);

	for (;; i = (i + 1) & (m->room - 1)) {
		struct map_entry *e = &m->entries[i];

		if (!e->used)
			return e;
		if (e->key == key && !text == !e->text && (!text || strcmp(text, e->text) == 0))
			return e;
	}
}

static void grow(struct map *m)
{
	struct map old = *m;

	if (m->n * 2 < m->room)
		return;
	m->room = old.room ? old.room * 2 : 64;
	m->entries = calloc(m->room, sizeof *m->entries);
	if (!m->entries)
		rt_fatal("out of memory for %zu names of a profile", m->room);
	for (size_t i = 0; i < old.room; i++)
		if (old.entries[i].used)
			*find(m, old.entries[i].key, old.entries[i].text) = old.entries[i];
	free(old.entries);
}

static uint64_t *get(struct map *m, uint64_t key, const char *text, bool *ret_fresh)
{
	struct map_entry *e;

	grow(m);
	e = find(m, key, text);
	*ret_fresh = !e->used;
	if (!e->used) {
		*e = (struct map_entry){.key = key, .text = text ? strdup(text) : NULL, .used = true};
		m->n++;
	}
	return &e->value;
}

uint64_t *map_number(struct map *m, uint64_t key, bool *ret_fresh)
{
	return get(m, key, NULL, ret_fresh);
}

uint64_t *map_text(struct map *m, const char *key, bool *ret_fresh)
{
	return get(m, hash_text(key), key, ret_fresh);
}

void map_done(struct map *m)
{
	for (size_t i = 0; i < m->room; i++)
		free(m->entries[i].text);
	free(m->entries);
	*m = (struct map){0};
}
