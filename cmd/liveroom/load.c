/*
 * The schedule needs no timer heap: viewer i acts at start + i/N of a second and every second from
 * there, so turn k belongs to viewer k mod N at start + k/N seconds, and one cursor walks through
 * all turns in order of time.
 *
 * A turn that comes while the viewer's last request is still under way is a stall: the segment did
 * not arrive while it could have been shown. The next request tells the room server so
 * how many (stalled=N), whose own counters then say what its viewers saw.
 */
#include "load.h"

#include "metrics.h"
#include "server.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

enum { ADDRESSES_MAX = 16, ANSWER_MAX = HTTP_HEAD_MAX };

enum op { OP_NONE, OP_JOIN, OP_SEGMENT };

struct viewer {
	unsigned number;
	int fd;             /* -1: not connected */
	enum op op;         /* under way */
	int64_t intended_ns, starts_ns, leaves_ns;
	bool joined, keep_alive;
	unsigned stalls_untold; /* to the room server */
	struct sockaddr_storage room_sa;
	socklen_t room_sa_len;
	char room_origin[HTTP_HOST_MAX];
	int64_t seq, seq_at_ns; /* what was live when the room let the viewer in */
	char request[512];
	size_t request_len, sent;
	char answer[ANSWER_MAX];
	size_t answer_len;
	int status;
	int64_t body_left; /* after the head; meaningful when status is set */
};

struct load {
	const struct load_options *o;
	double joins_per_s;
	int64_t start_ns, stay_ns;
	int epoll_fd, signal_fd;
	struct viewer *viewers;
	struct sockaddr_storage targets[ADDRESSES_MAX];
	socklen_t target_len;
	size_t n_targets, turn;
	int64_t resolved_ns;
	uint64_t started[3], failed[3], done[3]; /* by op */
	uint64_t stalls, bytes;
	struct hist latency[3];
	bool stop;
};

static void hang_up(struct viewer *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

static void stall(struct load *l, struct viewer *v)
{
	v->stalls_untold++;
	l->stalls++;
	metric_add(METRIC_live_stalls, 1);
}

static void fail(struct load *l, struct viewer *v)
{
	enum op op = v->op;

	hang_up(v);
	v->op = OP_NONE;
	v->joined = false;
	l->failed[op]++;
	if (op == OP_JOIN)
		metric_add(METRIC_live_join_failures, 1);
	else
		stall(l, v);
}

static void resolve(struct load *l)
{
	const struct http_origin *at = &l->o->target.origin;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int64_t now = now_ns();

	if (l->resolved_ns && now - l->resolved_ns < NSEC_PER_SEC)
		return;
	l->resolved_ns = now;
	if (getaddrinfo(at->host, at->port, &hints, &list))
		return;
	l->n_targets = 0;
	for (struct addrinfo *a = list; a && l->n_targets < ADDRESSES_MAX; a = a->ai_next) {
		memcpy(&l->targets[l->n_targets++], a->ai_addr, a->ai_addrlen);
		l->target_len = a->ai_addrlen;
	}
	freeaddrinfo(list);
}

static bool dial(struct load *l, struct viewer *v, const struct sockaddr_storage *sa, socklen_t len)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = v};

	v->fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (v->fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, v->fd, &ev) < 0)
		return false;
	return connect(v->fd, (const struct sockaddr *)sa, len) == 0 || errno == EINPROGRESS;
}

/* Sends what is left of the request; false when the connection is bad. */
static bool push(struct viewer *v)
{
	while (v->sent < v->request_len) {
		ssize_t n = send(v->fd, v->request + v->sent, v->request_len - v->sent,
				 MSG_NOSIGNAL);

		if (n < 0) /* not connected yet, or the socket is full */
			return errno == EAGAIN || errno == ENOTCONN;
		v->sent += n;
	}
	return true;
}

static void begin(struct load *l, struct viewer *v, enum op op, int64_t intended_ns)
{
	v->op = op;
	v->intended_ns = intended_ns;
	v->sent = v->answer_len = v->status = 0;
	l->started[op]++;
	if (op == OP_SEGMENT)
		metric_add(METRIC_live_segments, 1);
}

