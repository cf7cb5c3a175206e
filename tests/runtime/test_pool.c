/*
 * What rt_pool.h promises of pools, with the debug mode and without it: what was put is got, by everybody,
 * for two collections at most; nothing is handed out twice, nothing that is held is freed.
 */
#include "expect.h"
#include "help.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x600d, PRIVATE_MAX = 28, MANY_OBJECTS = 1000 };

struct leaf {
	uint64_t magic, serial;
};
RT_TYPE_FREE(leaf_type, struct leaf);

struct node {
	struct leaf *const leaf;
	struct node *const self;
	_Atomic uint64_t owner;
	uint64_t number;
};
RT_TYPE(node_type, struct node, leaf, self);

static _Atomic int made, resets;
static bool with_debug;

static void *make_node(void)
{
	struct node *n = rt_new(&node_type);
	struct leaf *l = rt_new(&leaf_type);

	l->magic = MAGIC;
	RT_SET(n->leaf, l);
	RT_SET(n->self, n);
	atomic_fetch_add(&made, 1);
	return n;
}

static void reset_node(void *obj)
{
	struct node *n = obj;

	n->number = 0;
	atomic_store(&n->owner, 0);
	atomic_fetch_add(&resets, 1);
}

static const struct rt_kept node_kept[] = {RT_KEPT(struct node, leaf), RT_KEPT(struct node, self)};
static struct rt_pool nodes = {.name = "node", .type = &node_type, .make = make_node,
			       .reset = reset_node, .kept = node_kept, .n_kept = COUNT_OF(node_kept)};

/* Two collections leave nothing of what earlier situations have put. */
static void start_empty(void)
{
	rt_gc();
	rt_gc();
	atomic_store(&made, 0);
	atomic_store(&resets, 0);
}

static bool is_whole(const struct node *n)
{
	return n->self == n && n->leaf && n->leaf->magic == MAGIC;
}

/* Gets n objects and puts them all. */
static void fill_pool(struct rt_pool *p, size_t n)
{
	void **held = (void **)(uintptr_t)rt_new_ptrs(n);

	for (size_t i = 0; i < n; i++)
		RT_SET(held[i], rt_pool_get(p));
	for (size_t i = 0; i < n; i++)
		rt_pool_put(p, held[i]);
}

/* Situations ------------------------------------------------------------------------------------- */

static void test_get_makes_what_nobody_put(void)
{
	struct node *a, *b;

	start_empty();
	a = rt_pool_get(&nodes);
	b = rt_pool_get(&nodes);
	EXPECT(a != b);
	EXPECT(is_whole(a) && is_whole(b));
	EXPECT_EQ(made, 2);
}

static void test_get_returns_what_was_put_after_its_reset(void)
{
	struct node *a;

	start_empty();
	a = rt_pool_get(&nodes);
	a->number = 7;
	rt_pool_put(&nodes, a);
	EXPECT_EQ(resets, 1);
	EXPECT(rt_pool_get(&nodes) == a);
	EXPECT_EQ(a->number, 0);
	EXPECT(is_whole(a));
	EXPECT_EQ(made, 1);
}

static void test_without_a_hook_an_object_comes_back_as_it_was_put(void)
{
	static struct rt_pool plain = {.name = "plain", .type = &leaf_type};
	struct leaf *l = rt_pool_get(&plain);

	EXPECT_EQ(l->magic, 0);
	l->magic = 5;
	rt_pool_put(&plain, l);
	l = rt_pool_get(&plain);
	EXPECT_EQ(l->magic, 5);
}

static void test_bytes_are_pooled_too(void)
{
	static struct rt_pool buffers = {.name = "buffer", .bytes = 1500};
	char *b = rt_pool_get(&buffers);

	memset(b, 'x', 1500);
	rt_pool_put(&buffers, b);
	EXPECT(rt_pool_get(&buffers) == b);
	EXPECT(b[0] == 'x' && b[1499] == 'x');
}

