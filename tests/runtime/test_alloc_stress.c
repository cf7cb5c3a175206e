/*
 * The allocator against a shadow: coroutines on two Ps make objects of every kind, fill them and
 * forget them, while the world is stopped at random moments for a collection that marks what the
 * shadow holds. Each object says whose it is from its first byte to its last, so that memory which
 * was handed out twice, or came free too early, or was not zeroed, shows.
 */
#include "collect.h"
#include "help.h"
#include "tap.h"

#include <string.h>

struct node {
	struct node *const next;
	uint64_t words[5];
};
RT_TYPE(node_type, struct node, next);

enum {
	CREW = 4,
	KEPT = 400, /* objects each */
	CYCLES = 60,
};

struct kept {
	unsigned char *p;
	size_t bytes;
	unsigned char fill;
};

static struct kept kept[CREW][KEPT];
static _Atomic int damaged, dirty, overlapped;
static _Atomic bool over;
static _Atomic int cycles;

static size_t random_bytes(uint32_t *x)
{
	uint32_t r = random_next(x);

	switch (r % 16) {
	case 0:
		return 1 + r / 16 % 15;
	case 1:
		return CELL_MAX + 1 + r / 16 % 300000;
	case 2:
	case 3:
		return 1 + r / 16 % CELL_MAX;
	default:
		return 1 + r / 16 % 600;
	}
}

/* The object may be known to nobody but the caller while it is made: the last word of the shadow is
 * written before anything polls. */
static void make(struct kept *k, uint32_t *x)
{
	size_t n = random_bytes(x);
	unsigned char *p;

	rt_preempt_off(); /* no collection between the allocation and the shadow */
	k->p = NULL;
	if (random_next(x) % 8 == 0) {
		n = sizeof(struct node);
		p = rt_new(&node_type);
	} else if (random_next(x) % 8 == 0) {
		n = (n + 7) & ~(size_t)7;
		p = rt_new_ptrs(n / 8);
	} else {
		p = rt_new_bytes(n);
	}
	k->p = p;
	k->bytes = n;
	rt_preempt_on();
	for (size_t i = 0; i < n; i++)
		if (p[i]) {
			atomic_fetch_add(&dirty, 1);
			break;
		}
	k->fill = (unsigned char)(1 + random_next(x) % 255);
	memset(p, k->fill, n);
}

static void check(const struct kept *k)
{
	if (!k->p)
		return;
	for (size_t i = 0; i < k->bytes; i++)
		if (k->p[i] != k->fill) {
			if (!atomic_fetch_add(&damaged, 1))
				printf("# %p of %zu bytes, at %zu: %#x, want %#x\n", (void *)k->p,
				       k->bytes, i, k->p[i], k->fill);
			return;
		}
}

static void worker(void *arg, int who)
{
	uint32_t x = (uint32_t)who * 7919 + 1;

	(void)arg;
	while (!atomic_load(&over)) {
		struct kept *k = &kept[who][random_next(&x) % KEPT];

		check(k);
		make(k, &x);
		if (random_next(&x) % 64 == 0)
			rt_yield();
		RT_POLL();
	}
}

static void mark_kept(void *arg)
{
	(void)arg;
	for (unsigned w = 0; w < CREW; w++)
		for (unsigned i = 0; i < KEPT; i++)
			if (kept[w][i].p)
				mark(kept[w][i].p);
}

static void mark_kept_and_end(void *arg)
{
	mark_kept(NULL);
	mark_end(arg);
}

static void whole_cycle(void *arg)
{
	mark_begin(NULL);
	mark_kept(NULL);
	mark_end(NULL);
	(void)arg;
}

static int by_address(const void *a, const void *b)
{
	const struct kept *x = a, *y = b;

	return x->p < y->p ? -1 : x->p > y->p;
}

static struct kept copy[CREW * KEPT];

static void copy_kept(void *arg)
{
	size_t n = 0;

	for (unsigned w = 0; w < CREW; w++)
		for (unsigned i = 0; i < KEPT; i++)
			if (kept[w][i].p)
				copy[n++] = kept[w][i];
	*(size_t *)arg = n;
}

static void find_overlaps(void)
{
	size_t n;

	rt_stop_world("test", copy_kept, &n);
	qsort(copy, n, sizeof *copy, by_address);
	for (size_t i = 1; i < n; i++)
		overlapped += copy[i - 1].p + copy[i - 1].bytes > copy[i].p;
}

