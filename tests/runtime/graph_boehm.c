/* graph SEED ROUNDS: the random program of graph.h on the heap of Boehm, Demers and Weiser. */
#define GC_NO_THREAD_REDIRECTS
#include <gc/gc.h>
#include <unistd.h>

#define SET(field, value) (*(void **)(uintptr_t)&(field) = (void *)(uintptr_t)(value))
#define COPY_CELLS(to, from, n) memmove((void *)(to), from, (n) * sizeof(struct cell))
#define AFTER_OP() ((void)0)

#include "graph.h"

static GC_hidden_pointer *links; /* zero: freed */

static void *allocate(size_t bytes)
{
	void *p = GC_MALLOC(bytes);

	if (!p)
		exit(2);
	return p;
}

static void *heap_new(unsigned type, uint32_t n)
{
	struct vector *v;
	struct leaf *leaf;
	size_t bytes;

	switch (type) {
	case PAIR:
		return allocate(sizeof(struct pair));
	case WIDE:
		return allocate(sizeof(struct wide));
	case VECTOR:
		v = allocate(sizeof *v);
		SET(v->items, allocate(n * sizeof(void *)));
		return v;
	case LEAF:
		bytes = sizeof *leaf + n * sizeof(uint64_t);
		leaf = GC_MALLOC_ATOMIC(bytes);
		if (!leaf)
			exit(2);
		return memset(leaf, 0, bytes);
	default:
		return allocate(n * sizeof(struct cell));
	}
}

static void heap_note(uint32_t id, void *obj)
{
	links[id] = GC_HIDE_POINTER(obj);
	GC_general_register_disappearing_link((void **)&links[id], obj);
}

static void heap_collect(void)
{
	GC_gcollect();
}

static bool heap_has(uint32_t id)
{
	return links[id] != 0;
}

/* It makes each object a byte longer, so that its end is its own. */
static uint32_t heap_before(const void *p)
{
	(void)p;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: graph_boehm SEED ROUNDS\n");
		return 2;
	}
	GC_set_all_interior_pointers(1);
	GC_INIT();
	links = calloc(MODEL_MAX, sizeof *links);
	if (!links)
		return 2;
	graph_run(strtoull(argv[1], NULL, 0), (unsigned)atoi(argv[2]));
	return 0;
}
