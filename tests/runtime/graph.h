/*
 * graph - a seeded random program on object graphs, beside a model of them, on whatever heap
 *
 * The program that includes this has defined the heap:
 *     SET(field, value), COPY_CELLS(to, from, n)
 *     void *heap_new(unsigned type, uint32_t n)        a zeroed object; n as in struct model
 *     void heap_note(uint32_t id, void *obj)           model[id] has just been made as obj
 *     AFTER_OP()
 *     void heap_collect(void)                          a whole collection
 *     bool heap_has(uint32_t id)                       model[id] was not freed; after heap_collect
 *     uint32_t heap_before(const void *p)              the object that ends at p, and is kept by it; 0: none
 * What is done depends on seed and model only, so that on every heap the same is done. After each
 * collection what the model reaches is compared word for word, and a line tells a digest of it and how
 * much of what it does not reach is still there.
 */
#pragma once

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIR, WIDE, VECTOR, LEAF, ROW, TYPES };
enum { ROOTS = 500, MODEL_MAX = 1 << 21, OPS_A_ROUND = 4000, LARGE_N = 20000 };

struct pair {
	uint64_t tag;
	void *const left, *const right;
};
struct wide { /* pointers at 16 and 32 */
	uint64_t tag, a;
	void *const first;
	uint64_t b;
	void *const second;
	uint64_t c;
};
struct vector {
	uint64_t tag, n;
	void *const *const items;
};
struct leaf { /* no pointers */
	uint64_t tag, n;
	uint64_t words[];
};
struct cell { /* a row is an array of these, and is named by any of them */
	uint64_t tag;
	void *const next;
};

/* Names an object and its cell. */
struct ref {
	uint32_t id; /* 0: nothing */
	uint32_t cell;
};
struct model {
	uint8_t type;
	bool freed, reached, counted;
	bool near; /* reached from an object that ends where a root points to */
	uint32_t n;        /* fields; words of a leaf */
	uintptr_t hidden;  /* where it is */
	struct ref *refs;
};
static struct model *model;
static uint32_t n_model;
static struct ref model_roots[ROOTS];
static void *roots[ROOTS]; /* found by both collectors */

static void *heap_new(unsigned type, uint32_t n);
static void heap_note(uint32_t id, void *obj);
static void heap_collect(void);
static bool heap_has(uint32_t id);
static uint32_t heap_before(const void *p);

static uint64_t random_state, seed;

static uint32_t any(uint32_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((random_state >> 33) % below);
}

_Noreturn static void graph_fail(const char *what, uint32_t id)
{
	printf("seed %" PRIu64 ": object %u (type %u, %u fields) %s\n", seed, id, model[id].type, model[id].n,
	       what);
	fflush(stdout);
	_exit(1);
}

static uint64_t tag_of(uint32_t id, uint32_t cell)
{
	return (uint64_t)id << 32 | (uint64_t)cell << 8 | model[id].type;
}

/* Where the field of an object is. */
static void *const *field_at(void *obj, uint32_t id, uint32_t i)
{
	switch (model[id].type) {
	case PAIR:
		return i ? &((struct pair *)obj)->right : &((struct pair *)obj)->left;
	case WIDE:
		return i ? &((struct wide *)obj)->second : &((struct wide *)obj)->first;
	case VECTOR:
		return &((struct vector *)obj)->items[i];
	default:
		return &((struct cell *)obj)[i].next;
	}
}

static uint32_t n_refs(uint32_t id)
{
	return model[id].type == LEAF ? 0 : model[id].n;
}

/* An object from a pointer to any of its cells. */
static void *start_of(void *p, struct ref r)
{
	return model[r.id].type == ROW ? (struct cell *)p - r.cell : p;
}

/* Operations ------------------------------------------------------------------------------------- */

static uint32_t any_n(unsigned type)
{
	bool large = any(200) == 0;

	switch (type) {
	case VECTOR:
		return 1 + any(large ? LARGE_N : 30);
	case LEAF:
		return any(large ? LARGE_N : 40);
	case ROW:
		return 1 + any(large ? 5000 : 20);
	default:
		return 2;
	}
}

