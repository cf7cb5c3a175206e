/*
 * What rt_pool.h promises of arenas and scoped objects, with the debug modes and without: memory is zero and
 * nobody else's, what it points to lives on, what it pointed to before a reset does not.
 */
#include "expect.h"
#include "help.h"

#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/heap.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x600d };

struct leaf {
	uint64_t magic, serial;
};
RT_TYPE_FREE(leaf_type, struct leaf);

struct tree {
	struct tree *const left;
	struct tree *const right;
	struct leaf *const leaf;
	uint64_t serial;
};
RT_TYPE(tree_type, struct tree, left, right, leaf);

static bool is_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static struct leaf *leaf_new(uint64_t serial)
{
	struct leaf *l = rt_new(&leaf_type);

	l->magic = MAGIC;
	l->serial = serial;
	return l;
}

/* Situations ------------------------------------------------------------------------------------- */

static void test_memory_is_zero_aligned_and_apart(enum rt_arena_kind kind)
{
	enum { N = 600 };
	struct rt_arena *a = rt_arena_new("zero", 4096, kind);
	char **list = (char **)(uintptr_t)rt_new_ptrs(N);
	int bad = 0;

	for (int round = 0; round < 6; round++) {
		uint32_t x = 5;

		for (int i = 0; i < N; i++) {
			size_t n = random_next(&x) % (i % 50 ? 200 : 6000);
			char *p = rt_arena_alloc(a, n);

			bad += !is_zero(p, n) || (uintptr_t)p % 16;
			memset(p, i | 1, n);
			RT_SET(list[i], p);
		}
		x = 5;
		for (int i = 0; i < N; i++) {
			size_t n = random_next(&x) % (i % 50 ? 200 : 6000);

			for (size_t k = 0; k < n; k++)
				bad += list[i][k] != (char)(i | 1);
		}
		rt_arena_reset(a);
		EXPECT_EQ(rt_arena_used(a), 0);
	}
	EXPECT_EQ(bad, 0);
}

static void test_memory_with_pointers_is_zero_aligned_and_apart(void)
{
	test_memory_is_zero_aligned_and_apart(RT_ARENA_PTRS);
}

static void test_memory_of_bytes_is_zero_aligned_and_apart(void)
{
	test_memory_is_zero_aligned_and_apart(RT_ARENA_BYTES);
}

static void test_used_counts_every_object(void)
{
	struct rt_arena *a = rt_arena_new("used", 1024, RT_ARENA_BYTES);

	EXPECT_EQ(rt_arena_used(a), 0);
	rt_arena_alloc(a, 10);
	rt_arena_alloc(a, 0);
	EXPECT_EQ(rt_arena_used(a), 32);
	rt_arena_alloc(a, 5000); /* one of its own */
	rt_arena_alloc(a, 200);
	EXPECT_EQ(rt_arena_used(a), 32 + 5008 + 208);
	for (int i = 0; i < 10; i++)
		rt_arena_alloc(a, 240);
	EXPECT_EQ(rt_arena_used(a), 32 + 5008 + 208 + 2400);
}

/* Addresses of a round, hidden from the collector: nothing else keeps them. */
static uintptr_t hidden(const void *p)
{
	return ~(uintptr_t)p;
}

static void test_the_next_round_uses_the_same_chunks(void)
{
	enum { N = 64 };
	struct rt_arena *a = rt_arena_new("again", 1024, RT_ARENA_BYTES);
	uintptr_t first[N];
	int found = 0;

	for (int i = 0; i < N; i++)
		first[i] = hidden(rt_arena_alloc(a, 64));
	rt_arena_reset(a);
	for (int i = 0; i < N; i++) {
		uintptr_t at = hidden(rt_arena_alloc(a, 64));

		for (int k = 0; k < N; k++)
			found += first[k] == at;
	}
	EXPECT_EQ(found, N);
}

static struct tree *grow(struct rt_arena *a, int depth, uint64_t *serial)
{
	struct tree *t = RT_ARENA_NEW(a, struct tree);

	/* Not plain, for TSan: a chunk is searched word by word, numbers too. */
	__atomic_store_n(&t->serial, ++*serial, __ATOMIC_RELAXED);
	RT_SET(t->leaf, leaf_new(t->serial));
	if (depth > 0) {
		RT_SET(t->left, grow(a, depth - 1, serial));
		RT_SET(t->right, grow(a, depth - 1, serial));
	}
	return t;
}

static int count_broken(const struct tree *t)
{
	if (!t)
		return 0;
	return (!t->leaf || t->leaf->magic != MAGIC || t->leaf->serial != t->serial) +
	       count_broken(t->left) + count_broken(t->right);
}

