/*
 * The collector: what is reachable stays, whatever alone reaches it, and what is not goes. The verifier
 * is on, so that each marking is checked (mem/verify.c); objects carry a value that tells whether
 * their memory was given to somebody else.
 */
#include "help.h"
#include "tap.h"

#include <string.h>

struct node {
	struct node *const next;
	struct node *const other;
	uint64_t value;
};
RT_TYPE(node_type, struct node, next, other);

#define GOOD UINT64_C(0x5eed5eed5eed5eed)

static struct node *new_node(struct node *next)
{
	struct node *n = rt_new(&node_type);

	n->value = GOOD;
	RT_SET(n->next, next);
	return n;
}

static struct node *new_list(int n)
{
	struct node *list = NULL;

	for (int i = 0; i < n; i++) {
		list = new_node(list);
		RT_POLL();
	}
	return list;
}

static int length(const struct node *list)
{
	int n = 0;

	for (; list && list->value == GOOD; list = list->next) {
		n++;
		RT_POLL();
	}
	return list ? -1 : n;
}

/* Everything that is free is given to somebody else. */
static void churn(size_t bytes)
{
	for (size_t done = 0; done < bytes; done += sizeof(struct node)) {
		struct node *n = rt_new(&node_type);

		n->value = ~GOOD;
		RT_POLL();
	}
}

/* TSan takes a microsecond for each word. */
#ifdef __SANITIZE_THREAD__
#define BYTES(n) ((size_t)(n) / 8)
#define ELEMENTS(n) ((n) / 20)
#else
#define BYTES(n) ((size_t)(n))
#define ELEMENTS(n) (n)
#endif

static uint64_t live(void)
{
	struct rt_mem_stats s;

	rt_gc();
	rt_mem_stats(&s);
	return s.heap_live;
}

/* Noinline, and called below a deep frame: what they leave on the stack is overwritten. */
__attribute__((noinline)) static void scrub(void)
{
	volatile char b[16 << 10];

	for (size_t i = 0; i < sizeof b; i++) {
		b[i] = 0;
		RT_POLL();
	}
}

/* On a stack of its own, and many: a word that is left over somewhere keeps one alive. */
static void *hold_lists(void *arg)
{
	struct rt_chan **chans = arg;
	/* Cleared in the end: a later run may have this stack, and its heap has these addresses. */
	struct node *volatile lists[100];
	int n = 0;

	for (int i = 0; i < 100; i++)
		lists[i] = new_list(1000);
	rt_send(chans[0], NULL);
	rt_recv(chans[1], NULL);
	for (int i = 0; i < 100; i++)
		n += length(lists[i]);
	for (int i = 0; i < 100; i++)
		lists[i] = NULL;
	return (void *)(intptr_t)n;
}

static void test_garbage(void)
{
	struct rt_chan *chans[] = {rt_chan_new(0, 0), rt_chan_new(0, 0)};
	uint64_t before = live(), with, after;
	struct rt_co *holder = rt_spawn(hold_lists, chans, NULL);
	void *n;

	rt_recv(chans[0], NULL);
	with = live();
	rt_send(chans[1], NULL);
	rt_join(holder, &n);
	CHECK(with > before + 100000 * sizeof(struct node) && (intptr_t)n == 100000,
	      "lists are alive (%llu of %llu bytes)", (unsigned long long)with, (unsigned long long)before);
	after = live();
	CHECK(after < before + (with - before) / 10, "and gone when nobody knows them (%llu bytes)",
	      (unsigned long long)after);
	rt_chan_free(chans[0]);
	rt_chan_free(chans[1]);
}

static void test_bounded(void)
{
	struct rt_mem_stats a, b;
	struct node *kept = new_list(1000);

	rt_mem_stats(&a);
	churn(BYTES(512 << 20));
	rt_mem_stats(&b);
	CHECK(b.cycles > a.cycles + 10, "garbage makes collections (%llu)",
	      (unsigned long long)(b.cycles - a.cycles));
	CHECK(b.heap_mapped < 64 << 20, "and the heap stays small (%llu bytes)",
	      (unsigned long long)b.heap_mapped);
	CHECK(length(kept) == 1000, "what is known meanwhile stays");
}

/* Where an object may be known from ------------------------------------------------------------- */

static struct node *global;
static struct node *initialised = (struct node *)16;

static void *wait_with_stack(void *arg)
{
	struct rt_chan *go = arg;
	struct node *mine = new_list(50);

	rt_recv(go, NULL);
	return mine; /* known to the handle only until it is joined */
}

static void *wait_with_local(void *arg)
{
	struct rt_chan *go = ((void **)arg)[0];
	int key = *(int *)((void **)arg)[1];

	rt_local_set(key, new_list(50));
	scrub();
	rt_recv(go, NULL);
	return (void *)(uintptr_t)length(rt_local_get(key));
}

