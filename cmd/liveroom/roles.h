/*
 * roles - what one liveroom process is: the gateway, a room server, the store, or all of them
 *
 *   viewer -- /join --> gateway -- /join --> room -- /room, /chunk --> store
 *   viewer -- /segment --> room
 *
 * A role without an upstream of its own kind calls the next role inside the process.
 */
#pragma once

#include "server.h"
#include "upstream.h"

enum role { ROLE_GATEWAY = 1, ROLE_ROOM = 2, ROLE_STORE = 4, ROLE_ALL = 7 };

enum { ROOM_NAME_MAX = 40, SEGMENT_MS = 1000 };

struct config {
	unsigned roles;
	struct upstream *room, *store; /* NULL: this process */
	size_t segment_bytes;
	int64_t cache_bytes;    /* at most, without regard to the memory limit */
	int64_t window;         /* segments of the past that a room keeps ready */
	unsigned n_workers;
};
extern struct config config;

/* Sequence numbers are seconds of the wall clock: all replicas agree on what is live. */
int64_t live_seq(void);
/* The parameter `room`, checked: letters, digits, '-', '_', '.'. False: the answer says so. */
bool room_name(const struct http_request *req, struct response *res, char ret[ROOM_NAME_MAX]);

void gateway_join(const struct http_request *req, struct response *res);
bool gateway_ready(void);

void room_join(const struct http_request *req, struct response *res);
void room_segment(const struct http_request *req, struct response *res);
bool room_ready(void);
/* The thread that produces segments and watches memory; runs until stop. */
void room_start(void);
void room_stop(void);

void store_room(const struct http_request *req, struct response *res);
void store_chunk(const struct http_request *req, struct response *res);
/* A segment's bytes, the same in every process. NULL: no memory. */
struct blob *store_make_chunk(const char *room, int64_t seq, size_t len);

/* Runs the roles of config until SIGTERM or SIGINT; an exit code. */
int serve(const char *listen);
