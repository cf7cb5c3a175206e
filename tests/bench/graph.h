/*
 * graph - live heaps of 64-byte objects, one of random edges and one of near ones
 *
 * Both are known by their root only. Built by a coroutine of its own, so that nothing of the building
 * stays on a stack, and with collections off, to save time on either side.
 */
#pragma once

#include "rows.h"

enum { GRAPH_EDGES = 4 };

struct vertex {
	struct vertex *const to[GRAPH_EDGES];
	uint64_t data[4]; /* data[0]: its number */
};
RT_TYPE(vertex_type, struct vertex, to[0], to[1], to[2], to[3]);

static struct vertex *graph_root;

static inline struct vertex *vertex_new(uint64_t number)
{
	struct vertex *v = rt_new(&vertex_type);

	v->data[0] = number;
	return v;
}

/* n is a power of two. Edge 0 leads through all vertices and back: a generator of full period. */
static inline void *random_graph_build(void *arg)
{
	size_t n = (size_t)(uintptr_t)arg;
	struct vertex *const *all = rt_new_ptrs(n);
	struct random r = {1};

	for (size_t i = 0; i < n; i++)
		RT_SET(all[i], vertex_new(i));
	for (size_t i = 0; i < n; i++) {
		RT_SET(all[i]->to[0], all[(i * 1664525 + 1013904223) & (n - 1)]);
		for (int e = 1; e < GRAPH_EDGES; e++)
			RT_SET(all[i]->to[e], all[random_next(&r) & (n - 1)]);
	}
	graph_root = all[0];
	return NULL;
}

/* A binary tree whose vertices were made in the order of a search from its root. */
static inline struct vertex *tree_build(int depth, uint64_t *number)
{
	struct vertex *v = vertex_new((*number)++);

	if (depth > 0) {
		RT_SET(v->to[0], tree_build(depth - 1, number));
		RT_SET(v->to[1], tree_build(depth - 1, number));
	}
	return v;
}

static inline void *local_graph_build(void *arg)
{
	int depth = (int)(intptr_t)arg;
	uint64_t number = 0;

	graph_root = tree_build(depth, &number);
	return NULL;
}

static inline struct vertex *graph_new(void *(*build)(void *arg), size_t arg)
{
	int percent = rt_gc_set_percent(-1);
	struct rt_co *builder = rt_spawn(build, (void *)arg, NULL);
	struct vertex *root;

	if (!builder)
		abort();
	rt_join(builder, NULL);
	rt_gc_set_percent(percent);
	root = graph_root;
	graph_root = NULL;
	return root;
}

/* The sum of the numbers on a way of n edges: the same on both sides, and wrong after an early free. */
static inline uint64_t graph_walk(const struct vertex *v, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; v && i < n; i++) {
		sum += v->data[0];
		v = v->to[0];
	}
	return sum;
}
