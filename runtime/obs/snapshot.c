/*
 * Memory is reserved before the world stops, for the largest case; pages that are not needed are
 * never touched. A million parked coroutines stand in a handful of places: keeping each stack once
 * is what makes their snapshot fit.
 */
#include "snapshot.h"

#include "thread.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PATIENCE_NS (100 * RT_MSEC)

enum { SLACK = 1024, STACK_HEAD_WORDS = 1 };

_Static_assert(sizeof(struct snap_stack) == STACK_HEAD_WORDS * sizeof(uint64_t), "stacks lie in words");

static void *reserve(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t power_of_two_above(size_t n)
{
	size_t p = 1;

	while (p <= n)
		p *= 2;
	return p;
}

static int prepare(struct snapshot *s)
{
	size_t alive = (size_t)co_count();

	*s = (struct snapshot){.room = alive + alive / 8 + SLACK};
	s->table_room = power_of_two_above(2 * s->room);
	s->words_room = s->room * (WALK_MAX + STACK_HEAD_WORDS);
	s->cos = reserve(s->room * sizeof *s->cos);
	s->table = reserve(s->table_room * sizeof *s->table);
	s->words = reserve(s->words_room * sizeof *s->words);
	if (s->cos && s->table && s->words)
		return 0;
	snapshot_done(s);
	return -ENOMEM;
}

void snapshot_done(struct snapshot *s)
{
	if (s->cos)
		munmap(s->cos, s->room * sizeof *s->cos);
	if (s->table)
		munmap(s->table, s->table_room * sizeof *s->table);
	if (s->words)
		munmap(s->words, s->words_room * sizeof *s->words);
	*s = (struct snapshot){0};
}

static struct snap_stack *stack_at(const struct snapshot *s, uint32_t place)
{
	return (struct snap_stack *)&s->words[place];
}

static uint64_t hash(const uintptr_t *pcs, int n)
{
	uint64_t h = (uint64_t)n;

	for (int i = 0; i < n; i++)
		h = (h ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	return h;
}

static uint32_t intern(struct snapshot *s, const uintptr_t *pcs, int n)
{
	size_t i = hash(pcs, n) & (s->table_room - 1);
	struct snap_stack *stack;

	for (; s->table[i]; i = (i + 1) & (s->table_room - 1)) {
		stack = stack_at(s, s->table[i] - 1);
		if (stack->n == (uint32_t)n && memcmp(stack->pcs, pcs, (size_t)n * sizeof *pcs) == 0) {
			stack->count++;
			return s->table[i] - 1;
		}
	}
	s->table[i] = (uint32_t)s->n_words + 1;
	stack = stack_at(s, (uint32_t)s->n_words);
	stack->n = (uint32_t)n;
	stack->count = 1;
	memcpy(stack->pcs, pcs, (size_t)n * sizeof *pcs);
	s->n_words += STACK_HEAD_WORDS + (size_t)n;
	return s->table[i] - 1;
}

static int frames(const struct snapshot *s, const struct rt_co *co, enum co_state state,
		  uintptr_t *pcs)
{
	if (!s->turn || state != CO_RUNNING)
		return walk_co(co, pcs, WALK_MAX);
	if (co == this_co() && !this_m()->on_system_stack)
		return walk_here(pcs, WALK_MAX);
	return thread_told(co, s->turn, pcs, WALK_MAX);
}

OBS_RACY struct snap_co snapshot_of(const struct rt_co *co)
{
	enum co_state state = atomic_load_explicit(&co->state, memory_order_acquire);
	struct m *m = atomic_load_explicit(&co->m, memory_order_relaxed);
	bool on_thread = state == CO_RUNNING || state == CO_SYSCALL;

	return (struct snap_co){
		.id = co->id,
		.parent_id = co->parent_id,
		.state = state,
		.reason = state == CO_WAITING ? co->reason : WAIT_NONE,
		.waits_since = state == CO_WAITING ? co->waits_since : 0,
		.created_at = co->created_at,
		.entry = (uintptr_t)co->fn.plain,
		.name = co->name,
		.thread = m && on_thread ? m->id : NO_THREAD,
	};
}

static void add(struct rt_co *co, void *arg)
{
	struct snapshot *s = arg;
	struct snap_co *place = &s->cos[s->n], c = snapshot_of(co);
	uintptr_t pcs[WALK_MAX];

	if (c.state == CO_IDLE || c.state == CO_DEAD)
		return;
	if (s->n == s->room) {
		s->lost++;
		return;
	}
	c.stack = intern(s, pcs, frames(s, co, c.state, pcs));
	*place = c;
	s->n++;
}

static void fill(void *arg)
{
	struct snapshot *s = arg;

	s->taken_ns = now_ns();
	stack_each(add, s);
}

int snapshot_take(struct snapshot *ret, const char *cause)
{
	for (;;) {
		int r = prepare(ret);

		if (r < 0)
			return r;
		rt_stop_world(cause, fill, ret);
		if (ret->lost == 0)
			return 0;
		snapshot_done(ret); /* many were started meanwhile: measure again */
	}
}

int snapshot_take_running(struct snapshot *ret)
{
	uint32_t turn = threads_tell(PATIENCE_NS);
	int r = prepare(ret);

	if (r < 0)
		return r;
	ret->turn = turn;
	fill(ret);
	return 0;
}

const struct snap_stack *snapshot_stack(const struct snapshot *s, uint32_t stack)
{
	return stack_at(s, stack);
}

void snapshot_each_stack(const struct snapshot *s,
			 void (*fn)(const struct snap_stack *stack, void *arg), void *arg)
{
	for (size_t i = 0; i < s->n_words;) {
		const struct snap_stack *stack = stack_at(s, (uint32_t)i);

		fn(stack, arg);
		i += STACK_HEAD_WORDS + stack->n;
	}
}