static void begin_join(struct load *l, struct viewer *v, int64_t intended_ns)
{
	const struct http_origin *at = &l->o->target.origin;

	hang_up(v);
	begin(l, v, OP_JOIN, intended_ns);
	v->request_len = snprintf(v->request, sizeof v->request,
				  "GET /join?room=room-%u HTTP/1.1\r\nHost: %s:%s\r\n"
				  "Connection: close\r\n\r\n",
				  v->number % l->o->rooms, at->host, at->port);
	resolve(l);
	if (!l->n_targets ||
	    !dial(l, v, &l->targets[l->turn++ % l->n_targets], l->target_len) || !push(v))
		fail(l, v);
}

static void begin_segment(struct load *l, struct viewer *v, int64_t intended_ns)
{
	/* One behind the live edge, so that rounding never asks for what is not there yet. */
	int64_t seq = v->seq - 1 + (intended_ns - v->seq_at_ns) / NSEC_PER_SEC;

	begin(l, v, OP_SEGMENT, intended_ns);
	v->request_len = snprintf(v->request, sizeof v->request,
				  "GET /segment?room=room-%u&seq=%lld&stalled=%u HTTP/1.1\r\n"
				  "Host: %s\r\n\r\n",
				  v->number % l->o->rooms, (long long)seq, v->stalls_untold,
				  v->room_origin);
	v->stalls_untold = 0;
	if ((v->fd < 0 && !dial(l, v, &v->room_sa, v->room_sa_len)) || !push(v))
		fail(l, v);
}

/* Finds "name": in the flat JSON of a join's answer. */
static const char *json_value(const char *json, const char *name)
{
	char quoted[32];
	const char *at;

	snprintf(quoted, sizeof quoted, "\"%s\":", name);
	at = strstr(json, quoted);
	return at ? at + strlen(quoted) : NULL;
}

/* Numeric addresses only: the gateway says where, a viewer does not ask a resolver. */
static bool parse_address(const struct http_origin *at, struct viewer *v)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *list;

	if (getaddrinfo(at->host, at->port, &hints, &list))
		return false;
	memcpy(&v->room_sa, list->ai_addr, list->ai_addrlen);
	v->room_sa_len = list->ai_addrlen;
	freeaddrinfo(list);
	return true;
}

static bool enter_room(struct viewer *v, const char *json)
{
	const char *url = json_value(json, "url"), *seq = json_value(json, "seq");
	struct http_origin at;

	if (!url || !seq || sscanf(url, "\"http://%127[^\"]", v->room_origin) != 1)
		return false;
	v->seq = strtoll(seq, NULL, 10);
	v->seq_at_ns = now_ns();
	return http_parse_origin(v->room_origin, &at) && parse_address(&at, v);
}

static void finish(struct load *l, struct viewer *v)
{
	static const char *const paths[] = {NULL, "/join", "/segment"};
	int64_t took = now_ns() - v->intended_ns;
	enum op op = v->op;

	v->answer[v->answer_len < ANSWER_MAX ? v->answer_len : ANSWER_MAX - 1] = '\0';
	if (v->status != 200 || (op == OP_JOIN && !enter_room(v, v->answer))) {
		fail(l, v);
		return;
	}
	if (op == OP_JOIN) {
		v->joined = true;
		metric_add(METRIC_live_joins, 1);
	}
	if (op == OP_JOIN || !v->keep_alive)
		hang_up(v);
	v->op = OP_NONE;
	l->done[op]++;
	hist_add(&l->latency[op], took);
	metrics_request(paths[op], took);
}

/* Adds to the head; when that is complete, *bytes and *n are what follows it. 1 complete, 0 more is
 * needed, -1 not an answer. */
static int take_head(struct viewer *v, const char **bytes, size_t *n)
{
	size_t before = v->answer_len, space = ANSWER_MAX - before, used;
	size_t copied = *n < space ? *n : space;
	struct http_response head;
	int r;

	memcpy(v->answer + before, *bytes, copied);
	v->answer_len += copied;
	r = http_parse_response(v->answer, v->answer_len, &head);
	if (r <= 0)
		return r;
	if (head.content_length < 0)
		return -1;
	used = r - before;
	*bytes += used;
	*n -= used;
	v->answer_len = 0;
	v->status = head.status;
	v->keep_alive = head.keep_alive;
	v->body_left = head.content_length;
	return 1;
}

