/*
 * server - what a listening server and its connections share
 */
#pragma once

#include "../rt.h"
#include "http.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { CONN_OUT = 4096 };

struct conn {
	struct http_server *server;
	struct conn *prev, *next;   /* all of the server; its lock */
	_Atomic bool idle;          /* waits for the first byte of a request; written by its coroutine */
	_Atomic bool served;        /* has had an answer; as idle */
	int fd;
	int refuse;                 /* the status that it was let in to hear, 0: none */
	int64_t opened_ns, now_ns;  /* now: when it last came out of a wait */
	int64_t head_deadline;      /* of the request whose first byte has come */
	int64_t date_s;             /* the second that date tells */
	bool close_after;
	uint8_t client[16];
	size_t at, end;             /* of in: what has arrived and was not taken */
	size_t out_len;
	unsigned batch;             /* answers since the last write */
	struct http_request req;
	char date[HTTP_DATE_LEN + 1];
	char text[HTTP_TEXT_MAX];
	char in[HTTP_HEAD_MAX];
	char out[CONN_OUT];
};

struct http_server {
	struct http_options o;
	int fd;
	char address[80];
	_Atomic bool draining;
	_Atomic unsigned requests; /* under way */
	_Atomic unsigned users;    /* connections, the acceptor and the owner */
	struct rt_mutex lock;      /* guards the rest */
	struct conn *conns;
	unsigned n_conns;
	struct rt_group accepting;
};

/* The coroutine of a connection. */
void conn_main(void *arg);
/* Takes it out of the server and frees it. */
void server_forget(struct http_server *s, struct conn *c);
