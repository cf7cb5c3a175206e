/*
 * The watch compares the number of coroutines with what it was at the start of the window: a burst
 * that ends within it is no leak. Ids grow, if not strictly in the order of starting (each P has
 * a batch): those above the window's first id are the suspects, and a few older ones among them.
 *
 * What it tells is a guess, told from the monitor at once, whatever the others do. A moment later, when those
 * that were just started have come to where they wait, a coroutine searches which of them nobody can wake.
 */
#include "leak.h"

#include "obs.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GROUPS_SHOWN = 20 };
#define SETTLE_NS RT_SEC

static struct {
	_Atomic uint64_t limit;
	_Atomic int64_t window_ns;
	int64_t begun_ns, count_at_begin;
	uint64_t id_at_begin;
	bool told;
	int64_t search_at; /* 0: no search is due */
	/* The search's: set by the monitor while it is not under way */
	uint64_t after_id;
	_Atomic bool searching;
} watch;

void rt_leak_watch(uint64_t n, int64_t window_ns)
{
	atomic_store(&watch.window_ns, window_ns);
	atomic_store(&watch.limit, n);
}

struct group {
	uintptr_t created_at;
	uint32_t stack;
	uint64_t n, first_id, leaked; /* leaked: of the n, where not all are */
};

static int by_place(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->created_at != y->created_at)
		return x->created_at < y->created_at ? -1 : 1;
	return (x->stack > y->stack) - (x->stack < y->stack);
}

static int larger_first(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	return (x->n < y->n) - (x->n > y->n);
}

/* Sorted by place: equal ones become one. */
static size_t merge(struct group *g, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept && by_place(&g[kept - 1], &g[i]) == 0) {
			g[kept - 1].n++;
			g[kept - 1].leaked += g[i].leaked;
		} else {
			g[kept++] = g[i];
		}
	}
	return kept;
}

/* Which coroutines are meant: those that the program started after the one of an id, or those that are
 * known to be leaked. */
struct choice {
	bool only_leaked;
	uint64_t after_id, but_id; /* the search's own is not meant */
	const uint64_t *leaked; /* sorted */
	size_t n_leaked;
};

static int by_id(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool is_leaked(const struct snap_co *co, const struct choice *c)
{
	return c->n_leaked && bsearch(&co->id, c->leaked, c->n_leaked, sizeof co->id, by_id);
}

static bool is_meant(const struct snap_co *co, const struct choice *c)
{
	if (c->only_leaked)
		return is_leaked(co, c);
	return co->id > c->after_id && co->id != c->but_id && co->parent_id;
}

static size_t group_all(const struct snapshot *s, const struct choice *c, struct group *g)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct snap_co *co = &s->cos[i];

		if (is_meant(co, c))
			g[n++] = (struct group){co->created_at, co->stack, 1, co->id,
						!c->only_leaked && is_leaked(co, c)};
	}
	if (n == 0)
		return 0;
	qsort(g, n, sizeof *g, by_place);
	n = merge(g, n);
	qsort(g, n, sizeof *g, larger_first);
	return n;
}

static void write_group(struct out *o, const struct snapshot *s, const struct group *g)
{
	const struct snap_stack *stack = snapshot_stack(s, g->stack);
	uintptr_t site = g->created_at;

	out_printf(o, "%" PRIu64 " coroutine%s (one is %" PRIu64 ")", g->n, g->n == 1 ? "" : "s",
		   g->first_id);
	if (g->leaked && g->leaked < g->n)
		out_printf(o, ", %" PRIu64 " of them leaked", g->leaked);
	else if (g->leaked)
		out_text(o, ", leaked");
	out_text(o, ", created at\n");
	text_stack(o, &site, 1);
	out_text(o, "and now at\n");
	text_stack(o, stack->pcs, stack->n);
	out_text(o, "\n");
}

static void write_chosen(struct out *o, const struct snapshot *s, const struct choice *c)
{
	struct group *g = calloc(s->n + 1, sizeof *g);
	size_t n = g ? group_all(s, c, g) : 0;

	for (size_t i = 0; i < n && i < GROUPS_SHOWN; i++)
		write_group(o, s, &g[i]);
	if (n > GROUPS_SHOWN)
		out_printf(o, "and %zu smaller groups\n", n - GROUPS_SHOWN);
	free(g);
}

void leak_write_groups(struct out *o, const struct snapshot *s, uint64_t after_id)
{
	write_chosen(o, s, &(struct choice){.after_id = after_id});
}

void leak_write_found(struct out *o, const struct snapshot *s, uint64_t *ids, size_t n)
{
	qsort(ids, n, sizeof *ids, by_id);
	write_chosen(o, s, &(struct choice){.only_leaked = true, .leaked = ids, .n_leaked = n});
}

/* To stderr; o is done. */
static void say(struct out *o)
{
	if (write(STDERR_FILENO, o->data, o->n) < 0)
		errno = 0; /* nobody is there to be told */
	out_done(o);
}

