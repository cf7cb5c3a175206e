/*
 * The debug mode of pools. In an object's place a record goes into the pool: who put it and where, and an
 * image of it, a copy of its type. The object itself is filled with a pattern that is no address.
 * When it is got the pattern must still be there, and the image is copied back: the object stays
 * where it is, since it may point to itself.
 *
 *     use after put   the pattern was written over; who reads finds addresses that trap
 *     double put      a table knows the object of every record; it keeps none alive
 *     dirty           after reset, it differs from the first one that was made
 *     foreign         it is no object of the pool's type
 *
 * Records that a cycle forgets are looked at by the next call: in the pause nothing can be told.
 */
#include "barrier.h"
#include "pool.h"

#include "../obs/symbol.h"
#include "mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 4096, NAME_BYTES = 32, PLACE_BYTES = 160 };
#define PATTERN UINT64_C(0xdbdbdbdbdbdbdbdb)

_Atomic bool pool_debug, arena_debug;

struct record {
	char *const obj;
	char *const image;
	struct record *const dropped; /* the next one of table.dropped */
	uintptr_t bucket_next;        /* of the table, which keeps nothing alive */
	/* Of its pool, which may be done before the record is looked at. */
	const char *pool_name;
	struct rt_type *type;
	size_t bytes;
	uintptr_t pc;
	uint64_t co;
	char co_name[NAME_BYTES];
};
RT_TYPE(record_type, struct record, obj, image, dropped);

static struct {
	struct lock lock;
	uintptr_t bucket[BUCKETS];
	struct record *dropped; /* by a cycle, and not yet looked at */
} table;

void pool_debug_set(long pool, long arena, long scoped)
{
#ifdef RT_CHECKS
	bool by_build = true;
#else
	bool by_build = false;
#endif
	atomic_store(&pool_debug, pool < 0 ? by_build : pool > 0);
	atomic_store(&arena_debug, arena < 0 ? by_build : arena > 0);
	atomic_store(&rt_scoped_debug, scoped < 0 ? by_build : scoped > 0);
	barrier_watch();
}

/* Telling ------------------------------------------------------------------------------------------- */

struct place {
	uintptr_t pc;
	char *ret;
	size_t bytes;
};

static void *find_place(void *arg)
{
	struct place *w = arg;
	struct symbol s[SYMBOL_INLINE_MAX];

	if (symbol_of(w->pc - 1, s) == 0)
		snprintf(w->ret, w->bytes, "%#" PRIxPTR, w->pc);
	else if (s[0].file)
		snprintf(w->ret, w->bytes, "%s (%s:%u)", s[0].function, s[0].file, s[0].line);
	else
		snprintf(w->ret, w->bytes, "%s", s[0].function);
	return NULL;
}

const char *debug_place(uintptr_t pc, char *ret, size_t bytes)
{
	struct place w = {pc, ret, bytes};

	rt_on_system_stack(find_place, &w);
	return ret;
}

/* "pool "room": WHAT object 0x..., which was put by FUNCTION (FILE:LINE) in coroutine 7 "name"". */
static _Noreturn void tell(const struct record *r, const char *what, const char *next_step)
{
	char place[PLACE_BYTES];

	debug_place(r->pc, place, sizeof place);
	rt_fatal("pool \"%s\": %s object %p, which was put by %s in coroutine %" PRIu64 "%s%s\nnext step: %s",
		 r->pool_name, what, (void *)r->obj, place, r->co, *r->co_name ? " " : "", r->co_name,
		 next_step);
}

/* The table: every object that is in a pool ------------------------------------------------------------- */