static void test_roots(void)
{
	struct rt_chan *go = rt_chan_new(0, 0), *box = rt_chan_new(sizeof(void *), 4);
	int key = rt_key_new(NULL);
	void *args[] = {go, &key}, *result;
	struct rt_co *stack = rt_spawn(wait_with_stack, go, NULL);
	struct rt_co *local = rt_spawn(wait_with_local, args, NULL);
	void **secret = calloc(8, sizeof *secret);
	struct node *n;

	global = new_list(50);
	initialised = new_list(50);
	for (int i = 0; i < 4; i++) {
		n = new_list(50);
		rt_send(box, &n);
	}
	n = new_list(50);
	rt_pin(n);
	secret[0] = (void *)~(uintptr_t)n;
	secret[1] = new_list(50);
	rt_root_add(&secret[1], sizeof *secret);
	settle();
	n = NULL;
	scrub();
	for (int i = 0; i < 3; i++) {
		rt_gc();
		churn(BYTES(8 << 20));
	}
	CHECK(length(global) == 50 && length(initialised) == 50, "globals keep objects");
	for (int i = 0; i < 4; i++) {
		rt_recv(box, &n);
		CHECK(length(n) == 50, "a channel's buffer keeps element %d", i);
	}
	CHECK(length((struct node *)~(uintptr_t)secret[0]) == 50, "a pin keeps an object");
	rt_unpin((void *)~(uintptr_t)secret[0]);
	CHECK(length(secret[1]) == 50, "an added range does");
	rt_root_remove(&secret[1]);
	rt_close(go);
	settle();
	scrub();
	rt_gc();
	churn(BYTES(8 << 20));
	rt_join(stack, &result);
	CHECK(length(result) == 50, "a waiting coroutine's stack does, and then its result");
	rt_join(local, &result);
	CHECK((uintptr_t)result == 50, "a coroutine's local value does");
	rt_chan_free(go);
	rt_chan_free(box);
	free(secret);
	global = initialised = NULL;
}

/* Pointers into objects --------------------------------------------------------------------------- */

static void test_inside(void)
{
	enum { N = 1000, WORDS = 37 };
	uint64_t **inside = calloc(N, sizeof *inside), *p;
	bool good = true;

	rt_root_add(inside, N * sizeof *inside);
	for (int i = 0; i < N; i++) {
		p = rt_new_bytes(WORDS * sizeof *p);
		for (int j = 0; j < WORDS; j++)
			p[j] = GOOD + (uint64_t)i;
		inside[i] = p + i % (WORDS + 1); /* the last one is past the end */
		RT_POLL();
	}
	rt_gc();
	for (int i = 0; i < 20000; i++) {
		memset(rt_new_bytes(WORDS * sizeof *p), 0xff, WORDS * sizeof *p);
		RT_POLL();
	}
	for (int i = 0; i < N; i++) {
		p = inside[i] - i % (WORDS + 1);
		for (int j = 0; j < WORDS; j++)
			good &= p[j] == GOOD + (uint64_t)i;
		RT_POLL();
	}
	CHECK(good, "a pointer to any word, and one past the end, keeps an object whole");
	rt_root_remove(inside);
	free(inside);
}

static void test_large(void)
{
	enum { N = ELEMENTS(300000) };
	struct node *const *all = rt_new_ptrs(N);
	struct node *array = rt_new_array(&node_type, 5000);
	char *bytes = rt_new_bytes(3 << 20);
	int good = 0;

	for (int i = 0; i < N; i++) {
		RT_SET(all[i], new_list(1));
		RT_POLL();
	}
	for (int i = 0; i < 5000; i++) {
		RT_SET(array[i].other, new_list(2));
		RT_POLL();
	}
	memset(bytes, 7, 3 << 20);
	rt_gc();
	churn(BYTES(64 << 20));
	for (int i = 0; i < N; i++) {
		good += length(all[i]) == 1;
		RT_POLL();
	}
	CHECK(good == N, "a large array of pointers is searched whole (%d)", good);
	good = 0;
	for (int i = 0; i < 5000; i++) {
		good += length(array[i].other) == 2 && array[i].next == NULL;
		RT_POLL();
	}
	CHECK(good == 5000, "so is a large array of structs (%d)", good);
	CHECK(bytes[0] == 7 && bytes[(3 << 20) - 1] == 7, "and bytes stay what they are");
	RT_KEEP(bytes);
}

/* The barrier ---------------------------------------------------------------------------------------- */

/* A ring of lists that coroutines rotate: at any moment some lists are known to a register only. */
enum { RING = 512, LENGTH = 20 };
static struct node *const *ring;

