#include "counts.h"

#include "../sched/sched.h"
#include "profile.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t key_of(const uintptr_t *pcs, size_t n)
{
	uint64_t h = n;

	for (size_t i = 0; i < n; i++)
		h = (h ^ pcs[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	return h;
}

/* The entry of an equal stack, NULL. Of two stacks with one key the later stays apart. */
static struct count *find(struct counts *c, const uintptr_t *pcs, size_t n)
{
	bool fresh;
	uint64_t *place = map_number(&c->places, key_of(pcs, n), &fresh);
	struct count *have = fresh ? NULL : &c->all[*place];

	if (fresh)
		*place = c->n;
	return have && have->n == n && memcmp(have->pcs, pcs, n * sizeof *pcs) == 0 ? have : NULL;
}

void counts_add(struct counts *c, const uintptr_t *pcs, size_t n, int64_t count)
{
	struct count *have = find(c, pcs, n);
	uintptr_t *copy;

	c->total += count;
	if (have) {
		have->count += count;
		return;
	}
	copy = malloc((n + 1) * sizeof *copy);
	if (c->n == c->room) {
		c->room = c->room ? 2 * c->room : 64;
		c->all = realloc(c->all, c->room * sizeof *c->all);
	}
	if (!copy || !c->all)
		rt_fatal("out of memory for %zu stacks of a profile", c->n);
	memcpy(copy, pcs, n * sizeof *copy);
	c->all[c->n++] = (struct count){.pcs = copy, .n = (uint32_t)n, .count = count};
}

void counts_done(struct counts *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->all[i].pcs);
	free(c->all);
	map_done(&c->places);
	*c = (struct counts){0};
}

static int larger_first(const void *a, const void *b)
{
	const struct count *x = a, *y = b;

	return (x->count < y->count) - (x->count > y->count);
}

static void write_text(const struct counts *c, struct out *o, const char *name)
{
	out_printf(o, "%s profile: total %" PRId64 "\n", name, c->total);
	for (size_t i = 0; i < c->n; i++) {
		out_printf(o, "%" PRId64 " @", c->all[i].count);
		text_addresses(o, c->all[i].pcs, c->all[i].n);
		out_text(o, "\n");
		text_record(o, c->all[i].pcs, c->all[i].n);
	}
}

void counts_write(struct counts *c, struct out *o, const char *name, int debug)
{
	struct profile_kind kind = {
		.types = {{name, "count"}},
		.period_type = {name, "count"},
		.period = 1,
	};
	struct profile *p;

	if (c->n)
		qsort(c->all, c->n, sizeof *c->all, larger_first);
	if (debug > 0) {
		write_text(c, o, name);
		return;
	}
	p = profile_new(&kind);
	for (size_t i = 0; i < c->n; i++)
		profile_add(p, c->all[i].pcs, c->all[i].n, &c->all[i].count);
	profile_write(p, o);
	profile_free(p);
}
