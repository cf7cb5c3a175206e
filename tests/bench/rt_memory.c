/*
 * rt_memory ROW N - our side of memory.alloc_*, trees, mark_* and barrier: the work of go/memory
 *
 * Nothing is tuned: preemption, sysmon, the profiles and the collector run as in any service. RT_PROCS
 * comes from the environment.
 */
#include "graph.h"

/* Allocation: garbage at once ---------------------------------------------------------------------- */

static void *volatile sink;

#define ALLOC_ROWS(bytes) \
	struct free_##bytes { \
		uint64_t words[(bytes) / 8]; \
	}; \
	RT_TYPE_FREE(free_##bytes##_type, struct free_##bytes); \
	struct ptr_##bytes { \
		void *const to; \
		uint64_t words[(bytes) / 8 - 1]; \
	}; \
	RT_TYPE(ptr_##bytes##_type, struct ptr_##bytes, to); \
\
	static void alloc_##bytes(int n) \
	{ \
		int64_t since = rt_now(); \
\
		for (int i = 0; i < n; i++) { \
			struct free_##bytes *p = rt_new(&free_##bytes##_type); \
\
			p->words[0] = (uint64_t)i; \
			sink = p; \
		} \
		tell("value", (double)(rt_now() - since) / n); \
	} \
\
	static void alloc_##bytes##_ptr(int n) \
	{ \
		int64_t since = rt_now(); \
\
		for (int i = 0; i < n; i++) { \
			struct ptr_##bytes *p = rt_new(&ptr_##bytes##_type); \
\
			p->words[0] = (uint64_t)i; \
			sink = p; \
		} \
		tell("value", (double)(rt_now() - since) / n); \
	}

ALLOC_ROWS(16)
ALLOC_ROWS(64)
ALLOC_ROWS(1024)

/* Binary trees, as the Benchmarks Game has them, with a depth step of 4 ------------------------------ */

struct node {
	struct node *const left, *const right;
};
RT_TYPE(node_type, struct node, left, right);

static struct node *bottom_up(int depth)
{
	struct node *left, *right, *n;

	if (depth == 0)
		return rt_new(&node_type);
	left = bottom_up(depth - 1);
	right = bottom_up(depth - 1);
	n = rt_new(&node_type);
	RT_SET(n->left, left);
	RT_SET(n->right, right);
	return n;
}

static int64_t item_check(const struct node *n)
{
	return n->left ? 1 + item_check(n->left) + item_check(n->right) : 1;
}

static void trees(int max)
{
	enum { MIN = 4, STEP = 4 };
	static double checks[32];
	size_t n_checks = 0;
	int64_t since = rt_now();
	struct node *long_lived;

	checks[n_checks++] = (double)item_check(bottom_up(max + 1));
	long_lived = bottom_up(max);
	for (int depth = MIN; depth <= max; depth += STEP) {
		int64_t check = 0;

		for (int i = 0; i < 1 << (max - depth + MIN); i++)
			check += item_check(bottom_up(depth));
		checks[n_checks++] = (double)check;
	}
	checks[n_checks++] = (double)item_check(long_lived);
	tell("trees_wall_s", (double)(rt_now() - since) / 1e9);
	tell("value", cpu_seconds());
	tell_list("checks", checks, n_checks);
}

/* Marking: forced cycles over a graph of which all is alive ------------------------------------------ */

enum { MARK_CYCLES = 3, MARK_WALK = 1 << 20 };

static void mark(const struct vertex *root, size_t n)
{
	double ns[MARK_CYCLES], marking_ns[MARK_CYCLES];

	rt_gc(); /* what the building left */
	for (int i = 0; i < MARK_CYCLES; i++) {
		double cpu = cpu_seconds();
		int64_t before = mem_stats().mark_cpu_ns;

		rt_gc();
		ns[i] = (cpu_seconds() - cpu) * 1e9 / (double)n;
		marking_ns[i] = (double)(mem_stats().mark_cpu_ns - before) / (double)n;
	}
	qsort(ns, MARK_CYCLES, sizeof(*ns), by_value);
	qsort(marking_ns, MARK_CYCLES, sizeof(*marking_ns), by_value);
	tell("value", ns[MARK_CYCLES / 2]);
	tell("own_account_ns", marking_ns[MARK_CYCLES / 2]);
	tell("objects", (double)mem_stats().objects);
	tell("check", (double)graph_walk(root, MARK_WALK));
	RT_KEEP(root);
}

/* 2^n objects. */
static void mark_random(int n)
{
	mark(graph_new(random_graph_build, (size_t)1 << n), (size_t)1 << n);
}

static void mark_local(int n)
{
	mark(graph_new(local_graph_build, (size_t)n - 1), ((size_t)1 << n) - 1);
}

/* The barrier: pointer stores while nothing is marked, and while a graph of 2^n objects is ----------- */

enum { CELLS = 1024, STORES = 1 << 14, BATCHES = 400 };

static _Atomic bool collecting, enough;

static void collector(void *arg)
{
	while (!atomic_load(&enough)) {
		atomic_store(&collecting, true);
		rt_gc();
		atomic_store(&collecting, false);
	}
	rt_group_done(arg);
}

static void store_batch(struct vertex *const *cells, unsigned shift)
{
	for (unsigned i = 0; i < STORES; i++)
		RT_SET(cells[i % CELLS]->to[3], cells[(i * 7 + shift) % CELLS]);
}

/* Median over batches, of which each lay within a cycle (or outside of all). A cycle is marking for
 * all but a few parts in a hundred of its time. */
static double store_ns(struct vertex *const *cells, bool within)
{
	static double ns[BATCHES];
	int n = 0;

	for (unsigned shift = 0; n < BATCHES; shift++) {
		bool before = atomic_load(&collecting);
		int64_t since = rt_now();

		store_batch(cells, shift);
		ns[n] = (double)(rt_now() - since) / STORES;
		if (before == within && atomic_load(&collecting) == within)
			n++;
	}
	qsort(ns, BATCHES, sizeof(*ns), by_value);
	return ns[BATCHES / 2];
}

/* Of the cycles that ran meanwhile: the p99 of their pauses, in s, and the marking's CPU time of one. */
static void tell_cycles(const struct rt_mem_stats *before, uint64_t pauses_before)
{
	static int64_t ns[1024];
	struct rt_mem_stats now;
	uint64_t total;
	size_t n = rt_gc_pauses(ns, 1024, &total);
	size_t ours = total - pauses_before < n ? total - pauses_before : n;
	static double s[1024];

	rt_mem_stats(&now);
	for (size_t i = 0; i < ours; i++)
		s[i] = (double)ns[n - ours + i] / RT_SEC;
	qsort(s, ours, sizeof *s, by_value);
	tell("pause_p99", ours ? s[(ours * 99 + 99) / 100 - 1] : 0);
	tell("cycle_cpu", (double)(now.mark_cpu_ns - before->mark_cpu_ns) / RT_SEC /
				  (double)(now.cycles > before->cycles ? now.cycles - before->cycles : 1));
}

static uint64_t cycles_until_now(void)
{
	struct rt_mem_stats s;

	rt_mem_stats(&s);
	return s.cycles;
}

/* Stores go on for at least so many cycles. */
static void barrier_for(int n, uint64_t cycles)
{
	struct rt_mem_stats before;
	uint64_t pauses;
	struct vertex *root = graph_new(random_graph_build, (size_t)1 << n);
	struct vertex *const *cells = rt_new_ptrs(CELLS);
	struct rt_group all = {0};

	for (unsigned i = 0; i < CELLS; i++)
		RT_SET(cells[i], vertex_new(i));
	rt_gc();
	tell("off", store_ns(cells, false));
	rt_mem_stats(&before);
	rt_gc_pauses(NULL, 0, &pauses);
	rt_group_add(&all, 1);
	start(collector, &all);
	tell("value", store_ns(cells, true));
	for (unsigned shift = 0; cycles_until_now() < before.cycles + cycles; shift++)
		store_batch(cells, shift);
	atomic_store(&enough, true);
	rt_group_wait(&all);
	tell_cycles(&before, pauses);
	RT_KEEP(root);
}

static void barrier(int n)
{
	barrier_for(n, 0);
}

static void barrier_kinds(int n)
{
	barrier_for(n, 60);
}

static const struct row rows[] = {
	{"alloc_1024", alloc_1024},
	{"alloc_1024_ptr", alloc_1024_ptr},
	{"alloc_16", alloc_16},
	{"alloc_16_ptr", alloc_16_ptr},
	{"alloc_64", alloc_64},
	{"alloc_64_ptr", alloc_64_ptr},
	{"barrier", barrier},
	{"barrier_kinds", barrier_kinds},
	{"mark_local", mark_local},
	{"mark_random", mark_random},
	{"trees", trees},
};

int main(int argc, char **argv)
{
	return rows_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
