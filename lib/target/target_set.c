/* Open addressing with linear probes, never more than half full; nothing is ever taken out. */
#include "target_set.h"

enum { FIRST_SIZE = 16 };

/* FNV-1a, with the separator that no namespace holds. */
static size_t target_set_hash(const char *ns, const char *name)
{
	uint64_t h = 0xcbf29ce484222325;

	for (const char *c = ns; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3;
	h = (h ^ '/') * 0x100000001b3;
	for (const char *c = name; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3;
	return (size_t)(h ^ h >> 32);
}

/* Where it is, or the free place where it would go. */
static struct target **slot_of(const struct target_set *s, const char *ns, const char *name)
{
	size_t i = target_set_hash(ns, name) & (s->size - 1);

	while (s->slots[i] && !(streq(s->slots[i]->name, name) && streq(s->slots[i]->ns, ns)))
		i = (i + 1) & (s->size - 1);
	return &s->slots[i];
}

static void grow(struct target_set *s)
{
	struct target_set bigger = {.size = s->size ? s->size * 2 : FIRST_SIZE, .n = s->n};

	bigger.slots = xcalloc(bigger.size, sizeof *bigger.slots);
	for (size_t i = 0; i < s->size; i++)
		if (s->slots[i])
			*slot_of(&bigger, s->slots[i]->ns, s->slots[i]->name) = s->slots[i];
	free(s->slots);
	*s = bigger;
}

bool target_set_add(struct target_set *s, struct target *t)
{
	struct target **slot;

	if (2 * (s->n + 1) > s->size)
		grow(s);
	slot = slot_of(s, t->ns, t->name);
	if (*slot)
		return false;
	*slot = t;
	s->n++;
	return true;
}

void target_set_add_list(struct target_set *s, const struct target_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		target_set_add(s, l->items[i]);
}

struct target *target_set_find(const struct target_set *s, const char *ns, const char *name)
{
	return s->size ? *slot_of(s, ns, name) : NULL;
}

bool target_set_has(const struct target_set *s, const struct target *t)
{
	return target_set_find(s, t->ns, t->name) == t;
}

void target_set_done(struct target_set *s)
{
	free(s->slots);
	*s = (struct target_set){0};
}
