#include "work.h"

#include "../sched/sched.h"

#include <sys/mman.h>

enum { AT_ONCE = 64 /* buffers that are mapped at one time */ };

static struct {
	struct lock lock;
	struct work *full, *empty;
	_Atomic size_t n_made; /* of statistics too */
	_Atomic uint32_t n_full;
} common;

/* Upwards; not memcpy: a thread may be held there by a stop, with a marker's work in its hands. */
static inline void copy_items(uintptr_t *to, const uintptr_t *from, size_t n)
{
	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static void make_works(void)
{
	struct work *w = mmap(NULL, AT_ONCE * sizeof *w, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		rt_fatal("no memory for the collector's queue (%zu buffers of a page)", common.n_made);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		w[i].next = common.empty;
		common.empty = &w[i];
	}
	common.n_made += AT_ONCE;
}

struct work *work_take_empty(void)
{
	struct work *w;

	lock_get(&common.lock);
	if (!common.empty)
		make_works();
	w = common.empty;
	common.empty = w->next;
	lock_put(&common.lock);
	w->n = 0;
	return w;
}

void work_put_full(struct work *w)
{
	lock_get(&common.lock);
	w->next = common.full;
	common.full = w;
	atomic_fetch_add_explicit(&common.n_full, 1, memory_order_relaxed);
	lock_put(&common.lock);
}

void work_put_empty(struct work *w)
{
	lock_get(&common.lock);
	w->next = common.empty;
	common.empty = w;
	lock_put(&common.lock);
}

struct work *work_take_full(void)
{
	struct work *w;

	if (!work_is_left())
		return NULL;
	lock_get(&common.lock);
	w = common.full;
	if (w) {
		common.full = w->next;
		atomic_fetch_sub_explicit(&common.n_full, 1, memory_order_relaxed);
	}
	lock_put(&common.lock);
	return w;
}

bool work_is_left(void)
{
	return atomic_load_explicit(&common.n_full, memory_order_relaxed) != 0;
}

size_t work_own_bytes(void)
{
	return common.n_made * sizeof(struct work);
}

void work_share(struct work *w)
{
	struct work *other;

	if (!w || w->n < WORK_ITEMS / 4 || work_is_left())
		return;
	other = work_take_empty();
	other->n = w->n / 2;
	w->n -= other->n;
	copy_items(other->item, w->item, other->n);
	copy_items(w->item, w->item + other->n, w->n);
	work_put_full(other);
}

void work_forget(void)
{
	struct work *w;

	while ((w = work_take_full()))
		work_put_empty(w);
}