static void make_contents(void *obj, uint32_t id)
{
	struct leaf *leaf = obj;

	*(uint64_t *)obj = tag_of(id, 0);
	if (model[id].type == ROW)
		for (uint32_t i = 0; i < model[id].n; i++)
			((struct cell *)obj)[i].tag = tag_of(id, i);
	if (model[id].type == VECTOR)
		((struct vector *)obj)->n = model[id].n;
	if (model[id].type != LEAF)
		return;
	leaf->n = model[id].n;
	for (uint32_t i = 0; i < leaf->n; i++)
		leaf->words[i] = id * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static void op_new(void)
{
	uint32_t root = any(ROOTS), id = ++n_model;
	struct model *m = &model[id];
	void *obj;

	if (id == MODEL_MAX)
		graph_fail("is one too many for the model", 0);
	m->type = (uint8_t)any(TYPES);
	m->n = any_n(m->type);
	m->refs = m->type == LEAF ? NULL : calloc(m->n, sizeof *m->refs);
	obj = heap_new(m->type, m->n);
	make_contents(obj, id);
	m->hidden = ~(uintptr_t)obj;
	heap_note(id, obj);
	model_roots[root] = (struct ref){id, 0};
	roots[root] = obj;
}

/* A root with fields, and one of them; false: this one has none. */
static bool any_field(uint32_t *ret_root, uint32_t *ret_i)
{
	uint32_t root = any(ROOTS), id = model_roots[root].id, i = any(1 << 20);

	if (!id || !n_refs(id))
		return false;
	*ret_root = root;
	*ret_i = i % n_refs(id);
	return true;
}

static struct ref *model_field(uint32_t root, uint32_t i)
{
	return &model[model_roots[root].id].refs[i];
}

static void *const *real_field(uint32_t root, uint32_t i)
{
	return field_at(start_of(roots[root], model_roots[root]), model_roots[root].id, i);
}

static void op_link(void)
{
	uint32_t a, i, b = any(ROOTS), cell = any(1 << 20);
	struct ref to = model_roots[b];
	void *p = roots[b];

	if (!any_field(&a, &i))
		return;
	if (to.id && model[to.id].type == ROW) { /* another cell of it */
		p = (struct cell *)start_of(p, to) + cell % model[to.id].n;
		to.cell = cell % model[to.id].n;
	}
	*model_field(a, i) = to;
	SET(*real_field(a, i), p);
}

static void op_cut(void)
{
	uint32_t a, i;

	if (!any_field(&a, &i))
		return;
	*model_field(a, i) = (struct ref){0};
	SET(*real_field(a, i), NULL);
}

static void op_load(void)
{
	uint32_t a, i, to = any(ROOTS);

	if (!any_field(&a, &i) || !model_field(a, i)->id)
		return;
	roots[to] = *real_field(a, i);
	model_roots[to] = *model_field(a, i);
}

static void op_drop(void)
{
	uint32_t a = any(ROOTS);

	roots[a] = NULL;
	model_roots[a] = (struct ref){0};
}

static void op_swap(void)
{
	uint32_t a, i, b, j;
	struct ref r;
	void *p;

	if (!any_field(&a, &i) || !any_field(&b, &j))
		return;
	r = *model_field(a, i);
	*model_field(a, i) = *model_field(b, j);
	*model_field(b, j) = r;
	p = *real_field(a, i);
	SET(*real_field(a, i), *real_field(b, j));
	SET(*real_field(b, j), p);
}

/* Cells of a row over others, of the same row perhaps. */
static void op_copy(void)
{
	uint32_t a = any(ROOTS), b = any(ROOTS), most;
	uint32_t from = any(1 << 20), to = any(1 << 20), n = any(1 << 20);
	uint32_t x = model_roots[a].id, y = model_roots[b].id;
	struct cell *real;

	if (!x || !y || model[x].type != ROW || model[y].type != ROW)
		return;
	to %= model[x].n;
	from %= model[y].n;
	most = model[x].n - to < model[y].n - from ? model[x].n - to : model[y].n - from;
	n %= most + 1;
	memmove(&model[x].refs[to], &model[y].refs[from], n * sizeof(struct ref));
	real = start_of(roots[a], model_roots[a]);
	COPY_CELLS(real + to, (struct cell *)start_of(roots[b], model_roots[b]) + from, n);
	for (uint32_t i = 0; i < n; i++)
		real[to + i].tag = tag_of(x, to + i);
}

/* Few drops: what a root named goes when another object takes its place. */
static void op(void)
{
	static void (*const ops[])(void) = {
		op_new, op_new, op_new, op_link, op_link, op_link, op_link, op_link, op_link,
		op_link, op_link, op_link, op_cut, op_drop, op_load, op_load, op_swap, op_copy,
	};

	ops[any(sizeof ops / sizeof *ops)]();
}

/* Looking ---------------------------------------------------------------------------------------- */

static uint32_t *queue;

static void reach(struct ref r, uint32_t *n)
{
	if (!r.id || model[r.id].reached)
		return;
	model[r.id].reached = true;
	queue[(*n)++] = r.id;
}

static void look_at_ref(uint32_t from, uint32_t i, struct ref r, const void *real)
{
	uintptr_t want = r.id ? ~model[r.id].hidden : 0;

	if (r.id && model[r.id].type == ROW)
		want += r.cell * sizeof(struct cell);
	if ((uintptr_t)real != want)
		graph_fail(i == UINT32_MAX ? "is not named by its root" : "has a field that names another",
			   from);
}

/* Every word; returns what goes into the digest. */
static uint64_t look_at(uint32_t id)
{
	void *obj = (void *)~model[id].hidden;
	uint64_t digest = tag_of(id, 0);

	if (*(uint64_t *)obj != tag_of(id, 0))
		graph_fail("has lost its memory", id);
	if (model[id].type == VECTOR && ((struct vector *)obj)->n != model[id].n)
		graph_fail("has another length", id);
	for (uint32_t i = 0; i < n_refs(id); i++) {
		look_at_ref(id, i, model[id].refs[i], *field_at(obj, id, i));
		if (model[id].type == ROW && ((struct cell *)obj)[i].tag != tag_of(id, i))
			graph_fail("has lost a cell", id);
		digest = digest * 31 + (*field_at(obj, id, i) ? tag_of(model[id].refs[i].id, 0) : 0);
	}
	for (uint32_t i = 0; model[id].type == LEAF && i < model[id].n; i++)
		if (((struct leaf *)obj)->words[i] != id * UINT64_C(0x9e3779b97f4a7c15) + i)
			graph_fail("has other words", id);
	return digest;
}

struct counts {
	uint64_t gone, near, kept; /* of what nobody reaches: freed since the last look; still there */
};

static void reach_near(uint32_t id, uint32_t *n)
{
	if (!id || model[id].near || model[id].freed)
		return;
	model[id].near = true;
	queue[(*n)++] = id;
}

static void look_near(void)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < ROOTS; i++)
		if (roots[i])
			reach_near(heap_before(roots[i]), &n);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n_refs(queue[i]); j++)
			reach_near(model[queue[i]].refs[j].id, &n);
}

