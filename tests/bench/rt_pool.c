/*
 * rt_pool WAY SIZE N LIVE_MB - what N short-lived objects of SIZE bytes cost: the rows pool.*, arena.*,
 * scoped.*
 *
 * WAY new     rt_new_bytes, and the collector
 *     pool    rt_pool_get and _put
 *     arena   an arena that is reset after each piece of work
 *     scoped  RT_SCOPED
 *     node    rt_new of an object with pointers, of 64 bytes; SIZE is not looked at
 *     nodes   the same from a pool whose hook clears it
 * A piece of work has eight objects at a time, and writes to the first and the last word of each. Beside
 * it lie LIVE_MB of small objects that live, so that a collection costs what it would in a service.
 * Prints one JSON object; value in ns of CPU time for each object, the collector's included.
 */
#include "../../runtime/rt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { HELD = 8 };

struct node {
	struct node *const next;
	struct node *const other;
	uint64_t payload[6];
};
RT_TYPE(node_type, struct node, next, other);

static struct node *live;

static void grow_live(size_t bytes)
{
	for (size_t done = 0; done < bytes; done += sizeof(struct node)) {
		struct node *n = rt_new(&node_type);

		RT_SET(n->next, live);
		live = n;
	}
}

static inline void touch(char *obj, size_t bytes)
{
	*(volatile uint64_t *)obj = bytes;
	*(volatile uint64_t *)(obj + bytes - 8) = bytes;
}

static void work_new(size_t bytes)
{
	char *held[HELD];

	for (int i = 0; i < HELD; i++)
		touch(held[i] = rt_new_bytes(bytes), bytes);
	RT_KEEP(held);
}

static struct rt_pool blobs = {.name = "blob"};

static void work_pool(size_t bytes)
{
	char *held[HELD];

	for (int i = 0; i < HELD; i++)
		touch(held[i] = rt_pool_get(&blobs), bytes);
	for (int i = 0; i < HELD; i++)
		rt_pool_put(&blobs, held[i]);
}

static struct rt_arena *arena;

static void work_arena(size_t bytes)
{
	for (int i = 0; i < HELD; i++)
		touch(rt_arena_alloc(arena, bytes), bytes);
	rt_arena_reset(arena);
}

struct blob_64 {
	char b[64];
};
struct blob_1024 {
	char b[1024];
};

static __attribute__((noinline)) void scoped_64(void)
{
	RT_SCOPED(struct blob_64, s);
	touch(s->b, sizeof *s);
}

static __attribute__((noinline)) void scoped_1024(void)
{
	RT_SCOPED(struct blob_1024, s);
	touch(s->b, sizeof *s);
}

static void work_scoped(size_t bytes)
{
	for (int i = 0; i < HELD; i++) {
		if (bytes == 64)
			scoped_64();
		else
			scoped_1024();
	}
}

static void reset_node(void *obj)
{
	struct node *n = obj;

	RT_SET(n->next, NULL);
	RT_SET(n->other, NULL);
	memset(n->payload, 0, sizeof n->payload);
}

static struct rt_pool nodes = {.name = "node", .type = &node_type, .reset = reset_node};

static inline void use_node(struct node *n)
{
	n->payload[5] = 1;
	RT_SET(n->next, live);
}

static void work_node(size_t bytes)
{
	struct node *held[HELD];

	for (int i = 0; i < HELD; i++)
		use_node(held[i] = rt_new(&node_type));
	RT_KEEP(held);
}

static void work_nodes(size_t bytes)
{
	struct node *held[HELD];

	for (int i = 0; i < HELD; i++)
		use_node(held[i] = rt_pool_get(&nodes));
	for (int i = 0; i < HELD; i++)
		rt_pool_put(&nodes, held[i]);
}

static const struct way {
	const char *name;
	void (*work)(size_t bytes);
} ways[] = {
	{"arena", work_arena}, {"new", work_new},   {"node", work_node},
	{"nodes", work_nodes}, {"pool", work_pool}, {"scoped", work_scoped},
};

struct job {
	const struct way *way;
	size_t bytes, live_bytes;
	long n;
	double value, cpu_s;
	uint64_t cycles;
};

static double cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void *run(void *arg)
{
	struct job *j = arg;
	struct rt_mem_stats before, after;
	double cpu;

	blobs.bytes = j->bytes;
	arena = rt_arena_new("work", 0, RT_ARENA_BYTES);
	grow_live(j->live_bytes);
	rt_gc();
	rt_mem_stats(&before);
	cpu = cpu_seconds();
	for (long done = 0; done < j->n; done += HELD) {
		j->way->work(j->bytes);
		RT_POLL();
	}
	j->cpu_s = cpu_seconds() - cpu;
	j->value = j->cpu_s / (double)j->n * 1e9;
	rt_mem_stats(&after);
	j->cycles = after.cycles - before.cycles;
	return NULL;
}

int main(int argc, char **argv)
{
	struct job j = {0};
	int r;

	for (size_t i = 0; argc == 5 && i < sizeof ways / sizeof *ways; i++)
		if (!strcmp(ways[i].name, argv[1]))
			j.way = &ways[i];
	j.bytes = argc == 5 ? strtoul(argv[2], NULL, 10) : 0;
	j.live_bytes = argc == 5 ? strtoul(argv[4], NULL, 10) << 20 : 0;
	j.n = argc == 5 ? atol(argv[3]) : 0;
	if (!j.way || j.bytes < 8 || j.n <= 0 ||
	    (!strcmp(argv[1], "scoped") && j.bytes != sizeof(struct blob_64) &&
	     j.bytes != sizeof(struct blob_1024))) {
		fprintf(stderr, "usage: rt_pool new|pool|arena|scoped|node|nodes SIZE N LIVE_MB "
				"(scoped: 64 or 1024)\n");
		return 2;
	}
	r = rt_run(NULL, run, &j, NULL);
	if (r < 0) {
		fprintf(stderr, "rt_run: %s\n", strerror(-r));
		return 1;
	}
	printf("{\"value\": %.6g, \"cpu_s\": %.6f, \"gc_cycles\": %" PRIu64 "}\n", j.value, j.cpu_s,
	       j.cycles);
	return 0;
}
