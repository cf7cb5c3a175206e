/*
 * The debug modes of rt_pool.h end the process with a message that names pool or arena, what was done to
 * which object, where it was put or reset, and the coroutine. Each case runs in a child.
 */
#include "child.h"
#include "help.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

struct item {
	struct item *const link;
	struct item *const buffer;
	uint64_t number;
};
RT_TYPE(item_type, struct item, link, buffer);
struct other {
	uint64_t a, b, c, d;
};
RT_TYPE_FREE(other_type, struct other);

static void reset_item(void *obj)
{
	struct item *it = obj;

	RT_SET(it->link, NULL);
}

static const struct rt_kept item_kept[] = {RT_KEPT(struct item, buffer)};
static struct rt_pool items = {.name = "item", .type = &item_type, .reset = reset_item,
			       .kept = item_kept, .n_kept = 1};
static struct rt_pool blobs = {.name = "blob", .bytes = 100};

static __attribute__((noinline)) void put_here(struct rt_pool *p, void *obj)
{
	rt_pool_put(p, obj);
	RT_POLL(); /* the call above is no tail call */
}

static void put_twice(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	rt_pool_put(&items, it);
}

static void put_twice_over_a_collection(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	rt_gc();
	rt_pool_put(&items, it);
}

static void put_into_two_pools(void *arg)
{
	static struct rt_pool more = {.name = "more", .type = &item_type};
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	rt_pool_put(&more, it);
}

static void write_after_put(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	it->number = 1;
	rt_pool_get(&items);
}

static void set_after_put(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	RT_SET(it->link, NULL);
	rt_pool_get(&items);
}

static void write_last_byte_after_put(void *arg)
{
	char *b = rt_pool_get(&blobs);

	put_here(&blobs, b);
	b[99] = 0;
	rt_pool_get(&blobs);
}

static void write_to_forgotten(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	it->number = 1;
	rt_gc();
	rt_gc();
	rt_pool_get(&items);
}

static void leave_number_dirty(void *arg)
{
	struct item *it = rt_pool_get(&items);

	it->number = 258;
	put_here(&items, it);
}

static void put_another_type(void *arg)
{
	RT_KEEP(rt_pool_get(&items));
	put_here(&items, rt_new(&other_type));
}

static void put_inside(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, &it->number);
}

static void put_what_is_on_the_stack(void *arg)
{
	struct item it = {0};

	put_here(&items, &it);
}

static __attribute__((noinline)) void reset_here(struct rt_arena *a)
{
	rt_arena_reset(a);
	RT_POLL();
}

static void write_after_reset(void *arg)
{
	struct rt_arena *a = rt_arena_new("request", 0, RT_ARENA_PTRS);
	struct item *it = RT_ARENA_NEW(a, struct item);

	reset_here(a);
	it->number = 1;
	RT_ARENA_NEW(a, struct item);
}

static void write_after_reset_before_another(void *arg)
{
	struct rt_arena *a = rt_arena_new("request", 0, RT_ARENA_BYTES);
	char *b = rt_arena_alloc(a, 200);

	reset_here(a);
	b[199] = 1;
	rt_arena_alloc(a, 16);
	rt_arena_reset(a);
	RT_POLL();
}

static void write_after_reset_to_a_spare_chunk(void *arg)
{
	struct rt_arena *a = rt_arena_new("request", 1024, RT_ARENA_BYTES);
	char *b;

	for (int i = 0; i < 8; i++)
		b = rt_arena_alloc(a, 200);
	reset_here(a);
	b[0] = 1;
	rt_arena_reset(a);
	RT_POLL();
}

static __attribute__((noinline)) void store_into(struct item *holder, struct item *value)
{
	RT_SET(holder->link, value);
	RT_POLL();
}

static void leave_pointed_to(void *arg)
{
	struct item *holder = rt_new(&item_type);

	{
		RT_SCOPED(struct item, mine);
		store_into(holder, mine);
	}
	RT_KEEP(holder);
}

static void point_inside_from_below(void *arg)
{
	struct item *holder = rt_new(&item_type);

	RT_SCOPED(struct item, outer);
	{
		RT_SCOPED(struct item, inner);
		RT_SET(inner->link, outer);
		store_into(holder, (struct item *)&outer->number);
		RT_SET(holder->buffer, outer);
		RT_SET(holder->buffer, NULL);
	}
}

static void point_from_everywhere(void *arg)
{
	struct item *holders = rt_new_array(&item_type, 5);

	RT_SCOPED(struct item, mine);
	for (int i = 0; i < 5; i++)
		store_into(&holders[i], mine);
}

/* Reading is not noticed, but finds what no object holds. */
static void read_after_put(void *arg)
{
	struct item *it = rt_pool_get(&items);

	put_here(&items, it);
	if ((uintptr_t)it->link == UINT64_C(0xdbdbdbdbdbdbdbdb))
		abort();
}