static void look(unsigned round, struct counts *all)
{
	uint32_t n = 0, gone = 0, near = 0, kept = 0;
	uint64_t digest = 0;

	for (unsigned i = 0; i < ROOTS; i++) {
		reach(model_roots[i], &n);
		if (model_roots[i].id)
			look_at_ref(model_roots[i].id, UINT32_MAX, model_roots[i], roots[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t j = 0; j < n_refs(queue[i]); j++)
			reach(model[queue[i]].refs[j], &n);
		digest = digest * 1099511628211u + look_at(queue[i]);
	}
	look_near();
	for (uint32_t id = 1; id <= n_model; id++) {
		struct model *m = &model[id];
		bool there = !m->freed && heap_has(id);

		if (m->reached && !there)
			graph_fail("was freed, and can be reached", id);
		near += !m->reached && there && m->near;
		kept += !m->reached && there && !m->near;
		if (!there && !m->counted) {
			gone++;
			free(m->refs);
			m->counted = m->freed = true;
		}
		m->reached = m->near = false;
	}
	all->gone += gone;
	all->near += near;
	all->kept += kept;
	printf("round %u: %u reachable, digest %016" PRIx64 "; %u freed, %u beside roots, %u kept\n", round,
	       n, digest, gone, near, kept);
}

/* Prints a line a round, and a last one. */
static void graph_run(uint64_t with_seed, unsigned rounds)
{
	struct counts all = {0};

	random_state = seed = with_seed;
	model = calloc(MODEL_MAX, sizeof *model);
	queue = malloc(MODEL_MAX * sizeof *queue);
	if (!model || !queue)
		exit(2);
	for (unsigned r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < OPS_A_ROUND; i++) {
			op();
			AFTER_OP();
		}
		heap_collect();
		look(r, &all);
	}
	printf("garbage: %" PRIu64 " freed, %" PRIu64 " beside roots, %" PRIu64 " kept\n", all.gone,
	       all.near, all.kept);
}
