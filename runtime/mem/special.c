/*
 * Weak references and finalisers: records in a list of their object's block, so that the sweep of a
 * block finds them (block.special).
 *
 * A weak reference is a pointer-free object that names another one; each object has one at most. Its
 * record keeps it, and the sweep that frees the object clears it. Until its block is swept, the mark
 * bits of the last cycle tell whether the object is dead; under the lock they are whole, because the
 * sweep comes by here before it touches them. While marking is on every block is swept: whoever gets
 * the object then shades it.
 *
 * What a finalised object names is a root, the object is not. So when the sweep finds it dead, all that it
 * reaches is there; it is marked after all, and its finaliser is due. That runs once, in a coroutine
 * that all finalisers share; then the object is like any other.
 *
 * Source:  Go's runtime/mfinal.go and mheap.go (specials)
 */
#include "special.h"

#include "../sched/sched.h"
#include "barrier.h"

#include <sys/mman.h>

enum { RECORDS_AT_ONCE = 1024 };

struct rt_weak {
	_Atomic uintptr_t obj; /* 0: it was freed */
	_Atomic uint32_t gen;  /* heap.sweep_gen when it was last found alive */
};

struct record {
	struct record *next;
	uintptr_t obj;
	struct rt_weak *weak;  /* NULL: a finaliser */
	void (*fn)(void *obj);
};

struct specials {
	struct record *first;
	uint32_t gen; /* heap.sweep_gen: special_sweep() has been here */
};

static struct {
	struct lock lock; /* guards everything here, and what weak references name */
	struct specials *of_block;
	struct record *empty;
	size_t n_records;
	struct record *due, **due_end; /* finalisers */
	struct rt_co *waiting; /* the finalisers' coroutine, for one to be due */
	_Atomic bool started;  /* there is one */
} specials;

/* Records, under the lock ---------------------------------------------------------------------------- */

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		rt_fatal("no memory for weak references and finalisers (%zu there)", specials.n_records);
	return p;
}

static struct record *new_record(void)
{
	struct record *r;

	if (!specials.empty) {
		r = map(RECORDS_AT_ONCE * sizeof *r);
		for (unsigned i = 0; i < RECORDS_AT_ONCE; i++) {
			r[i].next = specials.empty;
			specials.empty = &r[i];
		}
		specials.n_records += RECORDS_AT_ONCE;
	}
	r = specials.empty;
	specials.empty = r->next;
	return r;
}

static void drop(struct record *r)
{
	r->next = specials.empty;
	specials.empty = r;
}

static struct specials *of_block(const struct block *b)
{
	if (!specials.of_block)
		specials.of_block = map((heap.reserved >> BLOCK_SHIFT) * sizeof *specials.of_block);
	return &specials.of_block[b - heap.blocks];
}

/* The place of a record, or of the end of the list. */
static struct record **find(const struct object *o, bool weak)
{
	struct record **at = &of_block(o->block)->first;

	while (*at && ((*at)->obj != o->addr || !(*at)->weak == weak))
		at = &(*at)->next;
	return at;
}

static struct record *add(const struct object *o)
{
	struct specials *s = of_block(o->block);
	struct record *r = new_record();

	*r = (struct record){.next = s->first, .obj = o->addr};
	s->first = r;
	/* The block may just be swept by somebody who saw no record: the object is alive in this cycle. */
	atomic_store_explicit(&o->block->special, true, memory_order_relaxed);
	return r;
}

static struct object object_at_start(const char *what, const void *obj)
{
	struct object o;

	if (!object_find((uintptr_t)obj, &o) || o.addr != (uintptr_t)obj || !map_has(o.block->alloc, o.cell))
		rt_fatal("%s: %p is not the start of an object (what rt_new and the like return)", what,
			 obj);
	return o;
}

/* Weak references ------------------------------------------------------------------------------------- */

static struct rt_weak *weak_of(const struct object *o)
{
	struct record *r;