static void rotate(void *arg, int who)
{
	uint32_t x = 12345 + (uint32_t)who;
	int64_t until = rt_now() + 2 * RT_SEC;
	struct rt_mutex *locks = arg;

	while (rt_now() < until) {
		for (int i = 0; i < 200; i++) {
			unsigned a = random_next(&x) % RING, b = random_next(&x) % RING;
			struct node *from_a, *from_b;

			if (a == b)
				continue;
			rt_lock(&locks[a < b ? a : b]);
			rt_lock(&locks[a < b ? b : a]);
			from_a = ring[a];
			from_b = ring[b];
			RT_SET(ring[a], NULL);
			RT_SET(ring[b], NULL);
			if (x & 64)
				new_list(3);
			if (x & 128 && from_a) { /* the last node comes to the front */
				struct node *n = from_a;

				while (n->next && n->next->next)
					n = n->next;
				if (n->next) {
					struct node *last = n->next;

					RT_SET(n->next, NULL);
					if (x & 256)
						rt_yield();
					RT_SET(last->next, from_a);
					from_a = last;
				}
			}
			RT_SET(ring[a], from_b);
			RT_SET(ring[b], from_a);
			rt_unlock(&locks[a]);
			rt_unlock(&locks[b]);
			RT_POLL();
		}
	}
}

static void test_rotation(void)
{
	enum { CREW = 8 };
	struct rt_mutex *locks = calloc(RING, sizeof *locks);
	struct crew_member crew[CREW];
	struct rt_mem_stats s;
	int good = 0;

	ring = rt_new_ptrs(RING);
	for (int i = 0; i < RING; i++) {
		RT_SET(ring[i], new_list(LENGTH));
		RT_POLL();
	}
	crew_start(crew, CREW, rotate, locks);
	for (int i = 0; i < 30; i++)
		rt_gc();
	crew_join(crew, CREW);
	for (int i = 0; i < RING; i++)
		good += length(ring[i]) == LENGTH;
	rt_mem_stats(&s);
	CHECK(good == RING, "lists that change places while marked are whole (%d, after %llu cycles)",
	      good, (unsigned long long)s.cycles);
	ring = NULL;
	free(locks);
}

/* Hand-over: a list is known to one coroutine at a time, through channels. */
static void pass_on(void *arg, int who)
{
	struct rt_chan **chans = arg;
	struct node *n;

	while (rt_recv(chans[who], &n)) {
		if (length(n) != LENGTH) {
			n = NULL;
			rt_send(chans[3], &n);
			return;
		}
		n = new_node(n); /* the old last one falls off */
		for (struct node *at = n; at; at = at->next)
			if (at->next && !at->next->next)
				RT_SET(at->next, NULL);
		rt_send(chans[who + 1], &n);
		n = NULL;
	}
}

static void test_hand_over(void)
{
	enum { ROUNDS = 20000 };
	struct rt_chan *chans[4] = {rt_chan_new(8, 0), rt_chan_new(8, 3), rt_chan_new(8, 1),
				    rt_chan_new(8, 2)};
	struct crew_member crew[3];
	struct node *n = new_list(LENGTH);
	int rounds = 0;

	crew_start(crew, 3, pass_on, chans);
	rt_send(chans[0], &n);
	for (n = NULL; rounds < MANY(ROUNDS); rounds++) {
		rt_recv(chans[3], &n);
		if (!n)
			break;
		rt_send(chans[0], &n);
		n = NULL;
		if (rounds % 100 == 0)
			churn(BYTES(1 << 20));
	}
	CHECK(rounds == MANY(ROUNDS), "a list that wanders through channels stays whole (%d rounds)", rounds);
	if (rounds == MANY(ROUNDS))
		rt_recv(chans[3], &n);
	for (int i = 0; i < 3; i++)
		rt_close(chans[i]);
	crew_join(crew, 3);
	for (int i = 0; i < 4; i++)
		rt_chan_free(chans[i]);
}

/* Foreign code ----------------------------------------------------------------------------------- */

static void *sleep_a_little(void *arg)
{
	usleep(20000);
	return NULL;
}

static void in_syscall(void *arg, int who)
{
	_Atomic int *bad = arg;

	for (int i = 0; i < 20; i++) {
		struct node *mine = new_list(LENGTH);

		rt_blocking(sleep_a_little, NULL);
		*bad += length(mine) != LENGTH;
	}
}

static void test_syscalls(void)
{
	_Atomic int bad = 0;
	struct crew_member crew[6];

	crew_start(crew, 6, in_syscall, &bad);
	for (int i = 0; i < 20; i++) {
		rt_gc();
		churn(BYTES(1 << 20));
	}
	crew_join(crew, 6);
	CHECK(bad == 0, "what a coroutine knows while it blocks its thread stays (%d lost)", bad);
}

static void *run(void *arg)
{
	test_garbage();
	test_bounded();
	test_roots();
	test_inside();
	test_large();
	test_rotation();
	test_hand_over();
	test_syscalls();
	return NULL;
}

int main(void)
{
	static const char *const names[] = {"all", "cooperative", "page", "signal"};

	setenv("RT_DEBUG", "gcverify=1", 0);
	for (unsigned mode = 0; mode < COUNT_OF(names); mode++) {
		struct rt_options o = {.preempt = (enum rt_preempt_mode)mode, .procs = 2};
		int r = rt_run(&o, run, NULL, NULL);

		CHECK(r == 0, "mode %s", names[mode]);
	}
	return tap_done();
}
