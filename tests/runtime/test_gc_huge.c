/* Huge pages: the collector makes them, of what is full after a cycle beyond the first 128 MiB. */
#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/heap.h"
#include "rt.h"
#include "rt_mem.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { CELLS = 200 << 10, CELL_BYTES = 1000, SPARSE = 128 << 20 };

/* Of the heap's mappings, in bytes. */
static size_t in_smaps(const char *name)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to, kb, n = 0;
	size_t len = strlen(name);
	bool ours = false;
	char line[512];

	while (f && fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = from < heap.base + heap.reserved && to > heap.base;
		else if (ours && !strncmp(line, name, len) && sscanf(line + len, ": %lu kB", &kb) == 1)
			n += kb;
	}
	if (f)
		fclose(f);
	return n << 10;
}

static void *run(void *arg)
{
	void *const *cells = rt_new_ptrs(CELLS);
	size_t before, huge, rss;
	void *sparse;

	rt_gc_set_percent(-1);
	for (int i = 0; i < CELLS; i++) {
		RT_SET(cells[i], rt_new_bytes(CELL_BYTES));
		memset(cells[i], 1, CELL_BYTES);
		RT_POLL();
	}
	before = in_smaps("AnonHugePages");
	rt_gc();
	huge = in_smaps("AnonHugePages");
	CHECK(before == 0, "no first touch takes one (%zu MiB)", before >> 20);
	CHECK(huge >= 40 << 20 && huge <= 80 << 20, "what is full beyond 128 MiB is made of them (%zu MiB)",
	      huge >> 20);
	sparse = rt_new_bytes(SPARSE);
	rss = in_smaps("Rss");
	rt_gc();
	CHECK(in_smaps("Rss") < rss + SPARSE / 4, "what a large object never used is not (%zu of %zu MiB)",
	      in_smaps("Rss") >> 20, rss >> 20);
	RT_KEEP(sparse);
	RT_KEEP(cells);
	return NULL;
}

int main(void)
{
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
		CHECK(true, "huge pages # SKIP this kernel has none; the host's leg covers them");
		return tap_done();
	}
	rt_run(NULL, run, NULL, NULL);
	return tap_done();
}