/* Keeps a join's body, counts a segment's. */
static void take_body(struct load *l, struct viewer *v, const char *bytes, size_t n)
{
	size_t space = ANSWER_MAX - 1 - v->answer_len;

	if (v->op == OP_JOIN) {
		memcpy(v->answer + v->answer_len, bytes, n < space ? n : space);
		v->answer_len += n < space ? n : space;
	}
	l->bytes += n;
	v->body_left -= n;
}

static bool take_bytes(struct load *l, struct viewer *v, const char *bytes, size_t n)
{
	int r = v->status ? 1 : take_head(v, &bytes, &n);

	if (r <= 0)
		return r == 0;
	take_body(l, v, bytes, n);
	if (v->body_left <= 0)
		finish(l, v);
	return true;
}

/* Takes all that has arrived. */
static void pull(struct load *l, struct viewer *v)
{
	char buf[16384];

	while (v->fd >= 0) {
		ssize_t n = recv(v->fd, buf, sizeof buf, 0);

		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			return;
		if (n > 0 && v->op && take_bytes(l, v, buf, n))
			continue;
		if (v->op)
			fail(l, v);
		else
			hang_up(v);
	}
}

static void turn(struct load *l, struct viewer *v, int64_t at_ns)
{
	if (v->op == OP_SEGMENT) {
		metric_add(METRIC_live_segments, 1);
		stall(l, v);
	}
	if (v->op || at_ns < v->starts_ns)
		return;
	if (v->joined && at_ns < v->leaves_ns) {
		begin_segment(l, v, at_ns);
		return;
	}
	if (at_ns >= v->leaves_ns)
		v->leaves_ns = at_ns + l->stay_ns;
	begin_join(l, v, at_ns);
}

static void expire(struct load *l)
{
	int64_t now = now_ns();

	for (unsigned i = 0; i < l->o->viewers; i++)
		if (l->viewers[i].op && now > l->viewers[i].intended_ns + l->o->timeout_ns)
			fail(l, &l->viewers[i]);
}

static void wait_for_events(struct load *l, int64_t until_ns)
{
	int64_t left = until_ns - now_ns();
	struct timespec ts = {.tv_sec = left > 0 ? left / NSEC_PER_SEC : 0,
			      .tv_nsec = left > 0 ? left % NSEC_PER_SEC : 0};
	struct epoll_event evs[64];
	int n = epoll_pwait2(l->epoll_fd, evs, ARRAY_SIZE(evs), &ts, NULL);

	for (int i = 0; i < n; i++) {
		struct viewer *v = evs[i].data.ptr;

		if (!v) {
			l->stop = true;
			continue;
		}
		if (v->op && !push(v))
			fail(l, v);
		pull(l, v);
	}
}

static void run_schedule(struct load *l)
{
	unsigned n = l->o->viewers;
	int64_t end_ns = l->o->duration_ns ? l->start_ns + l->o->duration_ns : INT64_MAX;
	int64_t next_expire = l->start_ns;

	for (int64_t k = 0; !l->stop;) {
		int64_t at = l->start_ns + (k / n) * NSEC_PER_SEC + (k % n) * NSEC_PER_SEC / n;
		int64_t now = now_ns();

		if (now >= end_ns)
			return;
		if (now >= next_expire) {
			expire(l);
			next_expire = now + 50 * NSEC_PER_MSEC;
		}
		if (now >= at) {
			turn(l, &l->viewers[k % n], at);
			k++;
		}
		wait_for_events(l, now >= at ? now : at < next_expire ? at : next_expire);
	}
}

/* Requests under way at the end are given the time that they had left. */
static void finish_requests(struct load *l)
{
	for (;;) {
		bool some = false;

		expire(l);
		for (unsigned i = 0; i < l->o->viewers; i++)
			some |= l->viewers[i].op;
		if (!some || l->stop)
			return;
		wait_for_events(l, now_ns() + 20 * NSEC_PER_MSEC);
	}
}