	lock_get(&specials.lock);
	r = *find(o, true);
	lock_put(&specials.lock);
	return r ? r->weak : NULL;
}

struct rt_weak *rt_weak_new(void *obj)
{
	struct object o = object_at_start("rt_weak_new", obj);
	struct rt_weak *w = weak_of(&o);
	struct record *r;

	if (w)
		return w;
	w = rt_new_bytes(sizeof *w); /* a safepoint: another may have been made meanwhile */
	lock_get(&specials.lock);
	r = *find(&o, true);
	if (!r) {
		atomic_store_explicit(&w->obj, o.addr, memory_order_relaxed);
		atomic_store_explicit(&w->gen, heap.sweep_gen, memory_order_relaxed);
		r = add(&o);
		r->weak = w;
	}
	w = r->weak;
	lock_put(&specials.lock);
	RT_KEEP(obj);
	return w;
}

/* No marking is on, and the object's block may not be swept yet. */
static __attribute__((noinline)) void *get_after_cycle(struct rt_weak *w)
{
	struct object o;
	uintptr_t obj;

	lock_get(&specials.lock);
	obj = atomic_load_explicit(&w->obj, memory_order_relaxed);
	if (obj && object_find(obj, &o) && of_block(o.block)->gen != heap.sweep_gen &&
	    !map_has(o.block->mark, o.cell))
		obj = 0; /* the sweep will clear it */
	if (obj)
		atomic_store_explicit(&w->gen, heap.sweep_gen, memory_order_relaxed);
	lock_put(&specials.lock);
	return (void *)obj;
}

void *rt_weak_get(struct rt_weak *w)
{
	void *obj = w ? (void *)atomic_load_explicit(&w->obj, memory_order_relaxed) : NULL;

	if (!obj)
		return NULL;
	if (gc_is_marking()) {
		barrier_shade(obj);
		return obj;
	}
	/* relaxed: both change in the sweep after a pause only, which this is not beside */
	if (atomic_load_explicit(&w->gen, memory_order_relaxed) == heap.sweep_gen)
		return obj;
	return get_after_cycle(w);
}

/* Finalisers -------------------------------------------------------------------------------------------- */

/* false: none is due. */
static bool take_due(void **ret_obj, void (**ret_fn)(void *obj))
{
	struct record *r = specials.due;

	if (!r)
		return false;
	*ret_obj = (void *)r->obj;
	*ret_fn = r->fn;
	specials.due = r->next;
	if (!specials.due)
		specials.due_end = NULL;
	/* The list may not have been searched yet, and this stack has. */
	if (gc_is_marking())
		barrier_shade(*ret_obj);
	drop(r);
	return true;
}

static bool put_waiting(struct rt_co *co, void *arg)
{
	specials.waiting = co;
	lock_put(&specials.lock);
	return true;
}

/* A frame of its own: no object is left in the caller's. */
static __attribute__((noinline)) void run_one(void)
{
	void (*fn)(void *obj);
	void *obj;
	bool any;

	lock_get(&specials.lock);
	any = take_due(&obj, &fn);
	if (!any) {
		co_park(WAIT_FINALISER, put_waiting, NULL);
		return;
	}
	lock_put(&specials.lock);
	fn(obj);
}

static void run_finalisers(void *arg)
{
	for (;;) {
		run_one();
		RT_POLL();
	}
}

void special_wake(void)
{
	struct rt_co *wake = NULL;

	lock_get(&specials.lock);
	if (specials.due) {
		wake = specials.waiting;
		specials.waiting = NULL;
	}
	lock_put(&specials.lock);
	if (wake)
		co_ready(wake);
}