static uintptr_t *bucket_of(const void *obj)
{
	return &table.bucket[((uintptr_t)obj >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 52];
}

static struct record *find(const void *obj)
{
	struct record *r = (struct record *)*bucket_of(obj);

	while (r && r->obj != obj)
		r = (struct record *)r->bucket_next;
	return r;
}

static void table_remove(struct record *r)
{
	uintptr_t *at = bucket_of(r->obj);

	while (*at && *at != (uintptr_t)r)
		at = &((struct record *)*at)->bucket_next;
	if (*at)
		*at = r->bucket_next;
}

static void refuse_double_put(const void *obj)
{
	struct record *r;

	lock_get(&table.lock);
	r = find(obj);
	lock_put(&table.lock);
	if (r)
		tell(r, "put again:", "put an object once, by who got it, and forget it then");
}

static void table_add(struct record *r)
{
	struct record *twin;

	lock_get(&table.lock);
	twin = find(r->obj);
	if (!twin) {
		r->bucket_next = *bucket_of(r->obj);
		*bucket_of(r->obj) = (uintptr_t)r;
	}
	lock_put(&table.lock);
	if (twin)
		refuse_double_put(r->obj);
}

/* Filling and comparing -------------------------------------------------------------------------- */

static size_t bytes_of(const struct rt_pool *p)
{
	return p->type ? p->type->bytes : p->bytes;
}

static void *copy_of(const struct rt_pool *p, const void *obj)
{
	void *copy = p->type ? rt_new(p->type) : rt_new_bytes(p->bytes);

	if (p->type)
		rt_copy(p->type, copy, obj, 1);
	else
		memcpy(copy, obj, p->bytes);
	return copy;
}

/* Pointers first, as pointers: a marking under way must learn what they were. */
static void poison(const struct rt_pool *p, char *obj)
{
	static const uint64_t pattern = PATTERN;
	size_t bytes = bytes_of(p);

	for (uint32_t i = 0; p->type && i < p->type->n_ptrs; i++)
		rt_store((void **)(obj + p->type->ptrs[i]), (void *)(uintptr_t)PATTERN);
	for (size_t at = 0; at < bytes; at += 8)
		memcpy(obj + at, &pattern, bytes - at < 8 ? bytes - at : 8);
}

static void check_poison(const struct record *r)
{
	char what[96];

	for (size_t at = 0; at < r->bytes; at++) {
		if ((unsigned char)r->obj[at] == (PATTERN & 0xff))
			continue;
		snprintf(what, sizeof what, "use after put: byte %zu of %zu was written of", at, r->bytes);
		tell(r, what, "find who still holds a pointer to it after rt_pool_put");
	}
}

static bool is_kept(const struct rt_pool *p, size_t at)
{
	for (size_t i = 0; i < p->n_kept; i++)
		if (at - p->kept[i].offset < p->kept[i].bytes)
			return true;
	return false;
}

static void check_reset(const struct rt_pool *p, const struct record *r)
{
	const char *pristine =
		p->state ? atomic_load_explicit(&p->state->pristine, memory_order_acquire) : NULL;
	char what[128];

	if (!p->reset || !pristine)
		return;
	for (size_t at = 0; at < r->bytes; at++) {
		if (r->obj[at] == pristine[at] || is_kept(p, at))
			continue;
		snprintf(what, sizeof what, "dirty: after reset, byte %zu is %#x and %#x in a new one, of",
			 at, (unsigned char)r->obj[at], (unsigned char)pristine[at]);
		tell(r, what, "let reset set that field, or name it in .kept");
	}
}

/* Records ---------------------------------------------------------------------------------------- */

static struct record *record_new(struct rt_pool *p, void *obj, uintptr_t pc)
{
	struct record *r = rt_new(&record_type);
	struct rt_co *self = this_co();

	heap_set((void *)&r->obj, obj);
	r->pool_name = p->name;
	r->type = p->type;
	r->bytes = bytes_of(p);
	r->pc = pc;
	r->co = self->id;
	if (self->name)
		snprintf(r->co_name, sizeof r->co_name, "%s", self->name);
	return r;
}

static void refuse_foreign(const struct record *r)
{
	struct object o;

	if (!object_find((uintptr_t)r->obj, &o) || o.addr != (uintptr_t)r->obj || o.block->type != r->type ||
	    (o.block->cell_bytes ? o.block->cell_bytes : o.block->bytes) < r->bytes)
		tell(r, "foreign: not the start of an object of its type:",
		     "put what rt_pool_get returned, or rt_new of the pool's type");
}

/* What cycles have forgotten: nobody may have written there either. */
static void look_at_dropped(void)
{
	struct record *list;

	lock_get(&table.lock);
	list = table.dropped;
	table.dropped = NULL;
	lock_put(&table.lock);
	for (; list; list = list->dropped)
		check_poison(list);
}

void *pool_debug_put(struct rt_pool *p, void *obj, uintptr_t pc)
{
	struct record *r = record_new(p, obj, pc);

	look_at_dropped();
	refuse_double_put(obj);
	refuse_foreign(r);
	if (p->reset)
		p->reset(obj);
	check_reset(p, r);
	heap_set((void *)&r->image, copy_of(p, obj));
	poison(p, obj);
	table_add(r);
	return r;
}

void *pool_debug_get(struct rt_pool *p, void *record)
{
	struct record *r = record;

	look_at_dropped();
	check_poison(r);
	lock_get(&table.lock);
	table_remove(r);
	lock_put(&table.lock);
	if (p->type)
		rt_copy(p->type, r->obj, r->image, 1);
	else
		memcpy(r->obj, r->image, p->bytes);
	return r->obj;
}

/* The first one shows what a new one looks like. */
void pool_debug_made(struct rt_pool *p, void *obj)
{
	char *none = NULL, *copy;

	look_at_dropped();
	if (!obj || atomic_load_explicit(&p->state->pristine, memory_order_relaxed))
		return;
	copy = malloc(bytes_of(p));
	if (!copy)
		rt_fatal("pool \"%s\": out of memory for what a new object looks like", p->name);
	memcpy(copy, obj, bytes_of(p));
	/* release: pairs with the acquire in check_reset() */
	if (!atomic_compare_exchange_strong_explicit(&p->state->pristine, &none, copy, memory_order_release,
						     memory_order_relaxed))
		free(copy);
}

static void drop(struct record *r)
{
	table_remove(r);
	*(struct record **)(uintptr_t)&r->dropped = table.dropped;
	table.dropped = r;
}

void pool_debug_drop(struct magazine *list)
{
	lock_get(&table.lock);
	for (; list; list = list->next)
		for (uint32_t i = 0; i < list->n; i++)
			drop(list->item[i]);
	lock_put(&table.lock);
}

void pool_debug_search(struct marker *k)
{
	mark_pointer(k, (uintptr_t)table.dropped);
}

void pool_debug_forget_all(void)
{
	lock_get(&table.lock);
	memset(table.bucket, 0, sizeof table.bucket);
	table.dropped = NULL;
	lock_put(&table.lock);
}
