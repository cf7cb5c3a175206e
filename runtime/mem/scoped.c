/*
 * The debug mode of scoped objects: each coroutine has a list of those of its blocks, innermost first. A
 * store that makes a field elsewhere point to one is remembered with it; when the block is left no such
 * field may do so any more.
 *
 * What is remembered lies on the stack beside the object: it keeps the field's object alive until
 * then, and the field is looked at where it was. A field of another scoped object, or of the stack, is
 * nobody's trouble.
 */
#include "pool.h"

#include <stdio.h>

enum { PLACE_BYTES = 160 };

_Atomic bool rt_scoped_debug;

void rt_scope_push(struct rt_scope *s)
{
	struct rt_co *self = this_co();

	s->n = 0;
	s->up = self->scopes;
	self->scopes = s;
}

static bool points_into(const struct rt_scope *s, const void *value)
{
	return (uintptr_t)value - (uintptr_t)s->obj < s->bytes;
}

bool scoped_holds(const void *value)
{
	for (const struct rt_scope *s = this_co() ? this_co()->scopes : NULL; s; s = s->up)
		if (points_into(s, value))
			return true;
	return false;
}

static _Noreturn void tell(const struct rt_scope *s, unsigned i)
{
	char place[PLACE_BYTES];

	debug_place(s->fields[i].pc, place, sizeof place);
	rt_fatal("scoped object \"%s\" at %p ends, and the field %p of an object of the heap still points to "
		 "it, as set by %s\nnext step: clear that field before the block ends, or make the object "
		 "with rt_new", s->what, (void *)s->obj, (void *)s->fields[i].field, place);
}

/* Fields that point elsewhere by now need not be remembered. */
static void forget_changed(struct rt_scope *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (points_into(s, *s->fields[i].field))
			s->fields[n++] = s->fields[i];
	s->n = n;
}

void scoped_stored(void **field, void *value, uintptr_t pc)
{
	struct rt_co *self = this_co();
	struct rt_scope *s = self ? self->scopes : NULL;

	if (!s || !stack_holds(self, (uintptr_t)value) || stack_holds(self, (uintptr_t)field))
		return;
	while (s && !points_into(s, value))
		s = s->up;
	if (!s)
		return;
	forget_changed(s);
	if (s->n == RT_SCOPE_FIELDS)
		rt_fatal("scoped object \"%s\" at %p: more than %d fields of objects of the heap point to "
			 "it\nnext step: make what others may know with rt_new", s->what, (void *)s->obj,
			 RT_SCOPE_FIELDS);
	s->fields[s->n].field = field;
	s->fields[s->n++].pc = pc;
}

void rt_scope_pop(struct rt_scope *s)
{
	forget_changed(s);
	if (s->n > 0)
		tell(s, 0);
	this_co()->scopes = s->up;
}
