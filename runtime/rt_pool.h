/*
 * rt_pool - objects that are used again: pools, arenas, and objects on the stack; part of rt.h
 *
 * Three ways around an allocation, by how long the object lives:
 *
 *     RT_SCOPED    until its block is left: nothing is allocated
 *     rt_arena     as long as a piece of work, all at once: a pointer is moved
 *     rt_pool      as long as it likes, and another of its kind is wanted soon after
 *
 * runtime/README.md says when each pays. None of them is a way to free: a pooled object or an arena
 * that somebody still points to stays memory of its type, and what a collection needs to know of
 * them it finds by itself.
 *
 * Debug:   RT_DEBUG=pool=1,arena=1,scoped=1 (a debug build has them on, =0 turns them off). Misuse ends
 *          the process with a message that names pool or arena, the object, where it was put or
 *          reset, and both coroutines. It costs a copy of each pooled object.
 */
#pragma once

#include "rt_mem.h"

#include <stdbool.h>

/* Pools ------------------------------------------------------------------------------------------ */

/* Bytes of a pooled object that may differ from those of a new one when it is put: a buffer that is
 * kept. For the debug mode; RT_KEPT(struct room, members). */
struct rt_kept {
	uint32_t offset, bytes;
};
#define RT_KEPT(T, field) {offsetof(T, field), sizeof(((T *)0)->field)}

/*
 * static struct rt_pool rooms = {.name = "room", .type = &room_type, .reset = room_reset};
 *
 * As Go's sync.Pool: a cache that a collection may empty. What was put and not got again is gone with
 * the second collection after. Each P has its own objects, and takes from others when it has none.
 */
struct rt_pool {
	const char *name;
	struct rt_type *type; /* of its objects; NULL: bytes of them, without pointers */
	size_t bytes;
	/* Makes one when the pool has none, from the start of an object of that type. NULL: a zeroed one */
	void *(*make)(void);
	/* Makes obj as good as new; called by rt_pool_put. NULL: whoever gets it finds what was left */
	void (*reset)(void *obj);
	const struct rt_kept *kept; /* fields that reset leaves as they are */
	size_t n_kept;

	struct rt_pool_state *state; /* the runtime's; NULL to begin with */
};

/* One that was put, by any coroutine, else a new one. */
void *rt_pool_get(struct rt_pool *p);
/* obj is the pool's from here on: nothing of it may be used, nor put again, until it was got. */
void rt_pool_put(struct rt_pool *p, void *obj);
/* Forgets its objects; for a pool that does not live as long as the program. Nobody uses it meanwhile. */
void rt_pool_done(struct rt_pool *p);

/* Arenas ----------------------------------------------------------------------------------------- */

enum rt_arena_kind {
	RT_ARENA_PTRS,  /* objects with pointers: all of it is searched, word by word */
	RT_ARENA_BYTES, /* no pointers into the heap: never searched */
};

/* An object of the heap: nobody frees it. One coroutine at a time uses it. The rest is private. */
struct rt_arena {
	char *at, *end; /* memory between them is zero */
};

/* chunk_bytes 0: 32 KiB; what it grows by. name is not copied. */
struct rt_arena *rt_arena_new(const char *name, size_t chunk_bytes, enum rt_arena_kind kind);
/*
 * The end of all its objects. Pointers to them may not be used any more; the collector does not mind
 * them, but they show what is put there next. Chunks that this round used are kept for the next one.
 */
void rt_arena_reset(struct rt_arena *a);
size_t rt_arena_used(const struct rt_arena *a); /* bytes since the last reset. No safepoint */

void *rt_arena_alloc_slow(struct rt_arena *a, size_t bytes);
/* Zeroed, aligned to 16. Pointer fields of what lies there are set by RT_SET, as those of any object. */
static inline void *rt_arena_alloc(struct rt_arena *a, size_t bytes)
{
	size_t n = (bytes + 15) & ~(size_t)15;
	char *at = a->at;

	if (__builtin_expect(n - 1 >= (size_t)(a->end - at), 0))
		return rt_arena_alloc_slow(a, bytes);
	a->at = at + n;
	return at;
}
#define RT_ARENA_NEW(a, T) ((T *)rt_arena_alloc(a, sizeof(T)))

/* On the stack --------------------------------------------------------------------------------------- */

/*
 * RT_SCOPED(struct request, r); declares struct request *r, a zeroed object on the stack that ends with
 * the block. What it points to is kept alive as by any variable; its pointer fields are set by
 * RT_SET. No object of the heap may point to it any more when the block is left: the debug mode
 * remembers RT_SETs that made one do so, and looks.
 */
#define RT_SCOPED(T, name)                                                                         \
	/* Of no type: const fields of a T that the compiler sees defined would never change. */   \
	_Alignas(T) char name##_object_[sizeof(T)] = {0};                                          \
	struct rt_scope name##_scope_ __attribute__((cleanup(rt_scope_end_)));                     \
	T *const name = rt_scope_begin_(&name##_scope_, name##_object_, sizeof(T), #T " " #name)

enum { RT_SCOPE_FIELDS = 4 };

struct rt_scope {
	struct rt_scope *up; /* of the same coroutine */
	char *obj;           /* NULL: not watched */
	size_t bytes;
	const char *what;
	unsigned n;
	struct {
		void **field; /* of an object of the heap, that was made to point here */
		uintptr_t pc; /* by whom */
	} fields[RT_SCOPE_FIELDS];
};

extern _Atomic bool rt_scoped_debug;
void rt_scope_push(struct rt_scope *s);
void rt_scope_pop(struct rt_scope *s);

static inline void *rt_scope_begin_(struct rt_scope *s, void *obj, size_t bytes, const char *what)
{
	s->obj = NULL;
	if (__builtin_expect(__atomic_load_n(&rt_scoped_debug, __ATOMIC_RELAXED), 0)) {
		s->obj = obj;
		s->bytes = bytes;
		s->what = what;
		rt_scope_push(s);
	}
	return obj;
}

static inline void rt_scope_end_(struct rt_scope *s)
{
	if (__builtin_expect(s->obj != NULL, 0))
		rt_scope_pop(s);
}
