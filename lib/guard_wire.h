/*
 * guard_wire - messages between a run and its guard, over a SOCK_SEQPACKET pair
 *
 * A message is a struct guard_msg cut off after its last id; n descriptors come with it over
 * SCM_RIGHTS, one an id. Without ids: GUARD_HELLO brings the lock's, the shared memory and a pidfd of
 * the owner; GUARD_RECORDS and GUARD_UNDONE a file in memory (guard_records.h), so that a message
 * stays small whatever it is about; GUARD_SEE_OFF a pidfd. The answer is a struct guard_answer.
 */
#pragma once

#include "kernel/netns.h"
#include "lock.h"

#include <stdatomic.h>
#include <stddef.h>

enum {
	GUARD_BATCH = 253, /* SCM_MAX_FD of the kernel */
	GUARD_SOCKET = 3,  /* where the guard finds its end */
	GUARD_GRACE_MS = 5000,
};

/* The descriptors that come with GUARD_HELLO; the lock's are first. */
enum { GUARD_FD_SHARED = LOCK_FDS, GUARD_FD_OWNER, GUARD_HELLO_FDS };

/*
 * Whose turn it is to change targets, in memory that owner and guard share. The owner takes it for
 * each step and gives it back; the guard takes it when it acts, and keeps it. So an owner that
 * stood still and goes on later finds out before its next change, not after it.
 */
enum guard_turn { GUARD_TURN_FREE, GUARD_TURN_OWNER, GUARD_TURN_GUARD };

struct guard_shared {
	_Atomic uint32_t turn; /* enum guard_turn */
};

/* The seq of what the guard says unasked, before it reverts over a living owner's head. */
#define GUARD_ACTS UINT32_MAX

enum guard_op {
	GUARD_HELLO, GUARD_HOLD, GUARD_RECORDS, GUARD_UNDONE, GUARD_SEE_OFF, GUARD_FORGET,
	GUARD_DISARM, GUARD_PING, GUARD_LEAVE,
};

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

/* Never waits: -EAGAIN when the other end does not read. */
int guard_wire_send(int fd, const struct guard_msg *m, const int *fds, size_t n_fds);
/* 1 a message, 0 the other end has closed; received descriptors are the caller's. */
int guard_wire_recv(int fd, struct guard_msg *m, int *ret_fds, size_t *ret_n_fds);
