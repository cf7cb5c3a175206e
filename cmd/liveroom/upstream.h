/*
 * upstream - GET from a service that may have several addresses, some of them down or slow
 *
 * The name is resolved anew for each request (a hosts file changes when pods come and go). A
 * request begins at the next address in rotation and goes on to another when one refuses, does
 * not connect or does not answer in time, or answers 5xx.
 *
 * Threads: coroutines
 */
#pragma once

#include "util.h"

#include "../../runtime/service/http_parse.h"

#include <stdatomic.h>
#include <sys/socket.h>

enum {
	UPSTREAM_CONNECT_MS = 300, /* for one address to accept */
	UPSTREAM_TRY_MS = 500,     /* for one address to have answered, connecting included */
	UPSTREAM_TOTAL_MS = 2500,
	UPSTREAM_TRIES = 4,
	UPSTREAM_BODY_MAX = 4 << 20,
};

struct upstream {
	struct http_origin origin;
	_Atomic unsigned turn;
};

struct upstream_answer {
	int status; /* 0: no address answered */
	char *body; /* NUL-terminated; owned */
	size_t len;
	char address[HTTP_HOST_MAX]; /* "10.7.0.3:8080", the one that answered */
	int tries;
};

/* False when no address answered below 500; answer->body is then NULL. */
bool upstream_get(struct upstream *u, const char *target, struct upstream_answer *ret);
void upstream_answer_done(struct upstream_answer *a);
/* True when some address accepts a connection. */
bool upstream_reachable(struct upstream *u);