/* Allocates over whatever has been freed wrongly. */
static void churn(int n)
{
	for (int i = 0; i < n; i++) {
		struct leaf *l = rt_new(&leaf_type);

		l->magic = 0xbad;
	}
}

static void test_what_it_points_to_survives_collections(void)
{
	struct rt_arena *a = rt_arena_new("tree", 0, RT_ARENA_PTRS);

	for (int round = 0; round < 4; round++) {
		uint64_t serial = 0;
		struct tree *t = grow(a, 10, &serial);

		rt_gc();
		churn(4000);
		EXPECT_EQ(count_broken(t), 0);
		rt_arena_reset(a);
	}
}

static void test_the_arena_itself_and_its_objects_need_no_other_root(void)
{
	struct tree *holder = rt_new(&tree_type);
	uint64_t serial = 0;

	/* An object of the heap may point into an arena that is otherwise forgotten. */
	RT_SET(holder->left, grow(rt_arena_new("lost", 0, RT_ARENA_PTRS), 8, &serial));
	for (int i = 0; i < 3; i++) {
		rt_gc();
		churn(4000);
	}
	EXPECT_EQ(count_broken(holder->left), 0);
}

static uint64_t objects(void)
{
	struct rt_mem_stats s = {0};

	rt_gc();
	rt_gc();
	mem_alloc_stats(&s);
	return s.objects;
}

/* On a stack of its own, so that no stale word of it keeps anything. */
static void fill_and_reset(void *arg, int i)
{
	uint64_t serial = 0;

	grow(arg, 12, &serial);
	rt_arena_reset(arg);
}

static void test_what_it_pointed_to_before_the_reset_is_freed(void)
{
	struct rt_arena *a = rt_arena_new("forget", 0, RT_ARENA_PTRS);
	uint64_t before = objects(), after;
	struct crew_member c;

	crew_start(&c, 1, fill_and_reset, a);
	crew_join(&c, 1);
	after = objects();
	/* 8191 leaves; a few may be named by words of a stack. */
	EXPECT(after < before + 500);
	RT_KEEP(a);
}

struct storm {
	_Atomic int bad, ended;
	int rounds;
};

static struct tree *leftmost(struct tree *t)
{
	while (t->left)
		t = t->left;
	return t;
}

/* Its own arena; what one round hands to the next was loaded from it just before the reset. */
static void rounds_of_work(void *arg, int i)
{
	struct storm *s = arg;
	struct rt_arena *a = rt_arena_new("storm", 4096, RT_ARENA_PTRS);
	struct tree *holder = rt_new(&tree_type);

	RT_SET(holder->leaf, leaf_new(0));
	for (int r = 1; r <= s->rounds; r++) {
		uint64_t serial = ((uint64_t)i << 32) + ((uint64_t)r << 8);
		struct tree *t = grow(a, 3 + r % 4, &serial);

		if (r % 8 == 0)
			rt_yield();
		if (count_broken(t) || count_broken(holder))
			atomic_fetch_add(&s->bad, 1);
		t = leftmost(t);
		holder->serial = t->serial;
		RT_SET(holder->leaf, t->leaf);
		rt_arena_reset(a);
	}
	atomic_fetch_add(&s->ended, 1);
}

static void test_storm(void)
{
	enum { HANDS = 8 };
	struct storm s = {.rounds = REPEAT(800)};
	struct crew_member crew[HANDS];

	rt_set_procs(4);
	crew_start(crew, HANDS, rounds_of_work, &s);
	for (int cycles = 0; atomic_load(&s.ended) < HANDS || cycles < 10; cycles++) {
		rt_gc();
		rt_sleep(200 * RT_USEC);
	}
	crew_join(crew, HANDS);
	EXPECT_EQ(s.bad, 0);
	rt_set_procs(1);
}

/* No word that is left over on this one keeps what fn made. */
static void on_its_own_stack(void (*fn)(void *arg, int i))
{
	struct crew_member c;

	crew_start(&c, 1, fn, NULL);
	crew_join(&c, 1);
}

/* A long list: its end, and the arena there, is marked late. Whoever knows the way is there before. */
static struct late {
	struct tree *list, *holder;
	uintptr_t end, arena, tree; /* hidden */
	_Atomic int wanted, collected;
	int unmarked; /* rounds in which the leaf was loaded before the collector came to it */
} late;

static void make_list(void *arg, int unused)
{
	late.list = rt_new(&tree_type);
	late.end = hidden(late.list);
	for (int i = 0; i < 100000; i++) {
		struct tree *t = rt_new(&tree_type);

		RT_SET(t->left, late.list);
		late.list = t;
	}
}