static const struct misuse {
	const char *name;
	void (*fn)(void *arg);
	const char *what; /* texts that the message has, separated by | */
} misuses[] = {
	{"leave_number_dirty", leave_number_dirty,
	 "pool \"item\": dirty: after reset, byte 16 is 0x2 and 0 in a new one|put by put_here (|"
	 "next step: let reset set that field"},
	{"leave_pointed_to", leave_pointed_to,
	 "scoped object \"struct item mine\"|still points to it, as set by store_into ("},
	{"point_from_everywhere", point_from_everywhere,
	 "scoped object \"struct item mine\"|more than 4 fields"},
	{"point_inside_from_below", point_inside_from_below,
	 "scoped object \"struct item outer\"|still points to it, as set by store_into ("},
	{"put_another_type", put_another_type, "pool \"item\": foreign|put by put_here ("},
	{"put_inside", put_inside, "pool \"item\": foreign|put by put_here ("},
	{"put_into_two_pools", put_into_two_pools, "pool \"item\": put again|put by put_here ("},
	{"put_twice", put_twice, "pool \"item\": put again|put by put_here (|coroutine 3 culprit"},
	{"put_twice_over_a_collection", put_twice_over_a_collection,
	 "pool \"item\": put again|put by put_here ("},
	{"put_what_is_on_the_stack", put_what_is_on_the_stack, "pool \"item\": foreign"},
	{"read_after_put", read_after_put, ""},
	{"set_after_put", set_after_put,
	 "pool \"item\": use after put: byte 0 of 24 was written|put by put_here ("},
	{"write_after_put", write_after_put,
	 "pool \"item\": use after put: byte 16 of 24 was written|put by put_here (|culprit"},
	{"write_after_reset", write_after_reset,
	 "arena \"request\": use after reset|(byte 16 of a chunk of 32768)|reset by reset_here ("},
	{"write_after_reset_before_another", write_after_reset_before_another,
	 "arena \"request\": use after reset|(byte 199 of a chunk of 32768)|reset by reset_here ("},
	{"write_after_reset_to_a_spare_chunk", write_after_reset_to_a_spare_chunk,
	 "arena \"request\": use after reset|of a chunk of 1024)|reset by reset_here ("},
	{"write_last_byte_after_put", write_last_byte_after_put,
	 "pool \"blob\": use after put: byte 99 of 100 was written|put by put_here ("},
	{"write_to_forgotten", write_to_forgotten,
	 "pool \"item\": use after put: byte 16 of 24 was written|put by put_here ("},
};

static bool says_all(const char *text, const char *what)
{
	char words[400];

	snprintf(words, sizeof words, "%s", what);
	for (char *w = strtok(words, "|"); w; w = strtok(NULL, "|"))
		if (!strstr(text, w))
			return false;
	return true;
}

static void test_misuse(const struct misuse *m)
{
	static char text[65536];
	int status = 0;
	bool aborted, good;

	setenv("RT_DEBUG", "pool=1,arena=1,scoped=1", 1);
	run_child(m->fn, text, sizeof text, &status);
	aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
	CHECK(aborted, "%s ends the process", m->name);
	good = says_all(text, m->what) && (!*m->what || names_creation_site(text));
	CHECK(good, "%s: the message says what, where it was put, and by whom", m->name);
	if (!aborted || !good)
		fprintf(stderr, "%s\n", text);
}

/* Everything that looks like one of these and is allowed. */
static void no_misuse(void *arg)
{
	struct rt_arena *a = rt_arena_new("request", 1024, RT_ARENA_PTRS);
	struct item *it = rt_pool_get(&items), *holder = rt_new(&item_type);

	it->number = 0;
	RT_SET(it->buffer, holder); /* kept */
	rt_pool_put(&items, it);
	rt_gc();
	if (rt_pool_get(&items) != it || it->buffer != holder)
		abort();
	rt_pool_put(&items, it);
	rt_gc();
	rt_gc();
	it = rt_pool_get(&items); /* forgotten by now: a new one */
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 300; i++) {
			struct item *here = rt_arena_alloc(a, sizeof *here + (size_t)i * 4);

			if (here->link || here->buffer || here->number)
				abort();
			here->number = 1;
		}
		rt_arena_reset(a);
	}
	for (int i = 0; i < 20; i++) {
		RT_SCOPED(struct item, mine);
		RT_SET(holder->link, mine);
		RT_SET(mine->link, holder);
		RT_SET(mine->buffer, mine);
		RT_SET(holder->link, NULL);
	}
	_exit(0);
}

static void test_nothing_is_told_of_right_use(void)
{
	static char text[65536];
	int status = 1;

	run_child(no_misuse, text, sizeof text, &status);
	CHECK(status == 0 && !*text, "right use is not told of");
	if (*text)
		fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < COUNT_OF(misuses); i++)
		if (argc < 2 || strstr(misuses[i].name, argv[1]))
			test_misuse(&misuses[i]);
	test_nothing_is_told_of_right_use();
	return tap_done();
}
