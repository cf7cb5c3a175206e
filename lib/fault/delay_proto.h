/*
 * delay_proto - what the owner and its engine process say to each other
 *
 * A SOCK_SEQPACKET pair; one request, one answer. The engine finds its end as descriptor
 * DELAY_CONTROL_FD and the shared memory as DELAY_SHARED_FD. START is the first request and
 * carries the lease's map, ADD carries the TAP (SCM_RIGHTS, one descriptor).
 */
#pragma once

#include "delay_engine.h"

enum { DELAY_CONTROL_FD = 3, DELAY_SHARED_FD = 4 };
enum { DELAY_PATHS_MAX = 16384 };

enum delay_op { DELAY_OP_START, DELAY_OP_ADD, DELAY_OP_REMOVE, DELAY_OP_SET, DELAY_OP_FLUSH };

struct delay_request {
	uint32_t op;
	uint32_t id;     /* ADD, REMOVE: index into delay_shared.paths */
	uint64_t stream; /* ADD */
	struct delay_lease lease;   /* START; map_fd is the one passed along */
	struct delay_params params; /* START, SET; .table says only whether table follows */
	struct delay_table table;
};

struct delay_answer {
	struct err err; /* code 0: done */
};

/* The engine writes, the owner reads; every field is a word on its own (relaxed atomics). */
struct delay_shared {
	uint64_t renewals;
	struct delay_counters paths[DELAY_PATHS_MAX];
};
