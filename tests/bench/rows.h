/*
 * rows - the frame of our side's benchmark programs: PROGRAM ROW N prints one JSON object
 *
 * A row does its work in the runtime's first coroutine and tells figures: "value" in the row's unit,
 * and what else it reports. CPU seconds, collections and the highest resident size come by themselves.
 * Included by one source file a program, which is managed code as a user of rt.h writes it.
 */
#pragma once

#include "../../runtime/rt.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ROWS_FIGURES_MAX = 32, ROWS_BATCH = 64 };

struct row {
	const char *name;
	void (*run)(int n);
};

struct figure {
	const char *key;
	double value;
	const double *list; /* NULL: a single value */
	size_t n;
};

static struct {
	const struct row *row;
	int n;
	size_t n_figures;
	struct figure figures[ROWS_FIGURES_MAX];
} rows_job;

static inline void tell_list(const char *key, const double *list, size_t n)
{
	if (rows_job.n_figures == ROWS_FIGURES_MAX)
		abort();
	rows_job.figures[rows_job.n_figures++] = (struct figure){.key = key, .list = list, .n = n};
}

static inline void tell(const char *key, double value)
{
	tell_list(key, NULL, 0);
	rows_job.figures[rows_job.n_figures - 1].value = value;
}

/* Of the process, so far. */
static inline double cpu_seconds(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
	       (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static inline struct rt_mem_stats mem_stats(void)
{
	struct rt_mem_stats s;

	rt_mem_stats(&s);
	return s;
}

/* getrusage's begins with what the process had before its exec. */
static inline double max_rss_bytes(void)
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

static inline void start(void (*fn)(void *arg), void *arg)
{
	int r = rt_go(fn, arg);

	if (r < 0) {
		fprintf(stderr, "coroutine: %s\n", strerror(-r));
		exit(1);
	}
}

static inline int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static inline double quantile(const double *sorted, size_t n, double q)
{
	return n ? sorted[(size_t)((double)(n - 1) * q)] : 0;
}

/* The same numbers as next() of the Go side. */
struct random {
	uint64_t x;
};

static inline uint64_t random_next(struct random *r)
{
	r->x = r->x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return r->x >> 33;
}

static inline void *rows_run(void *arg)
{
	rows_job.row->run(rows_job.n);
	tell("cpu_s", cpu_seconds());
	tell("gc_cycles", (double)mem_stats().cycles);
	tell("max_rss", max_rss_bytes());
	return NULL;
}

static inline void rows_print(void)
{
	for (size_t i = 0; i < rows_job.n_figures; i++) {
		const struct figure *f = &rows_job.figures[i];

		printf("%s\"%s\": ", i ? ", " : "{", f->key);
		if (!f->list)
			printf("%.17g", f->value);
		for (size_t k = 0; f->list && k < f->n; k++)
			printf("%s%.17g", k ? ", " : "[", f->list[k]);
		if (f->list)
			printf("%s", f->n ? "]" : "[]");
	}
	printf("}\n");
}

static inline int rows_main(int argc, char **argv, const struct row *rows, size_t n_rows)
{
	int r;

	rows_job.n = argc == 3 ? atoi(argv[2]) : 0;
	for (size_t i = 0; argc == 3 && i < n_rows; i++)
		if (strcmp(rows[i].name, argv[1]) == 0)
			rows_job.row = &rows[i];
	if (!rows_job.row || rows_job.n <= 0) {
		fprintf(stderr, "usage: %s ROW N\n", argv[0]);
		return 2;
	}
	r = rt_run(NULL, rows_run, NULL, NULL);
	if (r < 0) {
		fprintf(stderr, "rt_run: %s\n", strerror(-r));
		return 1;
	}
	rows_print();
	return 0;
}
