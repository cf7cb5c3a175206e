/*
 * target_set - which targets are among many, by namespace and name
 *
 * Lists are compared with each other all the time, and a source may list a hundred thousand.
 *
 * Owns:    its table only; the targets are borrowed
 */
#pragma once

#include "target.h"

struct target_set {
	struct target **slots;
	size_t n, size; /* size is a power of two, or 0 */
};

/* False when one of that namespace and name is in already: it stays. */
bool target_set_add(struct target_set *s, struct target *t);
void target_set_add_list(struct target_set *s, const struct target_list *l);
struct target *target_set_find(const struct target_set *s, const char *ns, const char *name);
/* That very object, and not one of the same name. */
bool target_set_has(const struct target_set *s, const struct target *t);
void target_set_done(struct target_set *s);
#define autotargetset __attribute__((cleanup(target_set_done))) struct target_set