static void tell(int64_t now, int64_t grown)
{
	struct snapshot s;
	struct out o = {0};

	if (snapshot_take_running(&s) < 0)
		return;
	out_printf(&o, "LEAKWATCH %" PRId64 " coroutines more than %.1f s ago (limit %" PRIu64 ")\n\n",
		   grown, (double)(now - watch.begun_ns) / 1e9, atomic_load(&watch.limit));
	leak_write_groups(&o, &s, watch.id_at_begin);
	snapshot_done(&s);
	say(&o);
}

/* Which of those that the watch told of nobody can wake. */
struct search {
	struct choice choice;
	struct snapshot s;
	int result; /* how many are leaked in all, or a negative errno */
};

static void write_search(void *arg)
{
	struct search *f = arg;
	size_t grown = 0, leaked = 0;
	struct out o = {0};

	for (size_t i = 0; f->result >= 0 && i < f->s.n; i++)
		if (is_meant(&f->s.cos[i], &f->choice)) {
			grown++;
			leaked += is_leaked(&f->s.cos[i], &f->choice);
		}
	if (f->result < 0)
		out_printf(&o, "LEAKSEARCH cannot be done: %s\n\n",
			   f->result == -ENOSYS ? "needs the garbage collector" : strerror(-f->result));
	else
		out_printf(&o, "LEAKSEARCH %zu of %zu are leaked: nobody can wake them%s\n\n", leaked, grown,
			   leaked < grown ? "; the others may be needed" : "");
	if (leaked)
		write_chosen(&o, &f->s, &f->choice);
	say(&o);
}

static void search(void *arg)
{
	struct search f = {.choice = {.after_id = watch.after_id, .but_id = rt_id(rt_self())}};
	size_t room = (size_t)co_count() + ID_BATCH; /* more may be leaking */
	uint64_t *ids = calloc(room, sizeof *ids);

	f.result = ids ? leak_find(ids, room) : -ENOMEM;
	if (f.result >= 0) {
		f.choice.leaked = ids;
		f.choice.n_leaked = (size_t)f.result < room ? (size_t)f.result : room;
		qsort(ids, f.choice.n_leaked, sizeof *ids, by_id);
		f.result = snapshot_take(&f.s, "leak watch") < 0 ? -ENOMEM : f.result;
	}
	obs_work(write_search, &f);
	if (f.result >= 0)
		snapshot_done(&f.s);
	free(ids);
	/* release: pairs with the acquire in begin_search() */
	atomic_store_explicit(&watch.searching, false, memory_order_release);
}

/* One that is under way is of those that were told before. */
static void begin_search(void)
{
	if (atomic_load_explicit(&watch.searching, memory_order_acquire))
		return;
	watch.after_id = watch.id_at_begin;
	atomic_store_explicit(&watch.searching, true, memory_order_relaxed);
	if (rt_post(search, NULL) < 0)
		atomic_store_explicit(&watch.searching, false, memory_order_relaxed);
}

static void begin_window(int64_t now, int64_t count)
{
	uint64_t batches = (uint64_t)ID_BATCH * atomic_load(&sched.n_made);

	watch.begun_ns = now;
	watch.count_at_begin = count;
	/* Each P may still have a batch of ids from before. */
	watch.id_at_begin = atomic_load(&sched.next_id);
	watch.id_at_begin -= watch.id_at_begin < batches ? watch.id_at_begin : batches;
	watch.told = false;
	watch.search_at = 0;
}

int64_t leak_watch_look(int64_t now)
{
	uint64_t limit = atomic_load(&watch.limit);
	int64_t window = atomic_load(&watch.window_ns), count, grown, next = now + window / 8;

	if (limit == 0 || window <= 0) {
		watch.begun_ns = 0;
		return RT_FOREVER;
	}
	count = co_count();
	if (watch.begun_ns == 0)
		begin_window(now, count);
	grown = count - watch.count_at_begin;
	if (!watch.told && grown > (int64_t)limit) {
		watch.told = true;
		tell(now, grown);
		watch.search_at = now + (SETTLE_NS < window / 8 ? SETTLE_NS : window / 8);
	}
	if (watch.search_at && now >= watch.search_at) {
		watch.search_at = 0;
		begin_search();
	}
	if (now - watch.begun_ns >= window)
		begin_window(now, count);
	return watch.search_at && watch.search_at < next ? watch.search_at : next;
}

/* Sound detection: the part that does not need a collector. */

static const struct leak_collector *_Atomic collector;

void leak_set_collector(const struct leak_collector *c)
{
	atomic_store(&collector, c);
}

bool leak_has_collector(void)
{
	return atomic_load(&collector);
}

struct found {
	uint64_t *ids;
	size_t room;
	int n;
};

static void note(struct rt_co *co, void *arg)
{
	struct found *f = arg;

	if ((size_t)f->n < f->room)
		f->ids[f->n] = co->id;
	f->n++;
}

int leak_find(uint64_t *ret_ids, size_t room)
{
	const struct leak_collector *c = atomic_load(&collector);
	struct found f = {.ids = ret_ids, .room = room};
	int r;

	if (!c)
		return -ENOSYS;
	r = c->find_unreached(note, &f);
	return r < 0 ? r : f.n;
}
