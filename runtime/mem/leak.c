/*
 * Coroutines that nobody can wake, found by reachability in a stopped world.
 *
 * Two kinds of things are reached: objects of the heap, and what coroutines wait for. The search begins
 * at every coroutine that needs no partner to go on (it runs, is runnable, in a system call, sleeps,
 * waits for a descriptor, has a deadline), at globals, pins and pools. What is found there is searched
 * in its turn: an object word by word, whatever its type says, because a channel's address is no pointer
 * that types know; a channel's buffer; and the stack of whoever waits on what was found. Those who
 * wait and were never found are leaked.
 *
 * What is waited for is found
 *   a channel of rt_chan_new   by a word that names it, in anything searched, or in any memory that is
 *                              neither heap nor stack: malloc's, libraries', mappings (leak_memory.h);
 *                              other channels and their buffers are left out there, and the runtime's own
 *   in an object of the heap   when the object is
 *   on a stack                 when that stack's coroutine is, or a word names the stack
 *   a coroutine's end          when that coroutine is: nobody else ends it
 *   anywhere else              always: a member of a malloc'ed struct is known by the struct's address, and
 *                              how far that may lie away nobody can tell
 *
 * So nothing is reported that a word of the process still names. Not seen are words in registers of
 * threads in foreign code, or in a disguise (xor, the kernel's memory, another process): the rule that the
 * collector has for objects holds for channels and locks: such an object is pinned, such a channel's
 * address kept in a variable. A word that is left over hides a leak, and memory of malloc counts as known
 * even where only leaked coroutines know it.
 *
 * Source: Go 1.26, goroutineleak profile (Saioc, Chabbi and others, "Dynamic partial deadlock detection
 *         and recovery via garbage collection", ASPLOS 2025)
 */
#include "../obs/leak.h"
#include "../sched/sched.h"
#include "../sync/chan.h"
#include "leak_memory.h"
#include "roots.h"

#include <errno.h>
#include <sys/mman.h>

/* What a word or an event may reach. */
enum kind { CHAN = 1, STACK = 2, OBJECT = 4, END = 8 };

#define NOBODY UINT32_MAX

/* What is waited for, once for each that waits; equal ones lie beside each other when sorted. */
struct target {
	uintptr_t lo, hi;
	uint32_t waiter; /* of blocked[]; NOBODY */
	uint8_t kind;
	bool reached; /* kept in the last of equal ones */
};

struct request {
	void (*unreached)(struct rt_co *co, void *arg);
	void *arg;
	int result;
};

struct blocked {
	struct rt_co *co;
	bool reached;
};

static struct {
	char *map;
	size_t map_bytes;
	struct target *targets;
	struct blocked *blocked;
	struct span *large, *own; /* that leak_memory_each() and see_copies() leave out */
	uint32_t *to_do;    /* targets that were reached and not searched */
	uintptr_t *objects; /* the same */
	uint64_t *seen;     /* objects, by their first CELL_MIN bytes */
	void *buffer;
	size_t n_targets, n_blocked, n_large, n_own, n_to_do, n_objects;
	size_t max_targets, max_blocked, max_large, max_own;
	size_t at_own;
	uintptr_t lo, hi; /* of targets */
	void (*unreached)(struct rt_co *co, void *arg);
	void *arg;
	int result;
} leak;

/* Reaching ------------------------------------------------------------------------------------- */

