/* Huge pages: the collector makes them, of what is full after a cycle beyond the first 128 MiB. */
#include "../../runtime/sched/sched.h"
#include "../../runtime/mem/heap.h"
#include "rt.h"
#include "rt_mem.h"

#include "tap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	CELLS = 200 << 10,
	MORE_CELLS = 150 << 10,
	CELL_BYTES = 1000,
	SPARSE = 128 << 20,
	AREA = 2 << 20,
	PAGE = 4 << 10,
};

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

/* Whether the area's pages are one in the machine's memory too: which only root is told. */
static bool is_one_page(uintptr_t area)
{
	FILE *f = fopen("/proc/self/pagemap", "re");
	uint64_t entry[AREA / PAGE] = {0};
	bool one = f && fseek(f, (long)(area / PAGE * sizeof(*entry)), SEEK_SET) == 0 &&
		   fread(entry, sizeof(entry), 1, f) == 1;

	for (uint64_t i = 0, frame = entry[0] << 9 >> 9; one && i < AREA / PAGE; i++)
		one = frame && frame % (AREA / PAGE) == 0 && entry[i] << 9 >> 9 == frame + i;
	if (f)
		fclose(f);
	return one;
}

static void *const *make_cells(int n)
{
	void *const *cells = rt_new_ptrs((size_t)n);

	for (int i = 0; i < n; i++) {
		RT_SET(cells[i], rt_new_bytes(CELL_BYTES));
		memset(cells[i], 1, CELL_BYTES);
		RT_POLL();
	}
	return cells;
}

static void check_larger(void)
{
	uintptr_t early = heap.base + 16 * AREA;
	bool before = is_one_page(early);
	void *const *cells = make_cells(MORE_CELLS);

	rt_gc();
	CHECK(!before && (geteuid() || is_one_page(early)),
	      "the first 128 MiB are when the heap has twice as much%s", geteuid() ? " # SKIP not told" : "");
	CHECK(geteuid() || is_one_page((uintptr_t)heap.blocks), "the table of blocks is%s",
	      geteuid() ? " # SKIP not told" : "");
	RT_KEEP(cells);
}

static void *run(void *arg)
{
	size_t before, huge, rss;
	void *const *cells;
	void *sparse;

	rt_gc_set_percent(-1);
	cells = make_cells(CELLS);
	before = in_smaps("AnonHugePages");
	rt_gc();
	huge = in_smaps("AnonHugePages");
	CHECK(before == 0, "no first touch takes one (%zu MiB)", before >> 20);
	CHECK(huge >= 40 << 20 && huge <= 80 << 20, "what is full beyond 128 MiB is made of them (%zu MiB)",
	      huge >> 20);
	check_larger();
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
