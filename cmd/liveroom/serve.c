/*
 * One table of routes for all roles: a process answers those of its own. The first coroutine only
 * waits for a signal; SIGTERM makes /readyz say 503, answers what is under way and ends.
 */
#include "debug.h"
#include "metrics.h"
#include "roles.h"

#include "../../runtime/rt_control.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <time.h>

enum { DRAIN_SECONDS = 5 };

struct config config;
static _Atomic bool draining;

int64_t live_seq(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000LL / SEGMENT_MS;
}

bool room_name(const struct http_request *req, struct http_answer *a, char ret[ROOM_NAME_MAX])
{
	bool ok = http_query(req, "room", ret, ROOM_NAME_MAX) && ret[0];

	if (!strstr(req->query, "room="))
		ok = strcpy(ret, "lobby");
	for (const char *p = ret; ok && *p; p++)
		ok = isalnum((unsigned char)*p) || strchr("-_.", *p);
	if (!ok)
		http_text(a, 400, NULL, "room: up to %d letters, digits, - _ .\n",
			  ROOM_NAME_MAX - 1);
	return ok;
}

const struct http_listener serve_counts = {
	.connections = metrics_connections,
	.refused = metrics_refused,
	.answered = metrics_answered,
};

struct http_server *serve_at(const char *listen, struct http_options *o)
{
	struct http_server *server;
	struct http_origin at;
	int r;

	if (!http_parse_origin(listen, &at)) {
		fprintf(stderr, "liveroom: \"%s\" is not HOST:PORT\n", listen);
		return NULL;
	}
	o->host = at.host;
	o->port = at.port;
	r = http_serve(o, &server);
	if (r < 0)
		fprintf(stderr, "liveroom: listen on %s:%s: %s\n", at.host, at.port,
			r == -ENOENT ? "no such host" : strerror(-r));
	return r < 0 ? NULL : server;
}

static void healthz(const struct http_request *req, struct http_answer *a)
{
	http_text(a, 200, NULL, "ok\n");
}

static void readyz(const struct http_request *req, struct http_answer *a)
{
	const char *why = NULL;

	if (atomic_load(&draining))
		why = "draining";
	else if ((config.roles & ROLE_GATEWAY) && !gateway_ready())
		why = "no room server is reachable";
	else if ((config.roles & ROLE_ROOM) && !room_ready())
		why = "the store is not reachable";
	http_text(a, why ? 503 : 200, NULL, "%s\n", why ? why : "ready");
}

static void metrics(const struct http_request *req, struct http_answer *a)
{
	metrics_answer(a);
}

/* /join is the gateway's where there is one: rows in front win. */
static const struct {
	unsigned roles;
	struct http_route route;
} table[] = {
	{ROLE_ALL, {"/healthz", HTTP_GET, HTTP_ALWAYS, healthz}},
	{ROLE_ALL, {"/metrics", HTTP_GET, HTTP_ALWAYS, metrics}},
	{ROLE_ALL, {"/readyz", HTTP_GET, HTTP_ALWAYS, readyz}},
	{ROLE_GATEWAY, {"/join", HTTP_GET, 0, gateway_join}},
	{ROLE_ROOM, {"/chat", HTTP_GET, 0, chat_read}},
	{ROLE_ROOM, {"/chat", HTTP_POST, 0, chat_post}},
	{ROLE_ROOM, {"/join", HTTP_GET, 0, room_join}},
	{ROLE_ROOM, {"/leave", HTTP_POST, 0, room_leave}},
	{ROLE_ROOM, {"/segment", HTTP_GET, 0, room_segment}},
	{ROLE_STORE, {"/chunk", HTTP_GET, 0, store_chunk}},
	{ROLE_STORE, {"/room", HTTP_GET, 0, store_room}},
};

static const struct http_route *routes_of(unsigned roles)
{
	static struct http_route routes[ARRAY_SIZE(table) + 1];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].roles & roles)
			routes[n++] = table[i].route;
	return routes;
}

int wait_for_signal(void)
{
	struct signalfd_siginfo info = {0};
	sigset_t set;
	autofd int fd = -1;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || rt_fd_open(fd) < 0 ||
	    rt_read(fd, &info, sizeof info, RT_FOREVER) != sizeof info)
		abort();
	return info.ssi_signo;
}

/* Without --control there is no such socket. */
static bool open_control(void)
{
	struct rt_control_options o = {.path = config.control};
	int r = o.path ? rt_control_serve(&o) : 0;

	if (r < 0)
		fprintf(stderr, "liveroom: control socket %s: %s\n", o.path,
			r == -EEXIST ? "something else than a socket is there" : strerror(-r));
	return r == 0;
}

int serve(const char *listen)
{
	struct http_options o = {.routes = routes_of(config.roles),
				 .listener = &serve_counts,
				 .max_requests = config.max_requests,
				 .max_per_client = config.max_per_client};
	struct http_server *server, *debug;
	bool drained;

	if (!open_control())
		return 1;
	server = serve_at(listen, &o);
	if (!server || debug_open(config.debug, &debug) < 0)
		return 1;
	if (config.roles & ROLE_ROOM)
		room_start();
	printf("liveroom: listening on %s\n", http_address(server));
	debug_announce(debug);
	fflush(stdout);
	fprintf(stderr, "liveroom: %s, draining\n",
		wait_for_signal() == SIGTERM ? "SIGTERM" : "SIGINT");
	atomic_store(&draining, true);
	rt_control_stop();
	chat_stop();
	drained = http_drain(server, DRAIN_SECONDS * RT_SEC);
	if (config.roles & ROLE_ROOM)
		room_stop();
	debug_close(debug);
	fprintf(stderr, "liveroom: %s\n", drained ? "drained" : "gave up on open connections");
	return drained ? 0 : 1;
}
