/*
 * server - one epoll thread that waits, a few workers that answer
 *
 * A connection belongs to epoll while it waits and to one worker while it is served (EPOLLONESHOT
 * hands it over), so its buffers need no lock. Nothing blocks on a client: a half request or a
 * full socket gives the connection back to epoll. A handler may block on its upstream.
 *
 * Bounds:  connections, head size, time for a head, time for an answer to be taken
 * Drain:   no new connections, idle ones are closed, requests under way are answered
 */
#pragma once

#include "http.h"

/* A body that outlives the answer that carries it: a cached segment. */
struct blob {
	_Atomic unsigned refs;
	size_t len;
	char data[];
};
struct blob *blob_new(size_t len); /* pages of its own, given back to the kernel when freed */
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b); /* accepts NULL */

struct response {
	int status;       /* 0: 200 */
	const char *type; /* NULL: text/plain */
	char *text;       /* malloc'ed body, or */
	struct blob *blob; /* a reference */
	size_t len;
};
/* The formatted text becomes the body. */
void response_text(struct response *res, int status, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct route {
	const char *path;
	void (*handle)(const struct http_request *req, struct response *res);
};

struct server;

/* Binds HOST:PORT (port 0: any) and starts the threads. routes is NULL-terminated by path. NULL:
 * failed, the reason is on stderr. */
struct server *server_start(const char *listen, const struct route *routes, unsigned n_workers);
/* "HOST:PORT" that it really listens on. */
const char *server_address(const struct server *s);
/* Drains for at most timeout, then closes what is left. True if all requests were answered. */
bool server_stop(struct server *s, int64_t timeout_ns);