static void print_text(const struct load *l)
{
	static const char *const names[] = {NULL, "joins", "segments"};

	for (enum op op = OP_JOIN; op <= OP_SEGMENT; op++) {
		const struct hist *h = &l->latency[op];

		printf("%-9s %8llu done %6llu failed   p50 %.1f ms   p95 %.1f ms   p99 %.1f ms\n",
		       names[op], (unsigned long long)l->done[op],
		       (unsigned long long)l->failed[op], hist_quantile(h, 0.5) / 1e6,
		       hist_quantile(h, 0.95) / 1e6, hist_quantile(h, 0.99) / 1e6);
	}
	printf("%-9s %8llu\n%-9s %8.1f MiB\n", "stalls", (unsigned long long)l->stalls,
	       "received", l->bytes / 1048576.0);
}

static void print_json(const struct load *l)
{
	static const char *const names[] = {NULL, "joins", "segments"};

	printf("{");
	for (enum op op = OP_JOIN; op <= OP_SEGMENT; op++) {
		const struct hist *h = &l->latency[op];

		printf("\"%s\":{\"done\":%llu,\"failed\":%llu,\"p50_ns\":%lld,"
		       "\"p95_ns\":%lld,\"p99_ns\":%lld},",
		       names[op], (unsigned long long)l->done[op],
		       (unsigned long long)l->failed[op], (long long)hist_quantile(h, 0.5),
		       (long long)hist_quantile(h, 0.95), (long long)hist_quantile(h, 0.99));
	}
	printf("\"stalls\":%llu,\"bytes\":%llu}\n", (unsigned long long)l->stalls,
	       (unsigned long long)l->bytes);
}

static void healthz(const struct http_request *req, struct response *res)
{
	response_text(res, 200, NULL, "ok\n");
}

static void metrics(const struct http_request *req, struct response *res)
{
	res->text = metrics_text(&res->len);
	res->type = METRICS_TYPE;
}

static const struct route routes[] = {
	{"/healthz", healthz},
	{"/metrics", metrics},
	{"/readyz", healthz},
	{NULL, NULL},
};

/* The blocked signals of main() as an event without data. */
static void watch_signals(struct load *l)
{
	struct epoll_event ev = {.events = EPOLLIN};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	l->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (l->signal_fd < 0 || epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->signal_fd, &ev) < 0)
		abort();
}

/* The viewers arrive at the rate at which they will be replaced later. */
static void plan_viewers(struct load *l)
{
	const struct load_options *o = l->o;

	l->joins_per_s = o->joins_per_s > 0 ? o->joins_per_s : fmax(o->viewers / 10.0, 1);
	l->stay_ns = o->viewers / l->joins_per_s * NSEC_PER_SEC;
	l->viewers = calloc(o->viewers, sizeof *l->viewers);
	if (!l->viewers)
		abort();
	for (unsigned i = 0; i < o->viewers; i++) {
		struct viewer *v = &l->viewers[i];

		v->number = i;
		v->fd = -1;
		v->starts_ns = l->start_ns + i / l->joins_per_s * NSEC_PER_SEC;
	}
}

int load_run(const struct load_options *o)
{
	struct load *l = calloc(1, sizeof *l);
	struct server *server = NULL;
	int code;

	if (!l)
		abort();
	if (o->metrics_listen && !(server = server_start(o->metrics_listen, routes, 2))) {
		free(l);
		return 1;
	}
	l->o = o;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->start_ns = now_ns();
	watch_signals(l);
	plan_viewers(l);
	run_schedule(l);
	finish_requests(l);
	if (o->json)
		print_json(l);
	else
		print_text(l);
	code = l->done[OP_JOIN] ? 0 : 1;
	for (unsigned i = 0; i < o->viewers; i++)
		hang_up(&l->viewers[i]);
	if (server)
		server_stop(server, NSEC_PER_SEC);
	close(l->signal_fd);
	close(l->epoll_fd);
	free(l->viewers);
	free(l);
	return code;
}