static int by_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return x < y ? -1 : x > y;
}

static void test_many_objects_come_back_once_each(void)
{
	static uintptr_t got[MANY_OBJECTS]; /* addresses, which keep nothing alive but are globals */
	int twice = 0;

	start_empty();
	fill_pool(&nodes, MANY_OBJECTS);
	for (int i = 0; i < MANY_OBJECTS; i++)
		got[i] = (uintptr_t)rt_pool_get(&nodes);
	EXPECT_EQ(made, MANY_OBJECTS);
	rt_preempt_off(); /* qsort calls back */
	qsort(got, MANY_OBJECTS, sizeof *got, by_address);
	rt_preempt_on();
	for (int i = 1; i < MANY_OBJECTS; i++)
		twice += got[i] == got[i - 1];
	EXPECT_EQ(twice, 0);
	memset(got, 0, sizeof got);
}

static void test_one_collection_leaves_them_and_the_second_takes_them(void)
{
	start_empty();
	fill_pool(&nodes, 100);
	rt_gc();
	fill_pool(&nodes, 100);
	EXPECT_EQ(made, 100);
	rt_gc();
	rt_gc();
	fill_pool(&nodes, 100);
	EXPECT_EQ(made, 200);
}

/* Of a hundred victims only those that were used again survive the next collection. */
static void test_a_victim_that_is_used_again_lives_on_alone(void)
{
	start_empty();
	fill_pool(&nodes, 100);
	rt_gc();
	fill_pool(&nodes, 10);
	rt_gc();
	fill_pool(&nodes, 100);
	EXPECT_EQ(made, 190);
}

static void test_what_a_pool_holds_survives_a_collection_whole(void)
{
	int broken = 0;

	start_empty();
	fill_pool(&nodes, MANY_OBJECTS);
	rt_gc();
	for (int i = 0; i < 4 * MANY_OBJECTS; i++) /* over what would be free */
		RT_KEEP(rt_new(i % 2 ? &node_type : &leaf_type));
	for (int i = 0; i < MANY_OBJECTS; i++)
		broken += !is_whole(rt_pool_get(&nodes));
	EXPECT_EQ(broken, 0);
	EXPECT_EQ(made, MANY_OBJECTS);
}

struct handover {
	_Atomic int put, got;
};

static void put_and_stay(void *arg)
{
	struct handover *h = arg;

	fill_pool(&nodes, 100);
	atomic_store(&h->put, 1);
	while (!atomic_load(&h->got))
		RT_POLL(); /* keeps its P: the other one runs elsewhere */
}

static void test_one_p_takes_what_another_has_put(void)
{
	static struct handover h; /* read by the other one after the test has gone on */

	atomic_store(&h.put, 0);
	atomic_store(&h.got, 0);
	rt_set_procs(2);
	start_empty();
	rt_go(put_and_stay, &h);
	until(&h.put, 1);
	for (int i = 0; i < 100; i++)
		EXPECT(is_whole(rt_pool_get(&nodes)));
	atomic_store(&h.got, 1);
	/* It may have moved between them, and taken more. */
	EXPECT(made >= 100 && made <= 100 + PRIVATE_MAX);
	rt_set_procs(1);
}

static void test_victims_are_for_every_p(void)
{
	static struct handover h; /* read by the other one after the test has gone on */

	atomic_store(&h.put, 0);
	atomic_store(&h.got, 0);
	rt_set_procs(2);
	start_empty();
	rt_go(put_and_stay, &h);
	until(&h.put, 1);
	rt_gc();
	fill_pool(&nodes, 100);
	atomic_store(&h.got, 1);
	EXPECT_EQ(made, 100);
	rt_set_procs(1);
}

static void test_a_pool_that_is_done_forgets(void)
{
	struct rt_pool own = {.name = "own", .type = &node_type, .make = make_node};

	start_empty();
	fill_pool(&own, 50);
	EXPECT_EQ(made, 50);
	rt_pool_done(&own);
	EXPECT(own.state == NULL);
	fill_pool(&own, 50);
	EXPECT_EQ(made, 100);
	rt_pool_done(&own);
	rt_pool_done(&own);
	rt_gc();
}

