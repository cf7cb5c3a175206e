/*
 * rt_pauses ROW N - our side of memory.stw_*, cycle, request and settings: the work of go/pauses
 *
 * Nothing is tuned but what the environment says: RT_PROCS, RT_GOGC and RT_MEMLIMIT.
 */
#include "graph.h"

enum { LIVE_OBJECTS_SHIFT = 23 /* of 64 bytes: 512 MiB */, PATIENCE_S = 480 };

static uint64_t cycles(void)
{
	return mem_stats().cycles;
}

/* Pauses since there were `base` of them, in seconds: each start and each end of marking by itself. */
static void tell_pauses(uint64_t base)
{
	enum { ROOM = 1024 };
	static int64_t ns[ROOM];
	static double s[ROOM];
	uint64_t total;
	size_t n = rt_gc_pauses(ns, ROOM, &total), fresh = total - base < n ? (size_t)(total - base) : n;

	for (size_t i = 0; i < fresh; i++)
		s[i] = (double)ns[n - fresh + i] / 1e9;
	tell_list("pauses", s, fresh);
}

static uint64_t pauses(void)
{
	uint64_t total;

	rt_gc_pauses(NULL, 0, &total);
	return total;
}

/* Ends the process: a row without its cycles says nothing. */
static void check_patience(int64_t since, uint64_t got, uint64_t want)
{
	if (rt_now() - since < PATIENCE_S * RT_SEC)
		return;
	fprintf(stderr, "%d s went by with %d of %d collections\n", PATIENCE_S, (int)got, (int)want);
	exit(1);
}

/* Parked coroutines ----------------------------------------------------------------------------------- */

static _Atomic int64_t n_parked;
static struct rt_chan *never;

static void park(void *arg)
{
	atomic_fetch_add(&n_parked, 1);
	rt_recv(never, NULL);
}

static void park_many(int n)
{
	never = rt_chan_new(sizeof(int), 0);
	for (int i = 0; i < n; i++) {
		start(park, NULL);
		if (i % ROWS_BATCH == ROWS_BATCH - 1)
			rt_yield();
	}
	while (atomic_load(&n_parked) < n)
		rt_yield();
}

/* A whole forced cycle, with n parked ones and nothing else to mark. */
static void cycle(int n)
{
	enum { CYCLES = 5 };
	double ms[CYCLES];

	park_many(n);
	rt_gc();
	for (int i = 0; i < CYCLES; i++) {
		int64_t since = rt_now();

		rt_gc();
		ms[i] = (double)(rt_now() - since) / 1e6;
	}
	qsort(ms, CYCLES, sizeof(*ms), by_value);
	tell("value", ms[CYCLES / 2]);
}

/* Pauses: 512 MiB alive in pieces of 1 KiB, some replaced, while garbage is made ---------------------- */

enum { PIECES = 512 << 10, STW_CYCLES = 22, GARBAGE_PER_PIECE = 8 };

struct piece {
	struct piece *const neighbour;
	uint64_t words[127];
};
RT_TYPE(piece_type, struct piece, neighbour);

static void *volatile sink;

static void put_piece(struct piece *const *live, size_t at, struct random *r)
{
	struct piece *p = rt_new(&piece_type);

	p->words[0] = at;
	RT_SET(live[at], p);
	if (at > 0 && random_next(r) % 2)
		RT_SET(live[at - 1]->neighbour, p);
}

static void stw(int n)
{
	struct piece *const *live = rt_new_ptrs(PIECES);
	struct random r = {1};
	uint64_t base, first;
	int64_t since;

	park_many(n);
	for (size_t i = 0; i < PIECES; i++)
		put_piece(live, i, &r);
	rt_gc();
	base = pauses();
	first = cycles();
	since = rt_now();
	while (cycles() - first < STW_CYCLES) {
		for (int i = 0; i < 64 * GARBAGE_PER_PIECE; i++) {
			sink = rt_new(&piece_type);
			if (i % GARBAGE_PER_PIECE == 0)
				put_piece(live, random_next(&r) % PIECES, &r);
		}
		check_patience(since, cycles() - first, STW_CYCLES);
	}
	tell("value", (double)(rt_now() - since) / 1e6 / STW_CYCLES);
	tell_pauses(base);
	RT_KEEP(live);
}

