/*
 * program_heap DIR - a process that allocates known amounts in known places and writes what the runtime
 * tells of its heap into DIR. test_heap.py reads it.
 */
#include "../../runtime/obs/debug.h"
#include "../../runtime/rt.h"
#include "../../runtime/rt_metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 20000, LARGE_BYTES = 1 << 20 };

struct node {
	struct node *const next;
	char filler[56];
};
RT_TYPE(node_type, struct node, next);

static const char *dir;
static struct node *kept;
static void *volatile large;

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

static void *everything(void *arg)
{
	save_metrics("empty.metrics");
	make_nodes();
	large = rt_new_bytes(LARGE_BYTES);
	rt_gc();
	save_metrics("full.metrics");
	kept = NULL;
	large = NULL;
	rt_gc();
	rt_gc(); /* what a stale word of the stack kept is gone */
	save_metrics("dropped.metrics");
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: program_heap DIR\n");
		return 2;
	}
	dir = argv[1];
	return rt_run(NULL, everything, NULL, NULL) < 0;
}