struct storm {
	_Atomic int bad, ended;
	int rounds;
};

static void hold_some(void *arg, int i)
{
	enum { HELD = 40 };
	struct storm *s = arg;
	struct node *held[HELD];
	uint32_t x = 77 + (uint32_t)i;

	for (int r = 0; r < s->rounds; r++) {
		uint32_t n = 1 + random_next(&x) % HELD;

		for (uint32_t k = 0; k < n; k++) {
			held[k] = rt_pool_get(&nodes);
			if (atomic_exchange(&held[k]->owner, (uint64_t)i + 1) != 0 || !is_whole(held[k]))
				atomic_fetch_add(&s->bad, 1);
		}
		if (random_next(&x) % 4 == 0)
			rt_yield();
		/* Its leaf changes, so that what was one moment old is not good enough. */
		for (uint32_t k = 0; k < n; k++) {
			struct leaf *l = rt_new(&leaf_type);

			l->magic = MAGIC;
			RT_SET(held[k]->leaf, l);
			if (atomic_load(&held[k]->owner) != (uint64_t)i + 1)
				atomic_fetch_add(&s->bad, 1);
			rt_pool_put(&nodes, held[k]);
		}
	}
	atomic_fetch_add(&s->ended, 1);
}

/* Several Ps, taken away anywhere, and one collection after the other. */
static void test_storm(void)
{
	enum { HANDS = 12 };
	struct storm s = {.rounds = REPEAT(with_debug ? 100 : 500)};
	struct crew_member crew[HANDS];

	rt_set_procs(4);
	start_empty();
	crew_start(crew, HANDS, hold_some, &s);
	for (int cycles = 0; atomic_load(&s.ended) < HANDS || cycles < 10; cycles++) {
		rt_gc();
		rt_sleep(200 * RT_USEC);
	}
	crew_join(crew, HANDS);
	EXPECT_EQ(s.bad, 0);
	rt_set_procs(1);
}

static const struct situation situations[] = {
	SITUATION(test_get_makes_what_nobody_put),
	SITUATION(test_get_returns_what_was_put_after_its_reset),
	SITUATION(test_without_a_hook_an_object_comes_back_as_it_was_put),
	SITUATION(test_bytes_are_pooled_too),
	SITUATION(test_many_objects_come_back_once_each),
	SITUATION(test_one_collection_leaves_them_and_the_second_takes_them),
	SITUATION(test_a_victim_that_is_used_again_lives_on_alone),
	SITUATION(test_what_a_pool_holds_survives_a_collection_whole),
	SITUATION(test_one_p_takes_what_another_has_put),
	SITUATION(test_victims_are_for_every_p),
	SITUATION(test_a_pool_that_is_done_forgets),
	SITUATION(test_storm),
};

static void *everything(void *arg)
{
	rt_gc_set_percent(-1); /* collections are counted: none but ours */
	run_situations(situations, COUNT_OF(situations), arg);
	fill_pool(&nodes, 10);
	return NULL;
}

/* A runtime's objects end with it. */
static void *next_runtime(void *arg)
{
	atomic_store(&made, 0);
	fill_pool(&nodes, 10);
	CHECK(made == 10, "the next runtime finds its pools empty");
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct rt_options one = {.procs = 1};

	for (int debug = 0; debug < 2; debug++) {
		with_debug = debug;
		setenv("RT_DEBUG", debug ? "pool=1,gcverify=1" : "pool=0,gcverify=1", 1);
		printf("# RT_DEBUG=%s\n", getenv("RT_DEBUG"));
		CHECK(rt_run(&one, everything, argc > 1 ? argv[1] : NULL, NULL) == 0, "the runtime ends");
		rt_run(&one, next_runtime, NULL, NULL);
	}
	return tap_done();
}
