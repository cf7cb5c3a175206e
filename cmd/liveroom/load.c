/*
 * The schedule needs no timer heap: viewer i acts at start + i/N of a second and every second from
 * there, so turn k belongs to viewer k mod N at start + k/N seconds, and one coroutine walks through
 * all turns in order of time. Each request runs on a coroutine of its own.
 *
 * A turn that comes while the viewer's last request is still under way is a stall: the segment did
 * not arrive while it could have been shown. The next request tells the room server so
 * how many (stalled=N), whose own counters then say what its viewers saw.
 */
#include "load.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdio.h>

static const char *const op_names[OPS] = {"joins", "segments", "leaves"};

/* Under the lock. An answer is good for a second. */
static void resolve(struct load *l)
{
	const struct http_origin *at = &l->o->target.origin;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int64_t now = rt_now();

	if (l->resolved_ns && now - l->resolved_ns < RT_SEC)
		return;
	l->resolved_ns = now;
	if (rt_lookup(at->host, at->port, &hints, &list))
		return;
	l->n_targets = 0;
	for (struct addrinfo *a = list; a && l->n_targets < LOAD_TARGETS_MAX; a = a->ai_next) {
		struct load_target *t = &l->targets[l->n_targets++];

		memcpy(&t->sa, a->ai_addr, a->ai_addrlen);
		t->len = a->ai_addrlen;
	}
	freeaddrinfo(list);
}

int load_connect(struct load *l, int64_t deadline)
{
	struct load_target t = {0};

	rt_lock(&l->lock);
	resolve(l);
	if (l->n_targets)
		t = l->targets[l->turn++ % l->n_targets];
	rt_unlock(&l->lock);
	return t.len ? rt_connect((const struct sockaddr *)&t.sa, t.len, deadline) : -ENOENT;
}

static void turn(struct load *l, struct viewer *v, int64_t at_ns)
{
	/* acquire: pairs with the release at the end of a request */
	bool busy = atomic_load_explicit(&v->busy, memory_order_acquire);

	if (busy && v->joined) {
		metric_add(METRIC_live_segments, 1);
		viewer_stall(v);
	}
	if (busy || at_ns < v->starts_ns)
		return;
	if (v->joined && at_ns < v->leaves_ns) {
		viewer_segment(v, at_ns);
		return;
	}
	if (at_ns >= v->leaves_ns) {
		v->leaves_ns = at_ns + l->stay_ns;
		viewer_leave(v);
	}
	viewer_join(v, at_ns);
}

/* False: a signal came first. */
static bool wait_until(struct load *l, int64_t at_ns)
{
	return rt_recv_dl(l->stop, NULL, at_ns) == -ETIMEDOUT;
}

/* True when its time is over, false when a signal came. */
static bool run_schedule(struct load *l)
{
	unsigned n = l->o->viewers;
	int64_t end_ns = l->o->duration_ns ? l->start_ns + l->o->duration_ns : INT64_MAX;

	for (int64_t k = 0;; k++) {
		int64_t at = l->start_ns + (k / n) * RT_SEC + (k % n) * RT_SEC / n;

		if (at >= end_ns)
			return wait_until(l, end_ns);
		if (!wait_until(l, at))
			return false;
		turn(l, &l->viewers[k % n], at);
	}
}

static void print_text(const struct load *l)
{
	for (enum op op = 0; op < OPS; op++) {
		const struct hist *h = &l->ops[op].latency;

		printf("%-9s %8llu done %6llu failed   p50 %.1f ms   p95 %.1f ms   p99 %.1f ms\n",
		       op_names[op], (unsigned long long)l->ops[op].done,
		       (unsigned long long)l->ops[op].failed, hist_quantile(h, 0.5) / 1e6,
		       hist_quantile(h, 0.95) / 1e6, hist_quantile(h, 0.99) / 1e6);
	}
	printf("%-9s %8llu\n%-9s %8.1f MiB\n", "stalls", (unsigned long long)l->stalls,
	       "received", l->bytes / 1048576.0);
}

static void print_json(const struct load *l)
{
	printf("{");
	for (enum op op = 0; op < OPS; op++) {
		const struct hist *h = &l->ops[op].latency;

		printf("\"%s\":{\"done\":%llu,\"failed\":%llu,\"p50_ns\":%lld,"
		       "\"p95_ns\":%lld,\"p99_ns\":%lld},",
		       op_names[op], (unsigned long long)l->ops[op].done,
		       (unsigned long long)l->ops[op].failed, (long long)hist_quantile(h, 0.5),
		       (long long)hist_quantile(h, 0.95), (long long)hist_quantile(h, 0.99));
	}
	printf("\"stalls\":%llu,\"bytes\":%llu}\n", (unsigned long long)l->stalls,
	       (unsigned long long)l->bytes);
}

static void healthz(const struct http_request *req, struct http_answer *a)
{
	http_text(a, 200, NULL, "ok\n");
}

static void metrics(const struct http_request *req, struct http_answer *a)
{
	metrics_answer(a);
}

static const struct http_route routes[] = {
	{"/healthz", HTTP_GET, HTTP_ALWAYS, healthz},
	{"/metrics", HTTP_GET, HTTP_ALWAYS, metrics},
	{"/readyz", HTTP_GET, HTTP_ALWAYS, healthz},
	{0},
};

static void watch_signals(void *arg)
{
	struct load *l = arg;

	for (;;) {
		wait_for_signal();
		rt_send(l->stop, NULL);
	}
}

/* The viewers arrive at the rate at which they will be replaced later. */
static void plan_viewers(struct load *l)
{
	const struct load_options *o = l->o;

	l->joins_per_s = o->joins_per_s > 0 ? o->joins_per_s : fmax(o->viewers / 10.0, 1);
	l->stay_ns = o->viewers / l->joins_per_s * RT_SEC;
	l->viewers = calloc(o->viewers, sizeof *l->viewers);
	if (!l->viewers)
		abort();
	for (unsigned i = 0; i < o->viewers; i++) {
		struct viewer *v = &l->viewers[i];

		v->load = l;
		v->number = i;
		v->fd = -1;
		v->starts_ns = l->start_ns + i / l->joins_per_s * RT_SEC;
		RT_POLL();
	}
}

/* Once no request is under way. */
static void hang_up(struct load *l)
{
	for (unsigned i = 0; i < l->o->viewers; i++) {
		viewer_hang_up(&l->viewers[i]);
		RT_POLL();
	}
}

int load_run(const struct load_options *o)
{
	static struct load *l; /* what a signal cut short, and who waits for one, still know it */
	struct http_options serving = {.routes = routes, .listener = &serve_counts};
	struct http_server *server = NULL;
	bool over;
	int code;

	l = calloc(1, sizeof *l);
	if (!l)
		abort();
	if (o->metrics_listen && !(server = serve_at(o->metrics_listen, &serving)))
		return 1;
	l->o = o;
	l->stop = rt_chan_new(0, 1);
	l->start_ns = rt_now();
	if (rt_go(watch_signals, l) < 0)
		abort();
	plan_viewers(l);
	over = run_schedule(l);
	/* Requests under way at the end are given the time that they had left. */
	if (over)
		rt_group_wait(&l->requests);
	if (o->json)
		print_json(l);
	else
		print_text(l);
	code = l->ops[OP_JOIN].done ? 0 : 1;
	if (server)
		http_drain(server, RT_SEC);
	if (over)
		hang_up(l);
	return code;
}
