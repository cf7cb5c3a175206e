#include "contention.h"

#include "profile.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct job {
	struct out *out;
	enum contention_kind kind;
	const char *name;
	int debug;
	struct contention **all;
	size_t n;
};

static int longest_first(const void *a, const void *b)
{
	const struct contention *const *x = a, *const *y = b;

	return ((*x)->delay_ns < (*y)->delay_ns) - ((*x)->delay_ns > (*y)->delay_ns);
}

static void collect(struct job *j)
{
	size_t room = 0;

	for (struct contention *c = contention_next(j->kind, NULL); c;
	     c = contention_next(j->kind, c)) {
		if (j->n == room) {
			room = room ? 2 * room : 64;
			j->all = realloc(j->all, room * sizeof(struct contention *));
		}
		j->all[j->n++] = c;
	}
	if (j->n)
		qsort(j->all, j->n, sizeof(struct contention *), longest_first);
}

static void write_profile(const struct job *j)
{
	static const struct profile_kind kind = {
		.types = {{"contentions", "count"}, {"delay", "nanoseconds"}},
		.period_type = {"contentions", "count"},
		.period = 1,
	};
	struct profile *p = profile_new(&kind);

	for (size_t i = 0; i < j->n; i++) {
		const struct contention *c = j->all[i];

		profile_add(p, c->pcs, c->n, (int64_t[]){(int64_t)c->count, (int64_t)c->delay_ns});
	}
	profile_write(p, j->out);
	profile_free(p);
}

/* A cycle is a nanosecond here. */
static void write_text(const struct job *j)
{
	out_printf(j->out, "--- %s:\ncycles/second=1000000000\n", j->name);
	if (j->kind == CONTENTION_MUTEX)
		out_printf(j->out, "sampling period=%d\n", contention_mutex_fraction());
	for (size_t i = 0; i < j->n; i++) {
		const struct contention *c = j->all[i];

		out_printf(j->out, "%" PRId64 " %" PRId64 " @", (int64_t)c->delay_ns, (int64_t)c->count);
		text_addresses(j->out, c->pcs, c->n);
		out_text(j->out, "\n");
		text_record(j->out, c->pcs, c->n);
	}
}

static void work(void *arg)
{
	struct job *j = arg;

	collect(j);
	if (j->debug > 0)
		write_text(j);
	else
		write_profile(j);
	free(j->all);
}

void block_profile(struct out *o, int debug)
{
	/* Go's page says "contention" where the profile is named block */
	struct job j = {.out = o, .kind = CONTENTION_BLOCK, .name = "contention", .debug = debug};

	obs_work(work, &j);
}

void mutex_profile(struct out *o, int debug)
{
	struct job j = {.out = o, .kind = CONTENTION_MUTEX, .name = "mutex", .debug = debug};

	obs_work(work, &j);
}
