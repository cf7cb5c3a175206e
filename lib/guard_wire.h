/*
 * guard_wire - messages between a run and its guard, over a SOCK_SEQPACKET pair
 *
 * A message is a struct guard_msg cut off after its last id; n descriptors come with it over
 * SCM_RIGHTS, one an id (GUARD_HELLO: the lock's, no ids). The answer is a struct guard_answer.
 */
#pragma once

#include "kernel/netns.h"

#include <stddef.h>

enum {
	GUARD_BATCH = 253, /* SCM_MAX_FD of the kernel */
	GUARD_SOCKET = 3,  /* where the guard finds its end */
	GUARD_GRACE_MS = 5000,
};

/* The seq of what the guard says unasked, before it reverts over a living owner's head. */
#define GUARD_ACTS UINT32_MAX

enum guard_op { GUARD_HELLO, GUARD_HOLD, GUARD_FORGET, GUARD_DISARM, GUARD_LEAVE };

struct guard_msg {
	uint32_t op, seq;
	int64_t deadline_ns; /* GUARD_HOLD */
	uint32_t n_ids;
	struct netns_id ids[GUARD_BATCH];
};

struct guard_answer {
	uint32_t seq;
	int32_t r; /* 0 or a negative errno */
	char text[200];
};

int guard_wire_send(int fd, const struct guard_msg *m, const int *fds, size_t n_fds);
/* 1 a message, 0 the other end has closed; received descriptors are the caller's. */
int guard_wire_recv(int fd, struct guard_msg *m, int *ret_fds, size_t *ret_n_fds);
