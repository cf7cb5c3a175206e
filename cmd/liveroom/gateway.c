#include "metrics.h"
#include "roles.h"

#include <stdio.h>

/* What a room answers to a join is passed on with the room's own address added, so that the viewer
 * fetches its segments there. */
static void answer_join(struct response *res, const char *room_json, const char *address, int tries)
{
	const char *end = strrchr(room_json, '}');

	response_text(res, 200, "application/json", "%.*s,\"url\":\"http://%s\",\"tries\":%d}\n",
		      (int)(end ? end - room_json : 0), room_json, address, tries);
}

static void join_here(const struct http_request *req, struct response *res)
{
	autofree char *json = NULL;

	room_join(req, res);
	if (res->status != 200)
		return;
	json = res->text;
	answer_join(res, json, req->host, 1);
}

static void join_upstream(const char *room, struct response *res)
{
	struct upstream_answer a;
	char target[80];

	snprintf(target, sizeof target, "/join?room=%s", room);
	if (!upstream_get(config.room, target, &a))
		response_text(res, 503, NULL, "no room server answers\n");
	else if (a.status == 200)
		answer_join(res, a.body, a.address, a.tries);
	else
		response_text(res, 502, NULL, "the room server said %d\n", a.status);
	upstream_answer_done(&a);
}

void gateway_join(const struct http_request *req, struct response *res)
{
	char room[ROOM_NAME_MAX];

	if (!room_name(req, res, room))
		return;
	if (!config.room)
		return join_here(req, res);
	join_upstream(room, res);
	metric_add(res->status == 200 ? METRIC_live_joins : METRIC_live_join_failures, 1);
}

bool gateway_ready(void)
{
	return !config.room || upstream_reachable(config.room);
}
