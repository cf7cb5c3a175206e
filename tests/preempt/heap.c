#include "heap.h"

#include "collect.h"
#include "rt.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HIDDEN UINT64_C(0xffff000000000000) /* a word with these bits is no address */

/* CHAIN: a marker is at it for longer than one slice. */
enum { CHAIN = 1 << 14, HALF = 64, SCRUB_WORDS = 256 };

RT_TYPE(node_type, struct heap_node, next, other);
struct rt_type *const heap_node_type = &node_type;

static struct {
	struct heap_node *chain;
	uint64_t cabinet; /* hidden */
	uint64_t stolen, stolen_value; /* hidden */
	uint64_t bytes_seed, broken;
	int pipe[2];
	_Atomic int reading;
} h;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185;
	return x ^ x >> 27;
}

static struct heap_node *new_node(uint64_t seed)
{
	struct heap_node *n = rt_new(heap_node_type);

	for (unsigned i = 0; i < sizeof n->value / sizeof *n->value; i++)
		n->value[i] = seed = mix(seed + i);
	return n;
}

/* Else the same object has the same address in each pass, and any word left over from an earlier one
 * keeps it. */
static void move_on(void)
{
	static unsigned passes;

	for (unsigned i = passes++ * 7 % 31; i > 0; i--) {
		rt_new(heap_node_type);
		rt_new_bytes(2 * HALF);
	}
}

/* Over what the calls before left on the stack: words there would keep what they name. */
static __attribute__((noinline)) void scrub(void)
{
	uint64_t dead[SCRUB_WORDS];

	memset(dead, 0, sizeof dead);
	__asm__ volatile("" : : "r"(dead) : "memory");
}

void heap_begin(void)
{
	struct heap_node *n = new_node(1);

	rt_gc_set_percent(-1);
	h.cabinet = (uintptr_t)n ^ HIDDEN;
	for (int i = 0; i < CHAIN; i++) {
		struct heap_node *before = new_node(2);

		RT_SET(before->next, n);
		n = before;
	}
	h.chain = n;
	if (pipe(h.pipe) < 0) {
		perror("rt-preempt: pipe");
		exit(2);
	}
}

/* Two objects ---------------------------------------------------------------------------------- */

struct heap_node *heap_make(uint64_t seed)
{
	struct heap_node *n;

	move_on();
	n = new_node(seed);
	RT_SET(n->other, new_node(mix(seed)));
	scrub();
	return n;
}

static uint64_t sum_node(const struct heap_node *n, uint64_t sum)
{
	for (unsigned i = 0; i < sizeof n->value / sizeof *n->value; i++)
		sum = mix(sum ^ n->value[i]);
	return sum;
}

uint64_t heap_finish(struct heap_node *n)
{
	uint64_t sum = 0;
	uintptr_t stolen;

	collect_settle();
	for (; n; n = n->next) {
		sum = sum_node(n, sum);
		if (n->other)
			sum = sum_node(n->other, sum);
	}
	stolen = h.stolen ? h.stolen ^ HIDDEN : 0;
	h.stolen = 0;
	if (stolen && ((struct heap_node *)stolen)->value[0] != h.stolen_value)
		sum = ~sum;
	return sum;
}

/* The cabinet ---------------------------------------------------------------------------------- */

struct heap_node *heap_cabinet(void)
{
	return (struct heap_node *)(h.cabinet ^ HIDDEN);
}

static __attribute__((noinline)) void fill(uint64_t seed)
{
	struct heap_node *c = heap_cabinet();

	move_on();
	h.stolen = 0;
	/* Not beside each other nor beside the next one: a pointer also keeps what ends where it points. */
	RT_SET(c->next, new_node(seed));
	new_node(0);
	RT_SET(c->other, new_node(mix(seed)));
	new_node(0);
	h.stolen_value = c->other->value[0];
}

void heap_fill_cabinet(uint64_t seed)
{
	fill(seed);
	scrub();
}

void heap_steal(void)
{
	struct heap_node *n = heap_cabinet()->other;

	if (n)
		h.stolen = (uintptr_t)n ^ HIDDEN;
}

/* Bytes ---------------------------------------------------------------------------------------- */

static void feed(void *arg)
{
	uint8_t bytes[HALF];

	for (unsigned i = 0; i < HALF; i++)
		bytes[i] = (uint8_t)((uintptr_t)arg + i);
	while (!atomic_load(&h.reading))
		rt_yield();
	collect();
	if (write(h.pipe[1], bytes, sizeof bytes) != sizeof bytes)
		abort();
}

void *heap_ask(uint64_t seed)
{
	uint8_t *bytes;

	move_on();
	bytes = rt_new_bytes(2 * HALF);
	h.bytes_seed = seed;
	for (unsigned i = 0; i < HALF; i++)
		bytes[i] = (uint8_t)(seed = mix(seed + i));
	atomic_store(&h.reading, 0);
	if (rt_go(feed, (void *)(seed & 0xff)))
		abort();
	scrub();
	return bytes;
}

void *heap_read(void *bytes)
{
	atomic_store(&h.reading, 1);
	if (read(h.pipe[0], (uint8_t *)bytes + HALF, HALF) != HALF)
		abort();
	return bytes;
}

uint64_t heap_finish_bytes(void *bytes)
{
	const uint8_t *b = bytes;
	uint64_t sum = 0, x = h.bytes_seed;

	collect_settle();
	for (unsigned i = 0; i < 2 * HALF; i++)
		sum = mix(sum ^ b[i]);
	/* Undisturbed passes have a collection too: what it breaks in each must differ from pass to pass. */
	for (unsigned i = 0; i < HALF; i++)
		if (b[i] != (uint8_t)(x = mix(x + i)))
			sum = mix(sum ^ ++h.broken);
	return sum;
}