/* Sometimes the world stands still for the whole marking, sometimes it goes on. */
static void collector(void *arg, int who)
{
	uint32_t x = 4711;

	(void)arg;
	(void)who;
	for (int i = 0; i < CYCLES; i++) {
		rt_sleep(random_next(&x) % 3000 * RT_USEC);
		find_overlaps();
		if (i % 2) {
			rt_stop_world("test", whole_cycle, NULL);
		} else {
			rt_stop_world("test", mark_begin, NULL);
			rt_sleep(random_next(&x) % 2000 * RT_USEC);
			rt_stop_world("test", mark_kept_and_end, NULL);
		}
		if (random_next(&x) % 2)
			sweep_all();
		if (random_next(&x) % 4 == 0)
			pages_scavenge(1 << 20);
		atomic_fetch_add(&cycles, 1);
	}
	atomic_store(&over, true);
}

/* Those of more than 16 bytes: tiny ones share their cells. */
static uint64_t count_kept(void)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < CREW; w++)
		for (unsigned i = 0; i < KEPT; i++)
			n += kept[w][i].p && kept[w][i].bytes > CELL_MIN;
	return n;
}

static void count_slot(const struct slot_stats *s, void *arg)
{
	if (s->cell_bytes != CELL_MIN)
		*(uint64_t *)arg += s->in_use;
}

/* One cell is free in each of many blocks, and two Ps take them at one time. */
enum { LISTED = 400, CELLS_OF_1K = BLOCK_BYTES / 1024 };

static uint64_t *taken[2][LISTED / 2];

static void take_listed(void *arg, int who)
{
	_Atomic int *ready = arg;

	atomic_fetch_add(ready, 1);
	for (int64_t until = rt_now() + RT_SEC; atomic_load(ready) < 2 && rt_now() < until;)
		RT_POLL();
	for (unsigned i = 0; i < LISTED / 2; i++) {
		taken[who][i] = rt_new_bytes(1024);
		*taken[who][i] = (uint64_t)who << 32 | i;
	}
}

static void test_lists(void)
{
	enum { N = LISTED * CELLS_OF_1K, ROUNDS = 30 };
	void **p = calloc(N, sizeof *p);
	struct crew_member crew[2];
	unsigned twice = 0;

	collect(NULL, 0);
	sweep_all();
	for (unsigned i = 0; i < N; i++)
		p[i] = rt_new_bytes(1024);
	for (unsigned round = 0; round < ROUNDS; round++) {
		_Atomic int ready = 0;

		for (unsigned i = 0; i < LISTED; i++)
			p[i * CELLS_OF_1K + CELLS_OF_1K / 2] = NULL;
		collect(p, N);
		sweep_all();
		crew_start(crew, 2, take_listed, &ready);
		crew_join(crew, 2);
		for (unsigned who = 0; who < 2; who++)
			for (unsigned i = 0; i < LISTED / 2; i++) {
				twice += *taken[who][i] != ((uint64_t)who << 32 | i);
				p[(who * LISTED / 2 + i) * CELLS_OF_1K + CELLS_OF_1K / 2] =
					taken[who][i];
			}
	}
	CHECK(!twice, "no cell of a list is handed out to two");
	free(p);
}

static void *run(void *arg)
{
	struct crew_member crew[CREW + 1];
	uint64_t in_use = 0;

	(void)arg;
	rt_gc_set_percent(-1);
	memset(kept, 0, sizeof kept);
	atomic_store(&over, false);
	atomic_store(&cycles, 0);
	crew_start(crew, CREW, worker, NULL);
	crew_start(crew + CREW, 1, collector, NULL);
	crew_join(crew, CREW + 1);
	CHECK(cycles == CYCLES, "%d collections", cycles);
	CHECK(!damaged, "no object was damaged or came free too early");
	CHECK(!dirty, "each was zero when it was made");
	CHECK(!overlapped, "no two shared memory");
	for (unsigned w = 0; w < CREW; w++)
		for (unsigned i = 0; i < KEPT; i++)
			check(&kept[w][i]);
	collect(NULL, 0);
	for (unsigned i = 0; i < 1000; i++)
		make(&kept[i % CREW][i / CREW], &(uint32_t){i + 1});
	for (unsigned w = 0; w < CREW; w++)
		for (unsigned i = 1000 / CREW; i < KEPT; i++)
			kept[w][i].p = NULL;
	rt_stop_world("test", whole_cycle, NULL);
	sweep_all();
	rt_stop_world("test", flush, NULL);
	mem_each_slot(count_slot, &in_use);
	CHECK(in_use == count_kept(), "the counts agree: %lu of %lu cells in use",
	      (unsigned long)in_use, (unsigned long)count_kept());
	test_lists();
	return NULL;
}

int main(void)
{
	rt_run(&(struct rt_options){.procs = 2}, run, NULL, NULL);
	rt_run(&(struct rt_options){.procs = 3, .preempt = RT_PREEMPT_COOPERATIVE}, run, NULL,
	       NULL);
	return tap_done();
}
