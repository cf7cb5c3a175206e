#include "heap.h"

#include "obs.h"
#include "profile.h"
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

struct row {
	const struct heap_site *site;
	uint64_t allocs, alive;
};

struct job {
	struct out *out;
	enum heap_profile which;
	int debug;
	struct row *rows;
	size_t n;
};

double heap_weight(const struct heap_site *s, int64_t rate)
{
	return rate <= 1 ? 1 : 1 / -expm1(-(double)s->bytes / (double)rate);
}

static int most_alive_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double in_x = (double)x->alive * (double)x->site->bytes;
	double in_y = (double)y->alive * (double)y->site->bytes;

	return (in_x < in_y) - (in_x > in_y);
}

static void collect(struct job *j)
{
	uint64_t *alive;
	size_t n = 0;

	for (struct heap_site *s = heap_site_next(NULL); s; s = heap_site_next(s))
		n++;
	alive = calloc(n + 1, sizeof *alive);
	j->rows = calloc(n + 1, sizeof *j->rows);
	if (!alive || !j->rows)
		rt_fatal("out of memory for %zu places of the heap profile", n);
	heap_sites_alive(alive, n);
	for (struct heap_site *s = heap_site_next(NULL); s && j->n < n; s = heap_site_next(s)) {
		j->rows[j->n] = (struct row){s, count_read(&s->allocs), alive[j->n]};
		j->n++;
	}
	free(alive);
	qsort(j->rows, j->n, sizeof *j->rows, most_alive_first);
}

static int64_t scaled(uint64_t objects, double by, size_t bytes)
{
	return (int64_t)((double)objects * by * (double)bytes + 0.5);
}

static void write_profile(const struct job *j)
{
	struct profile_kind kind = {
		.types = {{"alloc_objects", "count"}, {"alloc_space", "bytes"},
			  {"inuse_objects", "count"}, {"inuse_space", "bytes"}},
		.default_type = j->which == ALLOCS_PROFILE ? "alloc_space" : "inuse_space",
		.period_type = {"space", "bytes"},
		.period = sample_rate(),
	};
	struct profile *p = profile_new(&kind);

	for (size_t i = 0; i < j->n; i++) {
		const struct row *r = &j->rows[i];
		double w = heap_weight(r->site, r->site->rate);

		profile_add(p, r->site->pcs, r->site->n,
			    (int64_t[]){scaled(r->allocs, w, 1), scaled(r->allocs, w, r->site->bytes),
					scaled(r->alive, w, 1), scaled(r->alive, w, r->site->bytes)});
	}
	profile_write(p, j->out);
	profile_free(p);
}

static void write_counts(struct out *o, const uint64_t n[4])
{
	out_printf(o, "%" PRIu64 ": %" PRIu64 " [%" PRIu64 ": %" PRIu64 "] @", n[0], n[1], n[2], n[3]);
}

/* As many samples as there would have been under the rate that the head of the page tells: who reads it
 * scales by that. */
static void samples_of(const struct row *r, int64_t rate, uint64_t ret[4])
{
	double by = heap_weight(r->site, r->site->rate) / heap_weight(r->site, rate);

	ret[0] = (uint64_t)scaled(r->alive, by, 1);
	ret[1] = ret[0] * r->site->bytes;
	ret[2] = (uint64_t)scaled(r->allocs, by, 1);
	ret[3] = ret[2] * r->site->bytes;
}

static void write_memstats(struct out *o)
{
	struct rt_mem_stats s;

	rt_mem_stats(&s);
	out_printf(o, "\n# runtime.MemStats\n# Alloc = %" PRIu64 "\n# TotalAlloc = %" PRIu64
		   "\n# Mallocs = %" PRIu64 "\n# Frees = %" PRIu64 "\n# HeapInuse = %" PRIu64
		   "\n# HeapReleased = %" PRIu64 "\n# HeapObjects = %" PRIu64 "\n# NextGC = %" PRIu64
		   "\n# NumGC = %" PRIu64 "\n",
		   s.heap_bytes, s.alloc_bytes, s.allocs, s.frees, s.heap_mapped, s.heap_released,
		   s.objects, s.heap_goal, s.cycles);
}

static void write_text(const struct job *j)
{
	int64_t rate = sample_rate();
	uint64_t sum[4] = {0}, n[4];

	for (size_t i = 0; i < j->n; i++) {
		samples_of(&j->rows[i], rate, n);
		for (int k = 0; k < 4; k++)
			sum[k] += n[k];
	}
	out_text(j->out, "heap profile: ");
	write_counts(j->out, sum);
	out_printf(j->out, " heap/%" PRId64 "\n", 2 * rate);
	for (size_t i = 0; i < j->n; i++) {
		samples_of(&j->rows[i], rate, n);
		write_counts(j->out, n);
		text_addresses(j->out, j->rows[i].site->pcs, j->rows[i].site->n);
		out_text(j->out, "\n");
		text_record(j->out, j->rows[i].site->pcs, j->rows[i].site->n);
	}
	write_memstats(j->out);
}

static void work(void *arg)
{
	struct job *j = arg;

	collect(j);
	if (j->debug > 0)
		write_text(j);
	else
		write_profile(j);
	free(j->rows);
}

void heap_profile(struct out *o, enum heap_profile which, int debug)
{
	struct job j = {.out = o, .which = which, .debug = debug};

	obs_work(work, &j);
}
