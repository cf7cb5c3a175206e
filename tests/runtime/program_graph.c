/* graph SEED ROUNDS: the random program of graph.h on the runtime's heap, with collections all the time. */
#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/heap.h"
#include "scrub_x86_64.h"

#include <unistd.h>

#define SET(field, value) RT_SET(field, value)
#define COPY_CELLS(to, from, n) rt_copy(&cell_type, to, from, n)
#define AFTER_OP() RT_POLL()

static struct rt_type cell_type;
#include "graph.h"

RT_TYPE(pair_type, struct pair, left, right);
RT_TYPE(wide_type, struct wide, first, second);
RT_TYPE(vector_type, struct vector, items);
RT_TYPE(cell_type, struct cell, next);

#define ITEMS (UINT32_C(1) << 31) /* an owner: the array of a vector, not itself */
enum { UNITS = 1 << 22 }; /* of 16 bytes, of the heap's address space that is used here */
static uint32_t *owner; /* the object that was made last at an address */
static struct rt_mutex turn;
static _Atomic bool over;

/* What was there is gone. */
static void set_owner(const void *obj, uint32_t id)
{
	uintptr_t unit = ((uintptr_t)obj - heap.base) / CELL_MIN;

	if (unit >= UNITS)
		graph_fail("lies beyond what was thought to be enough", id);
	if (owner[unit] && !(owner[unit] & ITEMS))
		model[owner[unit]].freed = true;
	owner[unit] = id;
}

static void *heap_new(unsigned type, uint32_t n)
{
	struct vector *v;

	switch (type) {
	case PAIR:
		return rt_new(&pair_type);
	case WIDE:
		return rt_new(&wide_type);
	case VECTOR:
		v = rt_new(&vector_type);
		RT_SET(v->items, rt_new_ptrs(n));
		set_owner(v->items, n_model | ITEMS);
		return v;
	case LEAF:
		return rt_new_bytes(sizeof(struct leaf) + n * sizeof(uint64_t));
	default:
		return rt_new_array(&cell_type, n);
	}
}

static void heap_note(uint32_t id, void *obj)
{
	set_owner(obj, id);
}

static void heap_collect(void)
{
	scrub();
	rt_lock(&turn); /* and no other collection while it is looked at */
	rt_gc();
	rt_unlock(&turn);
}

static bool heap_has(uint32_t id)
{
	struct object o;

	if (!object_find(~model[id].hidden, &o))
		return false;
	if (atomic_load(&o.block->sweep_gen) != heap.sweep_gen && !map_has(o.block->mark, o.cell))
		return false;
	return o.addr == ~model[id].hidden && map_has(o.block->alloc, o.cell);
}

static uint32_t heap_before(const void *p)
{
	struct object o;

	if (!object_find((uintptr_t)p - 1, &o) || o.addr + o.block->cell_bytes != (uintptr_t)p)
		return 0;
	return owner[(o.addr - heap.base) / CELL_MIN] & ~ITEMS;
}

static void *collect_always(void *arg)
{
	while (!over) {
		heap_collect();
		rt_sleep(RT_MSEC);
	}
	return arg;
}

static void *run(void *arg)
{
	char **argv = arg;
	struct rt_co *beside = rt_spawn(collect_always, NULL, NULL);

	owner = calloc(UNITS, sizeof *owner);
	if (!owner)
		exit(2);
	graph_run(strtoull(argv[1], NULL, 0), (unsigned)atoi(argv[2]));
	over = true;
	rt_join(beside, NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: program_graph SEED ROUNDS\n");
		return 2;
	}
	setenv("RT_DEBUG", "gcverify=1", 0);
	return rt_run(&(struct rt_options){.procs = 2}, run, argv, NULL) != 0;
}
