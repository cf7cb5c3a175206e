/* boehm_trees DEPTH - binary trees on Boehm's collector: the work of trees() in rt_memory.c */
#include <gc/gc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct node {
	struct node *left, *right;
};

static struct node *bottom_up(int depth)
{
	struct node *left, *right, *n;

	if (depth == 0)
		return GC_MALLOC(sizeof(*n));
	left = bottom_up(depth - 1);
	right = bottom_up(depth - 1);
	n = GC_MALLOC(sizeof(*n));
	n->left = left;
	n->right = right;
	return n;
}

static int64_t item_check(const struct node *n)
{
	return n->left ? 1 + item_check(n->left) + item_check(n->right) : 1;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* As max_rss_bytes() of rows.h. */
static double max_rss_bytes(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %lu kB", &kib) == 1)
			break;
	if (!kib)
		abort();
	fclose(f);
	return (double)kib * 1024;
}

int main(int argc, char **argv)
{
	enum { MIN = 4, STEP = 4 };
	int max = argc == 2 ? atoi(argv[1]) : 0;
	struct node *long_lived;
	struct rusage use;

	if (max <= 0) {
		fprintf(stderr, "usage: boehm_trees DEPTH\n");
		return 2;
	}
	GC_INIT();
	printf("{\"checks\": [%jd", (intmax_t)item_check(bottom_up(max + 1)));
	long_lived = bottom_up(max);
	for (int depth = MIN; depth <= max; depth += STEP) {
		int64_t check = 0;

		for (int i = 0; i < 1 << (max - depth + MIN); i++)
			check += item_check(bottom_up(depth));
		printf(", %jd", (intmax_t)check);
	}
	printf(", %jd], ", (intmax_t)item_check(long_lived));
	getrusage(RUSAGE_SELF, &use);
	printf("\"value\": %.6f, \"cpu_s\": %.6f, ", seconds(use.ru_utime) + seconds(use.ru_stime),
	       seconds(use.ru_utime) + seconds(use.ru_stime));
	printf("\"gc_cycles\": %lu, \"max_rss\": %.0f}\n", (unsigned long)GC_get_gc_no(),
	       max_rss_bytes());
	return 0;
}
