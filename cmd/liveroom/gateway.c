#include "metrics.h"
#include "roles.h"

#include <stdio.h>

enum { ROOM_JSON_MAX = 200 };

/* What a room answers to a join is passed on with the room's own address added, so that the viewer
 * fetches its segments there. */
static void answer_join(struct http_answer *a, const char *room_json, const char *address, int tries)
{
	const char *end = strrchr(room_json, '}');

	http_text(a, 200, "application/json", "%.*s,\"url\":\"http://%s\",\"tries\":%d}\n",
		      (int)(end ? end - room_json : 0), room_json, address, tries);
}

static void join_here(const struct http_request *req, struct http_answer *a)
{
	char json[ROOM_JSON_MAX];

	room_join(req, a);
	if (a->status != 200)
		return;
	snprintf(json, sizeof json, "%.*s", (int)a->len, a->body);
	answer_join(a, json, req->host, 1);
}

static void join_upstream(const char *room, struct http_answer *a)
{
	struct upstream_answer up;
	char target[80];

	snprintf(target, sizeof target, "/join?room=%s", room);
	if (!upstream_get(config.room, target, &up))
		http_text(a, 503, NULL, "no room server answers\n");
	else if (up.status == 200)
		answer_join(a, up.body, up.address, up.tries);
	else
		http_text(a, 502, NULL, "the room server said %d\n", up.status);
	upstream_answer_done(&up);
}

void gateway_join(const struct http_request *req, struct http_answer *a)
{
	char room[ROOM_NAME_MAX];

	if (!room_name(req, a, room))
		return;
	if (!config.room)
		return join_here(req, a);
	join_upstream(room, a);
	metric_add(a->status == 200 ? METRIC_live_joins : METRIC_live_join_failures, 1);
}

bool gateway_ready(void)
{
	return !config.room || upstream_reachable(config.room);
}
