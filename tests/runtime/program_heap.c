/*
 * program_heap DIR - a process that allocates known amounts in known places and writes what the runtime
 * tells of its heap into DIR. test_heap.py reads it.
 */
#include "../../runtime/obs/debug.h"
#include "../../runtime/rt.h"
#include "../../runtime/rt_metrics.h"

#include "scrub_x86_64.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	NODES = 20000,
	LARGE_BYTES = 1 << 20,
	SMALLS = 400000,
	SMALL_BYTES = 32,
	MEDIUMS = 6000,
	MEDIUM_BYTES = 4096,
	HUGES = 200,
	HUGE_BYTES = 100000,
	ESCAPES = 20,
	ESCAPE_BYTES = 512,
};

struct node {
	struct node *const next;
	char filler[56];
};
RT_TYPE(node_type, struct node, next);

static const char *dir;
static struct node *kept;
static void *volatile large;
static void *volatile mediums[MEDIUMS];
static void *volatile last;

static FILE *open_in(const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		exit(1);
	}
	return f;
}

static void *write_metrics(void *arg)
{
	FILE *f = open_in(arg);

	rt_metrics_write(f);
	fputs("# EOF\n", f);
	fclose(f);
	return NULL;
}

static void save_metrics(const char *name)
{
	rt_on_system_stack(write_metrics, (void *)(uintptr_t)name);
}

static __attribute__((noinline)) void make_nodes(void)
{
	for (int i = 0; i < NODES; i++) {
		struct node *n = rt_new(&node_type);

		RT_SET(n->next, kept);
		kept = n;
	}
}

static void head(void *arg, int status, const char *type)
{
	if (status != 200)
		exit(1);
}

static int append(void *arg, const void *bytes, size_t n)
{
	return fwrite(bytes, 1, n, arg) == n ? 0 : -1;
}

static void save_page(const char *name, const char *path, const char *query)
{
	FILE *f = open_in(name);

	rt_debug_serve(path, query, &(struct rt_debug_sink){head, append, f});
	fclose(f);
}

/* None of them stays. */
static __attribute__((noinline)) void make_smalls(void)
{
	for (int i = 0; i < SMALLS; i++)
		last = rt_new_bytes(SMALL_BYTES);
}

/* All of them stay, at first. */
static __attribute__((noinline)) void make_mediums(void)
{
	for (int i = 0; i < MEDIUMS; i++)
		mediums[i] = rt_new_ptrs(MEDIUM_BYTES / sizeof(void *));
}

static __attribute__((noinline)) void make_huges(void)
{
	for (int i = 0; i < HUGES; i++)
		last = rt_new_bytes(HUGE_BYTES);
}

static void drop_mediums(int from)
{
	for (int i = from; i < MEDIUMS; i++) {
		mediums[i] = NULL;
		RT_POLL();
	}
}

static void save_profiles(void)
{
	make_smalls();
	make_mediums();
	make_huges();
	last = NULL;
	rt_gc(); /* what a stale word of the stack kept is gone after two */
	save_page("full.pb.gz", "/debug/pprof/heap", "gc=1");
	save_page("full1.txt", "/debug/pprof/heap", "debug=1");
	save_page("allocs.pb.gz", "/debug/pprof/allocs", NULL);
	save_page("heap.txt", "/debug/heap", NULL);
	drop_mediums(MEDIUMS / 2);
	rt_gc();
	save_page("half.pb.gz", "/debug/pprof/heap", "gc=1");
	drop_mediums(0);
	rt_gc();
	save_page("none.pb.gz", "/debug/pprof/heap", "gc=1");
}

/* Each of these makes an object that a collection sees. */

static __attribute__((noinline)) void stays_in_its_frame(void)
{
	void *p = rt_new_bytes(ESCAPE_BYTES);

	rt_gc();
	RT_KEEP(p);
}

static __attribute__((noinline)) void *is_returned(void)
{
	char *p = rt_new_bytes(ESCAPE_BYTES);

	*(volatile char *)p = 1; /* else it would jump to rt_new_bytes, which then returns to its caller */
	return p;
}

static __attribute__((noinline)) void is_in_a_global(void)
{
	last = rt_new_bytes(ESCAPE_BYTES);
}

static __attribute__((noinline)) void is_stored(struct node *into)
{
	struct node *n = rt_new(&node_type);

	RT_SET(into->next, n);
	RT_SET(into->next, NULL);
	rt_gc();
	RT_KEEP(n);
}

static __attribute__((noinline)) void is_sent(struct rt_chan *c)
{
	void *p = rt_new_bytes(ESCAPE_BYTES), *back;

	rt_send(c, &p);
	rt_recv(c, &back);
	rt_gc();
	RT_KEEP(p);
}

static void *escapes(void *arg)
{
	struct rt_chan *c = rt_chan_new(sizeof(void *), 1);
	struct node *into = rt_new(&node_type);

	for (int i = 0; i < ESCAPES; i++) {
		void *p = is_returned();

		is_in_a_global();
		stays_in_its_frame();
		is_stored(into);
		is_sent(c);
		RT_KEEP(p);
	}
	RT_KEEP(into);
	rt_chan_free(c);
	rt_gc();
	save_page("escape.txt", "/debug/escape", NULL);
	save_page("escape.html", "/debug/escape.html", NULL);
	return NULL;
}

static __attribute__((noinline)) void make_large(void)
{
	large = rt_new_bytes(LARGE_BYTES);
}

static void *everything(void *arg)
{
	save_metrics("empty.metrics");
	make_nodes();
	make_large();
	scrub();
	rt_gc();
	save_metrics("full.metrics");
	kept = NULL;
	large = NULL;
	scrub();
	rt_gc();
	rt_gc(); /* what a stale word of the stack kept is gone */
	save_metrics("dropped.metrics");
	save_profiles();
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: program_heap DIR\n");
		return 2;
	}
	dir = argv[1];
	return rt_run(NULL, getenv("ESCAPE") ? escapes : everything, NULL, NULL) < 0;
}