/* Requests ---------------------------------------------------------------------------------------------- */

enum {
	SESSIONS = 64 << 10,
	WALK = 32,                    /* edges of the live graph that a request follows */
	REPLACED = 4,                 /* sessions that it replaces */
	BYTES_PER_S = 48 << 20,       /* that a worker's requests allocate together, when paced */
	ITEM_BYTES = 32 + 104,        /* mean, with its body */
	WORKERS_MAX = 64,
	REQUEST_CYCLES = 10,
	SETTLED_CYCLES = 2,
	SATURATED_RATE = 4000,
};

struct item {
	struct item *const next;
	unsigned char *const body;
	uint64_t body_bytes, number;
};
RT_TYPE(item_type, struct item, next, body);

static const uint16_t body_bytes[] = {16, 192, 32, 256, 48, 128, 64, 96};

struct service {
	struct vertex *graph;
	struct item *const *sessions;
	_Atomic int64_t stop_at; /* 0: not known yet */
	_Atomic uint64_t served;
	struct rt_group workers;
	int rate; /* a worker's requests a second; 0: as fast as it goes */
	int items;
};

struct worker {
	struct service *service;
	struct vertex *at;
	struct random r;
	double *ms;
	size_t n_ms;
};

static struct item *item_new(uint64_t number)
{
	size_t bytes = body_bytes[number % (sizeof(body_bytes) / sizeof(*body_bytes))];
	unsigned char *body = rt_new_bytes(bytes);
	struct item *item = rt_new(&item_type);

	body[0] = body[bytes - 1] = (unsigned char)number;
	RT_SET(item->body, body);
	item->body_bytes = bytes;
	item->number = number;
	return item;
}

static uint64_t items_sum(const struct item *item)
{
	uint64_t sum = 0;

	for (; item; item = item->next)
		sum += item->number + item->body[0] + item->body[item->body_bytes - 1];
	return sum;
}

/* What a request does: looks at what lives, makes its own small objects, leaves some of them behind. */
static uint64_t request(struct worker *w)
{
	struct service *s = w->service;
	struct item *list = NULL;
	uint64_t sum = 0;

	for (int i = 0; i < WALK; i++) {
		sum += w->at->data[0];
		w->at = w->at->to[random_next(&w->r) % GRAPH_EDGES];
	}
	for (int i = 0; i < s->items; i++) {
		struct item *item = item_new((uint64_t)i);

		RT_SET(item->next, list);
		list = item;
	}
	for (uint64_t i = 0; i < REPLACED; i++)
		RT_SET(s->sessions[random_next(&w->r) % SESSIONS], item_new(i));
	return sum + items_sum(list);
}

/* Open loop: a request is due at its time, whenever the one before was done. */
static void paced(struct worker *w, int64_t since)
{
	int64_t period = RT_SEC / w->service->rate;
	size_t room = (size_t)w->service->rate * (PATIENCE_S + 60);
	uint64_t sum = 0;

	w->ms = malloc(room * sizeof(*w->ms));
	if (!w->ms)
		abort();
	for (w->n_ms = 0; w->n_ms < room; w->n_ms++) {
		int64_t due = since + (int64_t)w->n_ms * period, stop_at = atomic_load(&w->service->stop_at);

		if (stop_at && due >= stop_at)
			break;
		if (rt_now() < due)
			rt_sleep_until(due);
		sum += request(w);
		w->ms[w->n_ms] = (double)(rt_now() - due) / 1e6;
	}
	atomic_fetch_add(&w->service->served, w->n_ms + (sum == 1));
}

static void saturated(struct worker *w)
{
	uint64_t n = 0, sum = 0;

	for (; !atomic_load(&w->service->stop_at); n++)
		sum += request(w);
	atomic_fetch_add(&w->service->served, n + (sum == 1));
}

static void work(void *arg)
{
	struct worker *w = arg;

	if (w->service->rate)
		paced(w, rt_now());
	else
		saturated(w);
	rt_group_done(&w->service->workers);
}

/* Runs all workers until that many cycles have ended and what was due by then is done. Returns the
 * seconds it took. */
