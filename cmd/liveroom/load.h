/*
 * load - viewers as an open loop: each acts at its own times, whatever the service does
 *
 * A viewer joins a room through the gateway, then fetches one segment a second from the room
 * server it was sent to, leaves after a while and is followed by a new one. Latencies count from
 * the intended time, so a stalled service cannot hide behind requests that were never sent.
 */
#pragma once

#include "upstream.h"

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
