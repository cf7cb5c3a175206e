/*
 * http - requests on the event loop
 *
 * Any number of requests at a time, each answered by one call of its `done`. Sockets can be made
 * elsewhere (in another network namespace), and the address be chosen by the caller. libcurl is
 * loaded by the first http_client_new().
 *
 * Owns:    a client owns its calls and connections; http_client_free, which no `done` may call,
 *          drops both without calling `done`. What a request points to is borrowed until its `done`
 * or http_cancel. Threads: the loop's thread only Errors:  what happens to a request is an answer
 * (http_response), never an error of the client
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct http_client;
struct http_call;
struct sd_event;

enum http_outcome {
	HTTP_OK, /* there was an answer, whatever its status */
	HTTP_REFUSED,
	HTTP_RESET, /* closed before the answer was complete */
	HTTP_TIMEOUT,
	HTTP_UNREACHABLE, /* no route to host or network */
	HTTP_UNRESOLVED,
	HTTP_TLS,
	HTTP_TOO_LARGE, /* more than max_body */
	HTTP_OTHER,
	HTTP_OUTCOME_MAX
};
const char *http_outcome_name(enum http_outcome o); /* "refused" */

struct http_request {
	const char *url;
	const char *method; /* NULL: GET */
	const struct kvs *headers;
	const char *body;
	int64_t timeout_ns;	/* of the whole exchange; 0: 30 s */
	const char *connect_to; /* address to use instead of the URL's host; NULL: resolve it */
	const char *unix_socket;
	size_t max_body;   /* bytes of the answer to keep; 0: none, they are only counted */
	bool keep_alive;   /* may use a connection again and leave one behind */
	bool insecure;	   /* accept any certificate */
	bool connect_only; /* done as soon as the connection is made */
	/* Makes the socket, or returns a negative errno; NULL: socket(). */
	int (*open_socket)(void *data, int domain, int type, int protocol);
	void *socket_data;
};

struct http_response {
	enum http_outcome outcome;
	const char *text; /* what libcurl says of a failure; "" else */
	int status;	  /* 0 without an answer */
	const char *body; /* NUL-terminated; "" unless max_body was given */
	size_t body_len;
	uint64_t received; /* bytes of the body */
};

int http_client_new(struct sd_event *loop, struct http_client **ret, struct err *e);
void http_client_free(struct http_client *c);
DEFINE_AUTOPTR(http_client, http_client_free);

/* done is called from the loop, never from within http_send. *ret_call, if asked for, is good until
 * then. Fails only for a request that libcurl refuses to begin. */
int http_send(struct http_client *c, const struct http_request *r,
	      void (*done)(void *data, const struct http_response *response), void *data,
	      struct http_call **ret_call, struct err *e);
/* Drops a call; its done is not called. Not from within its own done. */
void http_cancel(struct http_call *call);