static double serve(struct service *s, struct worker *workers, int n, uint64_t want)
{
	uint64_t first = cycles();
	int64_t since = rt_now();

	atomic_store(&s->stop_at, 0);
	atomic_store(&s->served, 0);
	rt_group_add(&s->workers, n);
	for (int i = 0; i < n; i++)
		start(work, &workers[i]);
	while (cycles() - first < want) {
		rt_sleep(20 * RT_MSEC);
		check_patience(since, cycles() - first, want);
	}
	atomic_store(&s->stop_at, rt_now());
	rt_group_wait(&s->workers);
	return (double)(rt_now() - since) / 1e9;
}

static void tell_latencies(const struct worker *workers, int n)
{
	size_t total = 0, k = 0;
	double *ms;

	for (int i = 0; i < n; i++)
		total += workers[i].n_ms;
	ms = malloc((total + 1) * sizeof(*ms));
	if (!ms)
		abort();
	for (int i = 0; i < n; i++) {
		memcpy(ms + k, workers[i].ms, workers[i].n_ms * sizeof(*ms));
		k += workers[i].n_ms;
	}
	qsort(ms, total, sizeof(*ms), by_value);
	tell("p50", quantile(ms, total, 0.5));
	tell("value", quantile(ms, total, 0.99));
	tell("p999", quantile(ms, total, 0.999));
	tell("max", quantile(ms, total, 1));
	free(ms);
}

static double gc_cpu_seconds(void)
{
	struct rt_mem_stats s = mem_stats();

	return (double)(s.mark_cpu_ns + s.assist_cpu_ns + s.pause_ns) / 1e9;
}

/* Seconds of CPU a second: of the collector, as it says, and of the process. */
static void serve_paced(struct service *s, struct worker *workers, int n, uint64_t want)
{
	uint64_t base = pauses();
	double gc_cpu = gc_cpu_seconds(), cpu = cpu_seconds(), seconds;

	seconds = serve(s, workers, n, want);
	tell("gc_cpu", (gc_cpu_seconds() - gc_cpu) / seconds);
	tell("cpu", (cpu_seconds() - cpu) / seconds);
	tell("requests_per_s", (double)atomic_load(&s->served) / seconds);
	tell("paced_cycles", (double)want);
	tell_pauses(base);
	tell_latencies(workers, n);
}

static int workers_init(struct service *s, struct worker *workers)
{
	int n = rt_procs() < WORKERS_MAX ? (int)rt_procs() : WORKERS_MAX;

	for (int i = 0; i < n; i++)
		workers[i] = (struct worker){.service = s, .at = s->graph, .r = {(uint64_t)i + 1}};
	return n;
}

static int service_init(struct service *s, struct worker *workers, int rate)
{
	*s = (struct service){.graph = graph_new(random_graph_build, (size_t)1 << LIVE_OBJECTS_SHIFT),
			      .sessions = rt_new_ptrs(SESSIONS),
			      .rate = rate,
			      .items = BYTES_PER_S / rate / ITEM_BYTES};
	for (uint64_t i = 0; i < SESSIONS; i++)
		RT_SET(s->sessions[i], item_new(i));
	rt_gc();
	return workers_init(s, workers);
}

/* n: requests a second and worker. */
static void requests(int n)
{
	struct worker workers[WORKERS_MAX];
	struct service s;
	int n_workers = service_init(&s, workers, n);

	serve_paced(&s, workers, n_workers, REQUEST_CYCLES);
}

/* Paced, and then as fast as it goes: of the settings of the environment. */
static void settings(int n)
{
	struct worker workers[WORKERS_MAX];
	struct service s;
	int n_workers;
	double seconds;

	n_workers = service_init(&s, workers, n);
	serve(&s, workers, n_workers, SETTLED_CYCLES);
	serve_paced(&s, workers, n_workers, REQUEST_CYCLES);
	s.rate = 0;
	seconds = serve(&s, workers, n_workers, REQUEST_CYCLES);
	tell("throughput", (double)atomic_load(&s.served) / seconds);
}

static const struct row rows[] = {
	{"cycle", cycle},
	{"request", requests},
	{"settings", settings},
	{"stw", stw},
};

int main(int argc, char **argv)
{
	return rows_main(argc, argv, rows, sizeof(rows) / sizeof(rows[0]));
}
