/*
 * A table of stacks for each kind, in memory that is reserved when its profile is first switched on
 * and touched as it fills: recording allocates nothing, and takes one short lock.
 *
 * A wait shorter than the rate is recorded with probability wait / rate and then counts for
 * rate / wait waits: the sums stay right. Of mutex contentions one in n counts for n.
 */
#include "../contention.h"
#include "../debug.h"
#include "../walk.h"

#include <string.h>
#include <sys/mman.h>

enum { TABLE_SIZE = 1 << 14, ARENA_BYTES = 16 << 20 };

static struct table {
	struct lock lock; /* guards the rest, but readers follow what is linked without it */
	char *arena;
	size_t used;
	uint32_t slot[TABLE_SIZE]; /* offset in the arena, plus one */
	uint64_t lost;
} tables[CONTENTION_KINDS];

static _Atomic int64_t block_rate;
static _Atomic int mutex_fraction;

static bool prepare(struct table *t)
{
	void *p;

	if (t->arena)
		return true;
	p = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return false;
	t->arena = p;
	return true;
}

static void switch_on(enum contention_kind kind, enum obs_bit bit, bool on)
{
	bool ready;

	lock_get(&tables[kind].lock);
	ready = prepare(&tables[kind]);
	lock_put(&tables[kind].lock);
	obs_set(bit, on && ready);
}

void rt_set_block_profile_rate(long rate_ns)
{
	atomic_store(&block_rate, rate_ns);
	switch_on(CONTENTION_BLOCK, OBS_BLOCK, rate_ns > 0);
}

int rt_set_mutex_profile_fraction(int n)
{
	int old = atomic_load(&mutex_fraction);

	if (n < 0)
		return old;
	atomic_store(&mutex_fraction, n);
	switch_on(CONTENTION_MUTEX, OBS_MUTEX, n > 0);
	return old;
}

int contention_mutex_fraction(void)
{
	return atomic_load(&mutex_fraction);
}

uint64_t contention_lost(enum contention_kind kind)
{
	return tables[kind].lost;
}

static struct contention *at(const struct table *t, uint32_t slot)
{
	return (struct contention *)(t->arena + slot - 1);
}

static size_t bytes_of(uint32_t n)
{
	return sizeof(struct contention) + n * sizeof(uintptr_t);
}

static struct contention *find(struct table *t, const uintptr_t *pcs, uint32_t n)
{
	uint64_t h = n;
	struct contention *c;

	for (uint32_t i = 0; i < n; i++)
		h = (h ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	for (uint32_t tries = 0; tries < TABLE_SIZE; tries++, h++) {
		uint32_t *slot = &t->slot[h % TABLE_SIZE];

		if (*slot) {
			c = at(t, *slot);
			if (c->n == n && memcmp(c->pcs, pcs, n * sizeof *pcs) == 0)
				return c;
			continue;
		}
		if (t->used + bytes_of(n) > ARENA_BYTES)
			return NULL;
		*slot = (uint32_t)t->used + 1;
		c = at(t, *slot);
		c->n = n;
		memcpy(c->pcs, pcs, n * sizeof *pcs);
		t->used += bytes_of(n);
		return c;
	}
	return NULL;
}

static void record(enum contention_kind kind, const uintptr_t *pcs, int n, double count, double ns)
{
	struct table *t = &tables[kind];
	struct contention *c;

	lock_get(&t->lock);
	c = t->arena ? find(t, pcs, (uint32_t)n) : NULL;
	if (c) {
		c->count += count;
		c->delay_ns += ns;
	} else {
		t->lost++;
	}
	lock_put(&t->lock);
}

struct contention *contention_next(enum contention_kind kind, struct contention *after)
{
	struct table *t = &tables[kind];
	size_t next = after ? (size_t)((char *)after - t->arena) + bytes_of(after->n) : 0;

	/* What lies before used is whole but for the sums, which may be a moment old. */
	return t->arena && next < t->used ? (struct contention *)(t->arena + next) : NULL;
}

static uint32_t random_below(uint32_t n)
{
	struct m *m = this_m();

	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	m->random ^= m->random << 5;
	return m->random % n;
}

static bool waits_for_others(enum wait_reason r)
{
	return r != WAIT_IO && r != WAIT_SLEEP && r != WAIT_POST && r != WAIT_GC && r != WAIT_FINALISER &&
	       r != WAIT_FOREVER && r != WAIT_NONE;
}

void obs_blocked(struct rt_co *self, enum wait_reason r)
{
	int64_t rate = atomic_load_explicit(&block_rate, memory_order_relaxed);
	int64_t ns = now_ns() - self->waits_since;
	uintptr_t pcs[WALK_MAX];
	int n;

	if (!waits_for_others(r) || rate <= 0 || ns <= 0)
		return;
	if (ns < rate && random_below((uint32_t)rate) > (uint32_t)ns)
		return;
	n = walk_here(pcs, WALK_MAX);
	if (ns < rate)
		record(CONTENTION_BLOCK, pcs, n, (double)rate / (double)ns, (double)rate);
	else
		record(CONTENTION_BLOCK, pcs, n, 1, (double)ns);
}

void obs_contended(int64_t waits_since)
{
	int fraction = atomic_load_explicit(&mutex_fraction, memory_order_relaxed);
	int64_t ns = now_ns() - waits_since;
	uintptr_t pcs[WALK_MAX];

	if (fraction <= 0 || !this_m() || ns <= 0 || random_below((uint32_t)fraction) != 0)
		return;
	record(CONTENTION_MUTEX, pcs, walk_here(pcs, WALK_MAX), fraction, (double)ns * fraction);
}
