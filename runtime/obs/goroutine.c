#include "goroutine.h"

#include "counts.h"
#include "obs.h"
#include "text.h"
#include "thread.h"

#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 10000 };

struct job {
	struct out *out;
	int debug;
	struct snapshot snapshot;
	struct counts counts;
};

static void count_stack(const struct snap_stack *stack, void *arg)
{
	counts_add(arg, stack->pcs, stack->n, stack->count);
}

static void write_goroutines(void *arg)
{
	struct job *j = arg;
	const struct snapshot *s = &j->snapshot;

	if (j->debug >= 2) {
		for (size_t i = 0; i < s->n; i++)
			text_coroutine(j->out, s, &s->cos[i], TEXT_GO);
		return;
	}
	snapshot_each_stack(s, count_stack, &j->counts);
	counts_write(&j->counts, j->out, "goroutine", j->debug);
	counts_done(&j->counts);
}

int goroutine_profile(struct out *o, int debug)
{
	struct job j = {.out = o, .debug = debug};
	int r = snapshot_take(&j.snapshot, "goroutine profile");

	if (r < 0)
		return r;
	obs_work(write_goroutines, &j);
	snapshot_done(&j.snapshot);
	return 0;
}

void goroutine_dump(struct out *o, const struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		text_coroutine(o, s, &s->cos[i], TEXT_OWN);
}

static void copy_creation(struct job *j)
{
	/* counts_add() allocates: not under the lock. Threads come and go seldom. */
	struct {
		uintptr_t pcs[CREATION_MAX];
		int n;
	} *all;
	size_t n = 0, room = THREADS_MAX;

	all = calloc(room, sizeof *all);
	if (!all)
		return;
	lock_get(&obs_threads.lock);
	for (struct obs_thread *t = obs_threads.first; t && n < room; t = t->next, n++) {
		all[n].n = t->n_created;
		memcpy(all[n].pcs, t->created, sizeof t->created);
	}
	lock_put(&obs_threads.lock);
	for (size_t i = 0; i < n; i++)
		counts_add(&j->counts, all[i].pcs, (size_t)all[i].n, 1);
	free(all);
}

static void write_threads(void *arg)
{
	struct job *j = arg;

	copy_creation(j);
	counts_write(&j->counts, j->out, "threadcreate", j->debug);
	counts_done(&j->counts);
}

int threadcreate_profile(struct out *o, int debug)
{
	struct job j = {.out = o, .debug = debug};

	obs_work(write_threads, &j);
	return 0;
}
