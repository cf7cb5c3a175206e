/*
 * One table of routes for all roles: a process answers those of its own. The main thread only
 * waits for a signal; SIGTERM makes /readyz say 503, answers what is under way and ends.
 */
#include "metrics.h"
#include "roles.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>

enum { DRAIN_SECONDS = 5 };

struct config config;
static _Atomic bool draining;

int64_t live_seq(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000LL / SEGMENT_MS;
}

bool room_name(const struct http_request *req, struct response *res, char ret[ROOM_NAME_MAX])
{
	bool ok = http_query(req, "room", ret, ROOM_NAME_MAX) && ret[0];

	if (!strstr(req->query, "room="))
		ok = strcpy(ret, "lobby");
	for (const char *p = ret; ok && *p; p++)
		ok = isalnum((unsigned char)*p) || strchr("-_.", *p);
	if (!ok)
		response_text(res, 400, NULL, "room: up to %d letters, digits, - _ .\n",
			      ROOM_NAME_MAX - 1);
	return ok;
}

static void healthz(const struct http_request *req, struct response *res)
{
	response_text(res, 200, NULL, "ok\n");
}

static void readyz(const struct http_request *req, struct response *res)
{
	const char *why = NULL;

	if (atomic_load(&draining))
		why = "draining";
	else if ((config.roles & ROLE_GATEWAY) && !gateway_ready())
		why = "no room server is reachable";
	else if ((config.roles & ROLE_ROOM) && !room_ready())
		why = "the store is not reachable";
	response_text(res, why ? 503 : 200, NULL, "%s\n", why ? why : "ready");
}

static void metrics(const struct http_request *req, struct response *res)
{
	res->text = metrics_text(&res->len);
	res->type = METRICS_TYPE;
}

/* /join is the gateway's where there is one: rows in front win. */
static const struct {
	unsigned roles;
	struct route route;
} table[] = {
	{ROLE_ALL, {"/healthz", healthz}},
	{ROLE_ALL, {"/metrics", metrics}},
	{ROLE_ALL, {"/readyz", readyz}},
	{ROLE_GATEWAY, {"/join", gateway_join}},
	{ROLE_ROOM, {"/join", room_join}},
	{ROLE_ROOM, {"/segment", room_segment}},
	{ROLE_STORE, {"/chunk", store_chunk}},
	{ROLE_STORE, {"/room", store_room}},
};

static const struct route *routes_of(unsigned roles)
{
	static struct route routes[ARRAY_SIZE(table) + 1];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].roles & roles)
			routes[n++] = table[i].route;
	return routes;
}

static void wait_for_signal(void)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigwait(&set, &sig);
	fprintf(stderr, "liveroom: %s, draining\n", sig == SIGTERM ? "SIGTERM" : "SIGINT");
}

int serve(const char *listen)
{
	struct server *server = server_start(listen, routes_of(config.roles), config.n_workers);
	bool drained;

	if (!server)
		return 1;
	if (config.roles & ROLE_ROOM)
		room_start();
	printf("liveroom: listening on %s\n", server_address(server));
	fflush(stdout);
	wait_for_signal();
	atomic_store(&draining, true);
	drained = server_stop(server, DRAIN_SECONDS * NSEC_PER_SEC);
	if (config.roles & ROLE_ROOM)
		room_stop();
	fprintf(stderr, "liveroom: %s\n", drained ? "drained" : "gave up on open connections");
	return drained ? 0 : 1;
}
