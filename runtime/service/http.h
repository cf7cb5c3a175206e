/*
 * http - a server of HTTP/1.1: one coroutine a connection, nothing allocated for a small request
 *
 * Bounds:  connections, requests under way, connections of one client, head, body, and the time
 *          that each of them may take; beyond them a client is answered 503 or 429 with
 *          Retry-After, 431, 413 or 408
 * Pipelining: requests that have arrived together are answered with one write, HTTP_BATCH at most,
 *          then other coroutines get their turn
 * Drain:   no new connections, idle ones are closed, requests under way are answered
 * Threads: coroutines. Handlers run on the connection's coroutine, several at one time
 */
#pragma once

#include "http_parse.h"

enum { HTTP_BATCH = 64, HTTP_TEXT_MAX = 1024 };

/* What a handler fills in; zero is an empty answer with status 200. */
struct http_answer {
	int status;       /* 0: 200 */
	const char *type; /* NULL: text/plain. Must live on */
	const char *body; /* must live until release(owner) */
	size_t len;
	void (*release)(void *owner); /* NULL: nothing to release */
	void *owner;
	unsigned retry_after_s; /* 0: the header is left out */
	char *text;             /* HTTP_TEXT_MAX bytes of the connection, where http_text() writes */
};

/* The formatted text becomes the body; it is allocated only beyond HTTP_TEXT_MAX. */
void http_text(struct http_answer *a, int status, const char *type, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* body comes from malloc and goes to the answer. */
void http_give(struct http_answer *a, const char *type, char *body, size_t len);
/* Forgets what was answered. */
void http_answer_done(struct http_answer *a);

enum http_route_flags {
	HTTP_ALWAYS = 1, /* outside of the bound of requests: probes and metrics */
	HTTP_BELOW = 2,  /* path ends in "/": for every path that begins so */
};

struct http_route {
	const char *path;
	unsigned methods; /* of enum http_method; HTTP_GET answers HEAD as well */
	unsigned flags;
	void (*handle)(const struct http_request *req, struct http_answer *a);
};

/* What a service may want to count; any member may be NULL. Called on connections' coroutines. */
struct http_listener {
	void (*connections)(int change);
	void (*refused)(int status); /* malformed, or beyond a bound */
	void (*answered)(const char *path, int status, int64_t took_ns);
};

struct http_options {
	const char *host, *port; /* as rt_listen; port "0": any */
	const struct http_route *routes; /* ends with a NULL path; must live on */
	const struct http_listener *listener; /* NULL: nobody counts */
	unsigned max_connections; /* 0: 4096 */
	unsigned max_requests;    /* under way at one time; 0: 1024 */
	unsigned max_per_client;  /* connections from one address; 0: no bound of its own */
	size_t max_body;          /* 0: 64 KiB */
	int64_t head_ns;  /* for a head to be complete; 0: 10 s */
	int64_t body_ns;  /* for a body to be complete; 0: 20 s */
	int64_t idle_ns;  /* between requests; 0: 60 s */
	int64_t write_ns; /* for an answer to be taken; 0: 20 s */
};

struct http_server;

/* Listens and serves from now on. Errors: as rt_listen */
int http_serve(const struct http_options *o, struct http_server **ret);
/* "HOST:PORT" that it really listens on. */
const char *http_address(const struct http_server *s);
/* Drains for at most timeout_ns, then shuts down the sockets of what is left. True when all requests
 * were answered. s must not be used afterwards; it is freed with its last connection. */
bool http_drain(struct http_server *s, int64_t timeout_ns);