/* The last target that begins at or below addr, if addr lies in it; NULL. */
static struct target *target_at(uintptr_t addr)
{
	size_t lo = 0, hi = leak.n_targets;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (leak.targets[mid].lo <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && addr < leak.targets[lo - 1].hi ? &leak.targets[lo - 1] : NULL;
}

/*
 * Programs know a channel's first byte only, and the runtime's code holds none of what lies behind listed
 * where it can be stopped; but malloc's arena may point there: its free end begins in the last word.
 */
static bool names(uintptr_t word, const struct target *t)
{
	return t->kind != CHAN || word - t->lo < offsetof(struct rt_chan, listed);
}

static void reach(uintptr_t addr, unsigned kinds)
{
	struct target *t;

	if (addr < leak.lo || addr >= leak.hi)
		return;
	t = target_at(addr);
	if (!t || t->reached || !(t->kind & kinds) || !names(addr, t))
		return;
	t->reached = true;
	leak.to_do[leak.n_to_do++] = (uint32_t)(t - leak.targets);
}

static void reach_object(uintptr_t word)
{
	struct object o;
	uintptr_t bit;

	if (!object_find(word, &o) || !map_has(o.block->alloc, o.cell))
		return;
	bit = (o.addr - heap.base) / CELL_MIN;
	if (leak.seen[bit / 64] >> bit % 64 & 1)
		return;
	leak.seen[bit / 64] |= UINT64_C(1) << bit % 64;
	leak.objects[leak.n_objects++] = o.addr;
	reach(o.addr, OBJECT);
}

/* Instead of marking: struct marker's. */
static void see(struct marker *k, uintptr_t lo, uintptr_t hi)
{
	for (const volatile uintptr_t *w = (const uintptr_t *)lo; w < (const uintptr_t *)hi; w++) {
		uintptr_t word = *w;

		if (word - heap.base <= heap.top) {
			reach_object(word);
			reach_object(word - 1); /* one past the end of another */
		} else {
			reach(word, CHAN | STACK);
		}
	}
}

/* What only this coroutine can do may happen now. */
static void reached_co(struct rt_co *co, void *k)
{
	reach((uintptr_t)co, END);
	reach(co->stack_lo, STACK);
}

static void search_co(struct marker *k, struct rt_co *co)
{
	roots_search_co(k, co);
	reached_co(co, k);
}

static void wake(struct marker *k, uint32_t waiter)
{
	struct blocked *b = &leak.blocked[waiter];

	if (waiter == NOBODY || b->reached)
		return;
	b->reached = true;
	search_co(k, b->co);
}

static void search_target(struct marker *k, size_t last)
{
	const struct target *t = leak.targets;

	if (t[last].kind == CHAN)
		chan_search((struct rt_chan *)t[last].lo, k);
	for (size_t i = last + 1; i-- > 0 && t[i].lo == t[last].lo;)
		wake(k, t[i].waiter);
}

static size_t bytes_of(const struct object *o)
{
	return o->block->cell_bytes ? o->block->cell_bytes : o->block->bytes;
}

static void search_reached(struct marker *k)
{
	for (;;) {
		struct object o;

		if (leak.n_to_do) {
			search_target(k, leak.to_do[--leak.n_to_do]);
		} else if (leak.n_objects) {
			if (object_find(leak.objects[--leak.n_objects], &o))
				see(k, o.addr, o.addr + bytes_of(&o));
		} else {
			return;
		}
	}
}

/* Who waits for what ------------------------------------------------------------------------------ */

static bool is_blocked(const struct rt_co *co)
{
	if (atomic_load(&co->state) != CO_WAITING || co->wait_armed)
		return false;
	switch (co->reason) {
	case WAIT_CHAN_RECV:
	case WAIT_CHAN_SEND:
	case WAIT_COND:
	case WAIT_FOREVER:
	case WAIT_GROUP:
	case WAIT_JOIN:
	case WAIT_MUTEX:
	case WAIT_RWLOCK_READ:
	case WAIT_RWLOCK_WRITE:
	case WAIT_SELECT:
	case WAIT_SEM:
		return true;
	default:
		return false; /* the kernel or the runtime itself wakes it */
	}
}

static void add(uintptr_t lo, uintptr_t hi, enum kind kind, uint32_t waiter)
{
	leak.targets[leak.n_targets++] = (struct target){lo, hi, waiter, (uint8_t)kind, false};
}

/* Of what begins nowhere in particular. */
static void add_address(uintptr_t addr, uint32_t waiter)
{
	struct rt_co *on = stack_of(addr);
	struct object o;

	if (object_find(addr, &o) && map_has(o.block->alloc, o.cell))
		add(o.addr, o.addr + bytes_of(&o), OBJECT, waiter);
	else if (on)
		add(on->stack_lo, (uintptr_t)on, STACK, waiter);
	else
		leak.blocked[waiter].reached = true;
}

static void add_chan(struct rt_chan *c, void *arg)
{
	uint32_t waiter = *(const uint32_t *)arg;

	if (c->own)
		add((uintptr_t)c, (uintptr_t)(c + 1) + c->cap * c->elem_bytes, CHAN, waiter);
	else
		add_address((uintptr_t)c, waiter);
}

static void add_blocked(struct rt_co *co, void *arg)
{
	uint32_t i = (uint32_t)leak.n_blocked;

	if (!is_blocked(co))
		return;
	leak.blocked[leak.n_blocked++] = (struct blocked){co, false};
	switch (co->reason) {
	case WAIT_FOREVER: /* for nothing */
		break;
	case WAIT_SELECT:
		select_each_chan(co->waits_on, add_chan, &i);
		break;
	case WAIT_CHAN_RECV:
	case WAIT_CHAN_SEND:
		add_chan((struct rt_chan *)co->waits_on, &i);
		break;
	case WAIT_JOIN:
		add((uintptr_t)co->waits_on, (uintptr_t)co->waits_on + 1, END, i);
		break;
	default:
		add_address((uintptr_t)co->waits_on, i);
	}
}

static void add_listed(struct rt_chan *c, void *arg)
{
	add_chan(c, &(uint32_t){NOBODY});
}

static void sift(struct target *t, size_t at, size_t n)
{
	for (size_t child; (child = 2 * at + 1) < n; at = child) {
		struct target swap;

		if (child + 1 < n && t[child + 1].lo > t[child].lo)
			child++;
		if (t[at].lo >= t[child].lo)
			return;
		swap = t[at];
		t[at] = t[child];
		t[child] = swap;
	}
}

/* A heap sort: nothing may be allocated here, as qsort() does. */
static void sort(struct target *t, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift(t, i, n);
	for (size_t end = n; end-- > 1;) {
		struct target first = t[0];

		t[0] = t[end];
		t[end] = first;
		sift(t, 0, end);
	}
}

static void find_targets(void)
{
	stack_each(add_blocked, NULL);
	chan_each_listed(add_listed, NULL);
	sort(leak.targets, leak.n_targets);
	leak.lo = leak.n_targets ? leak.targets[0].lo : 1;
	leak.hi = leak.n_targets ? leak.targets[leak.n_targets - 1].hi : 0;
}

/* Memory elsewhere ---------------------------------------------------------------------------------- */

static void add_span(struct span *to, size_t *n, uintptr_t lo, uintptr_t hi)
{
	size_t at = *n;

	if (lo >= hi)
		return;
	for (; at > 0 && to[at - 1].lo > lo; at--)
		to[at] = to[at - 1];
	to[at] = (struct span){lo, hi};
	++*n;
}

static void add_chunk(uintptr_t lo, uintptr_t hi, void *arg)
{
	add_span(leak.large, &leak.n_large, lo, hi);
}

/* Below the scheduler's frames on a thread's own stack is what is left of finished calls, and what
 * rt_on_system_stack runs, which roots.c searches. */
static void add_thread(const struct m *m)
{
	uintptr_t sp = (uintptr_t)m->saved.sp;

	add_span(leak.own, &leak.n_own, (uintptr_t)m, (uintptr_t)(m + 1));
	if (sp >= m->sys_lo && sp < m->sys_hi)
		add_span(leak.own, &leak.n_own, m->sys_lo, sp);
	if (m->alt_stack)
		add_span(leak.own, &leak.n_own, (uintptr_t)m->alt_stack,
			 (uintptr_t)m->alt_stack + m->alt_stack_bytes);
}

static void find_spans(void)
{
	uintptr_t lo, hi;

	stack_each_chunk(add_chunk, NULL);
	add_chunk(heap.base, heap.base + heap.reserved, NULL);
	add_chunk((uintptr_t)heap.blocks, (uintptr_t)(heap.blocks + (heap.reserved >> BLOCK_SHIFT)), NULL);
	add_chunk((uintptr_t)leak.map, (uintptr_t)leak.map + leak.map_bytes, NULL);
	roots_own_bss(&lo, &hi);
	add_span(leak.own, &leak.n_own, lo, hi);
	for (const struct m *m = sched.all_ms; m; m = m->all_next)
		add_thread(m);
}

/* The end of the span that addr lies in; 0: in none. Addresses grow from call to call. */
static uintptr_t own_until(uintptr_t addr)
{
	const struct target *t;

	while (leak.at_own < leak.n_own && leak.own[leak.at_own].hi <= addr)
		leak.at_own++;
	if (leak.at_own < leak.n_own && leak.own[leak.at_own].lo <= addr)
		return leak.own[leak.at_own].hi;
	if (addr < leak.lo || addr >= leak.hi)
		return 0;
	t = target_at(addr);
	return t && t->kind == CHAN ? t->hi : 0;
}

static void see_copies(uintptr_t addr, const uintptr_t *copy, size_t n, void *arg)
{
	for (size_t i = 0; i < n; i++) {
		if (copy[i] < leak.lo || copy[i] >= leak.hi || own_until(addr + i * sizeof *copy))
			continue;
		reach(copy[i], CHAN | STACK);
	}
}

/* The search ---------------------------------------------------------------------------------------- */

static void count_chan(struct rt_chan *c, void *arg)
{
	leak.max_targets++;
}

static void count_co(struct rt_co *co, void *arg)
{
	if (!is_blocked(co))
		return;
	leak.max_blocked++;
	leak.max_targets++;
	if (co->reason == WAIT_SELECT)
		select_each_chan(co->waits_on, count_chan, NULL);
}

static void count_chunk(uintptr_t lo, uintptr_t hi, void *arg)
{
	leak.max_large++;
}

static void *carve(size_t *at, size_t bytes)
{
	void *p = leak.map + *at;

	*at += (bytes + 63) & ~(size_t)63;
	return leak.map ? p : NULL;
}

/* The first time only to count bytes. */
static size_t lay_out(void)
{
	size_t at = 0, cells = heap.top / CELL_MIN + 1;

	leak.targets = carve(&at, leak.max_targets * sizeof *leak.targets);
	leak.blocked = carve(&at, leak.max_blocked * sizeof *leak.blocked);
	leak.large = carve(&at, leak.max_large * sizeof *leak.large);
	leak.own = carve(&at, leak.max_own * sizeof *leak.own);
	leak.to_do = carve(&at, leak.max_targets * sizeof *leak.to_do);
	leak.objects = carve(&at, cells * sizeof *leak.objects);
	leak.seen = carve(&at, cells / 8 + sizeof *leak.seen);
	leak.buffer = carve(&at, LEAK_MEMORY_BUFFER);
	return at;
}

static int make_room(void)
{
	leak.max_large = 3;
	leak.max_own = 1;
	stack_each(count_co, NULL);
	chan_each_listed(count_chan, NULL);
	stack_each_chunk(count_chunk, NULL);
	for (const struct m *m = sched.all_ms; m; m = m->all_next)
		leak.max_own += 3;
	leak.map_bytes = lay_out();
	leak.map = mmap(NULL, leak.map_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (leak.map == MAP_FAILED)
		return -errno;
	lay_out();
	return 0;
}

static void search_root(struct rt_co *co, void *k)
{
	uint32_t s = atomic_load(&co->state);

	if (s != CO_IDLE && s != CO_RUNNING && !is_blocked(co))
		search_co(k, co);
}

static void search_all(uintptr_t sp)
{
	struct marker k = {.instead = see};

	roots_search_own(&k, sp);
	roots_search_running(&k, reached_co);
	stack_each(search_root, &k);
	for (size_t i = 0; i < leak.n_blocked; i++)
		if (leak.blocked[i].reached)
			search_co(&k, leak.blocked[i].co);
	roots_fixed(&k);
	leak.result = leak_memory_each(leak.large, leak.n_large, leak.buffer, see_copies, NULL);
	search_reached(&k);
}

static __attribute__((noinline)) void find(uintptr_t sp)
{
	leak.result = make_room();
	if (leak.result < 0)
		return;
	find_targets();
	find_spans();
	search_all(sp);
	for (size_t i = 0; leak.result == 0 && i < leak.n_blocked; i++)
		if (!leak.blocked[i].reached)
			leak.unreached(leak.blocked[i].co, leak.arg);
	munmap(leak.map, leak.map_bytes);
}

static void find_in_stop(void *arg)
{
	uintptr_t sp;

	__builtin_unwind_init(); /* registers of who called are in this frame */
	__asm__ volatile("movq %%rsp, %0" : "=r"(sp));
	__builtin_memset(&leak, 0, sizeof leak);
	leak.unreached = ((struct request *)arg)->unreached;
	leak.arg = ((struct request *)arg)->arg;
	find(sp);
	((struct request *)arg)->result = leak.result;
}

static int find_unreached(void (*unreached)(struct rt_co *co, void *arg), void *arg)
{
	struct request r = {unreached, arg, 0};

	rt_stop_world("leaked coroutines", find_in_stop, &r);
	return r.result;
}

const struct leak_collector leak_by_reachability = {find_unreached};