static void make_late(void *arg, int unused)
{
	struct rt_arena *a = rt_arena_new("late", 4096, RT_ARENA_PTRS);
	struct tree *t = RT_ARENA_NEW(a, struct tree);

	t->serial = (uint64_t)rt_now();
	RT_SET(t->leaf, leaf_new(t->serial));
	RT_SET(((struct tree *)~late.end)->left, t);
	RT_SET(((struct tree *)~late.end)->right, (struct tree *)a);
	late.arena = hidden(a);
	late.tree = hidden(t);
}

/* On a stack of its own for all rounds: one that was used before may still name the leaf. */
static void collect_late(void *arg, int i)
{
	while (until(&late.wanted, 1)) {
		atomic_store(&late.wanted, 0);
		rt_gc();
		atomic_store(&late.collected, 1);
		if (late.list == NULL)
			return;
	}
}

static __attribute__((noinline)) void load_and_reset(void)
{
	struct tree *t = (struct tree *)~late.tree;
	struct object o;

	late.unmarked += gc_is_marking() && object_find((uintptr_t)t->leaf, &o) &&
			 !map_has(o.block->mark, o.cell);
	late.holder->serial = t->serial;
	RT_SET(late.holder->leaf, t->leaf);
	rt_arena_reset((struct rt_arena *)~late.arena);
	RT_POLL();
}

/* When the collector comes to the chunk the leaf is no longer there: the reset has told of it. */
static void test_what_was_loaded_while_marking_survives_a_reset(void)
{
	struct crew_member collector;

	on_its_own_stack(make_list);
	late.holder = rt_new(&tree_type);
	RT_SET(late.holder->leaf, leaf_new(0));
	crew_start(&collector, 1, collect_late, NULL);
	for (int round = 0; round < 12; round++) {
		on_its_own_stack(make_late);
		atomic_store(&late.collected, 0);
		atomic_store(&late.wanted, 1);
		while (!gc_is_marking() && !atomic_load(&late.collected))
			rt_yield(); /* the collector rests after a slice: there is one P */
		load_and_reset();
		until(&late.collected, 1);
		churn(1000);
		EXPECT_EQ(count_broken(late.holder), 0);
	}
	printf("# the reset came before the collector in %d of 12 rounds\n", late.unmarked);
	late.list = NULL;
	atomic_store(&late.wanted, 1);
	crew_join(&collector, 1);
	memset(&late, 0, sizeof late);
}

static void test_a_scoped_object_is_zero_and_keeps_what_it_points_to(void)
{
	for (int i = 0; i < 3; i++) {
		RT_SCOPED(struct tree, here);

		EXPECT(!here->left && !here->right && !here->leaf && !here->serial);
		here->serial = 7;
		RT_SET(here->leaf, leaf_new(7));
		RT_SET(here->left, rt_new(&tree_type));
		RT_SET(here->left->leaf, leaf_new(0));
		rt_gc();
		churn(2000);
		EXPECT_EQ(count_broken(here), 0);
	}
}

static void test_a_scoped_object_ends_with_every_way_out(void)
{
	for (int i = 0; i < 1000; i++) {
		RT_SCOPED(struct tree, here);

		if (i % 3 == 0)
			continue;
		RT_SET(here->left, here);
		if (i == 998)
			break;
	}
	EXPECT(rt_self()->scopes == NULL);
}

static const struct situation situations[] = {
	SITUATION(test_memory_with_pointers_is_zero_aligned_and_apart),
	SITUATION(test_memory_of_bytes_is_zero_aligned_and_apart),
	SITUATION(test_used_counts_every_object),
	SITUATION(test_the_next_round_uses_the_same_chunks),
	SITUATION(test_what_it_points_to_survives_collections),
	SITUATION(test_the_arena_itself_and_its_objects_need_no_other_root),
	SITUATION(test_what_it_pointed_to_before_the_reset_is_freed),
	SITUATION(test_what_was_loaded_while_marking_survives_a_reset),
	SITUATION(test_storm),
	SITUATION(test_a_scoped_object_is_zero_and_keeps_what_it_points_to),
	SITUATION(test_a_scoped_object_ends_with_every_way_out),
};

static void *everything(void *arg)
{
	run_situations(situations, COUNT_OF(situations), arg);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct rt_options one = {.procs = 1};

	for (int debug = 0; debug < 2; debug++) {
		setenv("RT_DEBUG", debug ? "arena=1,scoped=1,gcverify=1" : "arena=0,scoped=0,gcverify=1", 1);
		printf("# RT_DEBUG=%s\n", getenv("RT_DEBUG"));
		CHECK(rt_run(&one, everything, argc > 1 ? argv[1] : NULL, NULL) == 0, "the runtime ends");
	}
	return tap_done();
}