void rt_finalise(void *obj, void (*fn)(void *obj))
{
	struct object o = object_at_start("rt_finalise", obj);
	struct record **at, *r;
	bool twice;

	lock_get(&specials.lock);
	at = find(&o, false);
	r = *at;
	twice = r && fn;
	if (r && !fn) {
		*at = r->next;
		drop(r);
	} else if (!r && fn) {
		r = add(&o);
		r->fn = fn;
	}
	lock_put(&specials.lock);
	if (twice)
		rt_fatal("rt_finalise: object %p has a finaliser (take it off first, by NULL)", obj);
	if (fn && !atomic_exchange(&specials.started, true) &&
	    rt_go_attr(run_finalisers, NULL, &(struct rt_attr){.name = "rt.finaliser"}))
		rt_fatal("no address space for the finalisers' stack");
	RT_KEEP(obj);
}

/* The collector's -------------------------------------------------------------------------------- */

static void search_record(struct marker *k, const struct record *r)
{
	struct object o;

	if (r->weak)
		mark_word(k, (uintptr_t)r->weak);
	else if (object_find(r->obj, &o))
		mark_fields(k, &o);
}

static size_t n_blocks(void)
{
	bool any;

	lock_get(&specials.lock);
	any = specials.of_block;
	lock_put(&specials.lock);
	return any ? __atomic_load_n(&heap.top, __ATOMIC_RELAXED) >> BLOCK_SHIFT : 0;
}

/* A record that is made while this goes on is of an object that is kept anyway, and so is its reference. */
void special_search(struct marker *k)
{
	for (size_t i = 0, n = n_blocks(); i < n; i++) {
		if (!atomic_load_explicit(&heap.blocks[i].special, memory_order_relaxed))
			continue;
		lock_get(&specials.lock);
		for (struct record *r = specials.of_block[i].first; r; r = r->next)
			search_record(k, r);
		lock_put(&specials.lock);
	}
	lock_get(&specials.lock);
	for (struct record *r = specials.due; r; r = r->next)
		mark_word(k, r->obj);
	lock_put(&specials.lock);
}

/* Its finaliser is due, and the object stays for it. */
static void put_due(struct record *r, const struct object *o)
{
	uint32_t bytes = o->block->cell_bytes;

	atomic_fetch_or_explicit(&o->block->mark[o->cell / 64], UINT64_C(1) << o->cell % 64,
				 memory_order_relaxed);
	atomic_fetch_add_explicit(&heap.in_use, bytes ? bytes : o->block->bytes, memory_order_relaxed);
	r->next = NULL;
	if (!specials.due_end)
		specials.due_end = &specials.due;
	*specials.due_end = r;
	specials.due_end = &r->next;
}

/* Of the dead ones the weak references are cleared first, by marks that no finaliser has changed yet. */
static void sweep_records(struct specials *s, bool weak)
{
	struct record **at = &s->first;

	while (*at) {
		struct record *r = *at;
		struct object o;

		if (!r->weak == weak || !object_find(r->obj, &o) || map_has(o.block->mark, o.cell)) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		if (weak) {
			atomic_store_explicit(&r->weak->obj, 0, memory_order_relaxed);
			drop(r);
		} else {
			put_due(r, &o);
		}
	}
}

void special_sweep(struct block *b)
{
	struct specials *s;

	lock_get(&specials.lock);
	s = of_block(b);
	sweep_records(s, true);
	sweep_records(s, false);
	s->gen = heap.sweep_gen;
	if (!s->first)
		atomic_store_explicit(&b->special, false, memory_order_relaxed);
	lock_put(&specials.lock);
}

size_t special_own_bytes(void)
{
	return specials.n_records * sizeof(struct record);
}

void special_reset(void)
{
	for (size_t i = 0, n = n_blocks(); i < n; i++) {
		struct specials *s = &specials.of_block[i];

		while (s->first) {
			struct record *r = s->first;

			s->first = r->next;
			drop(r);
		}
	}
	while (specials.due) {
		struct record *r = specials.due;

		specials.due = r->next;
		drop(r);
	}
	specials.due_end = NULL;
	specials.waiting = NULL;
	atomic_store(&specials.started, false);
}
