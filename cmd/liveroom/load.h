/*
 * load - viewers as an open loop: each acts at its own times, whatever the service does
 *
 * A viewer joins a room through the gateway, then fetches one segment a second from the room
 * server it was sent to, leaves after a while and is followed by a new one. Latencies count from
 * the intended time, so a stalled service cannot hide behind requests that were never sent.
 *
 * Threads: load_run is a coroutine's; the rest is shared by load.c and viewer.c
 */
#pragma once

#include "metrics.h"
#include "roles.h"

#include <sys/socket.h>

struct load_options {
	struct upstream target;
	unsigned viewers, rooms;
	double joins_per_s;    /* 0: viewers / 10 */
	int64_t duration_ns;   /* 0: until SIGTERM */
	int64_t timeout_ns;    /* of one request */
	const char *metrics_listen; /* NULL: none */
	bool json;
};

/* An exit code: 0 when at least one viewer was let in. */
int load_run(const struct load_options *o);

enum { LOAD_TARGETS_MAX = 16 };

enum op { OP_JOIN, OP_SEGMENT, OP_LEAVE, OPS };

struct load;

/* Belongs to the schedule while it is not busy, and to the coroutine of its request while it is. */
struct viewer {
	struct load *load;
	unsigned number;
	_Atomic bool busy; /* a join or a segment is under way; cleared with release by its coroutine */
	_Atomic unsigned stalls_untold; /* to the room server; both count */
	int64_t starts_ns, leaves_ns;
	int64_t intended_ns; /* of the request under way */
	int fd;              /* to the room server; -1: not connected */
	bool joined;
	struct sockaddr_storage room_sa;
	socklen_t room_sa_len;
	char room_origin[HTTP_HOST_MAX];
	char session[SESSION_NAME_MAX]; /* "": the room keeps none */
	int64_t seq, seq_at_ns; /* what was live when the room let the viewer in */
};

struct op_count {
	_Atomic uint64_t started, failed, done;
	struct hist latency;
};

struct load {
	const struct load_options *o;
	double joins_per_s;
	int64_t start_ns, stay_ns;
	struct viewer *viewers;
	struct op_count ops[OPS];
	_Atomic uint64_t stalls, bytes;
	struct rt_group requests; /* coroutines of requests */
	struct rt_chan *stop;     /* a signal came */

	struct rt_mutex lock; /* guards the rest: where the gateway is */
	struct load_target {
		struct sockaddr_storage sa;
		socklen_t len;
	} targets[LOAD_TARGETS_MAX];
	size_t n_targets, turn;
	int64_t resolved_ns;
};

/* A connection to the gateway, to the next of its addresses each time. */
int load_connect(struct load *l, int64_t deadline);

/* The segment did not arrive while it could have been shown. */
void viewer_stall(struct viewer *v);
/* Begin a request on a coroutine of its own; v->busy is set until it has ended. */
void viewer_join(struct viewer *v, int64_t intended_ns);
void viewer_segment(struct viewer *v, int64_t intended_ns);
/* Says good-bye on the viewer's connection, which is closed then; nobody waits for that. */
void viewer_leave(struct viewer *v);
void viewer_hang_up(struct viewer *v);
