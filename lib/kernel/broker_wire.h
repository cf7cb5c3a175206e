/*
 * broker_wire - the messages between a broker handle and its process
 *
 * One request, one reply, over a SOCK_SEQPACKET pair; the namespace and the result travel as
 * SCM_RIGHTS.
 */
#pragma once

#include "../base/err.h"

#include <limits.h>
#include <stdint.h>

enum broker_op {
	BROKER_SOCKET,  /* a domain, b type, c protocol */
	BROKER_TAP,     /* text: device name, a: IFF_ flags */
	BROKER_OPEN,    /* text: path, a: flags */
	BROKER_SCRATCH, /* a new network namespace; the fd of it */
	BROKER_TCX,     /* a ifindex, b attach type; answer: id of the first program there */
};

enum broker_step { BROKER_STEP_NONE, BROKER_STEP_ENTER, BROKER_STEP_ACT };

enum { BROKER_TEXT_MAX = 512, BROKER_FD = 3 };

struct broker_request {
	uint32_t op;
	int32_t a, b, c;
	char text[BROKER_TEXT_MAX];
};

struct broker_reply {
	int32_t error; /* positive errno, 0: done */
	uint32_t step; /* enum broker_step that failed */
	int32_t value;
};

/* One message with at most one file descriptor; fd -1: none. Negative errno on failure. */
int broker_wire_send(int sock, const void *data, size_t len, int fd);
/* Bytes received, 0 at the end of the conversation; *ret_fd is -1 when none came. */
int broker_wire_recv(int sock, void *data, size_t len, int *ret_fd);

/* Answers requests on sock until it closes. */
int broker_serve(int sock);
