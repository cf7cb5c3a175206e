/*
 * roles - what one liveroom process is: the gateway, a room server, the store, or all of them
 *
 *   viewer -- /join --> gateway -- /join --> room -- /room, /chunk --> store
 *   viewer -- /segment, /chat, /leave --> room
 *
 * A role without an upstream of its own kind calls the next role inside the process.
 */
#pragma once

#include "blob.h"
#include "upstream.h"

enum role { ROLE_GATEWAY = 1, ROLE_ROOM = 2, ROLE_STORE = 4, ROLE_ALL = 7 };

enum { ROOM_NAME_MAX = 40, ROOMS_MAX = 512, SEGMENT_MS = 1000, SESSION_NAME_MAX = 17 };

struct config {
	unsigned roles;
	struct upstream *room, *store; /* NULL: this process */
	size_t segment_bytes;
	int64_t cache_bytes;    /* at most, without regard to the memory limit */
	int64_t window;         /* segments of the past that a room keeps ready */
	unsigned sessions;      /* in a room at one time */
	int64_t session_idle_ns; /* until one ends of which nothing is heard */
	unsigned max_requests;  /* under way at one time */
	unsigned max_per_client; /* connections from one address; 0: no bound */
	const char *debug;       /* [HOST:]PORT of the pages below /debug/; NULL: nowhere */
	const char *control;    /* path of the control socket; NULL: none */
};
extern struct config config;

/* Sequence numbers are seconds of the wall clock: all replicas agree on what is live. */
int64_t live_seq(void);
/* The parameter `room`, checked: letters, digits, '-', '_', '.'. False: the answer says so. */
bool room_name(const struct http_request *req, struct http_answer *a, char ret[ROOM_NAME_MAX]);

void gateway_join(const struct http_request *req, struct http_answer *a);
bool gateway_ready(void);

void room_join(const struct http_request *req, struct http_answer *a);
void room_segment(const struct http_request *req, struct http_answer *a);
void room_leave(const struct http_request *req, struct http_answer *a);
bool room_ready(void);
/* The room's number, from 0; it is live from now on if it was not. -1: there are too many. */
int64_t room_number(const char *name);
/* The coroutine that produces segments and watches memory; runs until stop. */
void room_start(void);
void room_stop(void);

void chat_post(const struct http_request *req, struct http_answer *a);
void chat_read(const struct http_request *req, struct http_answer *a);
/* Readers that wait are answered, and no one waits from now on. */
void chat_stop(void);

void store_room(const struct http_request *req, struct http_answer *a);
void store_chunk(const struct http_request *req, struct http_answer *a);
/* A segment's bytes, the same in every process. */
struct blob *store_make_chunk(const char *room, int64_t seq, size_t len);

/* Counts requests for /metrics. */
extern const struct http_listener serve_counts;
/* Listens at HOST:PORT (port 0: any) with o's routes, bounds and listener. NULL: failed, the reason
 * is on stderr. */
struct http_server *serve_at(const char *listen, struct http_options *o);

/* Runs the roles of config until SIGTERM or SIGINT; an exit code. A coroutine's. */
int serve(const char *listen);

/* Waits for a blocked SIGTERM or SIGINT, which must be blocked in every thread; its number. */
int wait_for_signal(void);
