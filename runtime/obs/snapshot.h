/*
 * snapshot - all coroutines at one moment, equal stacks kept once
 *
 * Owns:    its memory, until snapshot_done()
 * Threads: coroutines only; the world stands still while it is taken
 * Errors:  -ENOMEM no address space
 */
#pragma once

#include "walk.h"

struct snap_stack {
	uint32_t n, count; /* frames, coroutines that stand there */
	uintptr_t pcs[];
};

struct snap_co {
	uint64_t id, parent_id;
	enum co_state state;
	enum wait_reason reason;
	int64_t waits_since; /* ns, 0: it does not wait */
	uintptr_t created_at, entry;
	const char *name; /* NULL: the symbol of entry */
	uint32_t stack; /* where its snap_stack is: snapshot_stack() */
	uint32_t thread; /* id of the M, NO_THREAD */
};

#define NO_THREAD UINT32_MAX

struct snapshot {
	int64_t taken_ns;
	size_t n;
	struct snap_co *cos; /* in the order of their slots */
	size_t lost;         /* started while memory for it was being made */
	uint32_t turn;       /* of threads_tell(); 0: the world stands still */

	size_t room, table_room, words_room;
	uint64_t *words; /* of snap_stacks, one after the other */
	size_t n_words;
	uint32_t *table; /* hash of a stack to its place in words, plus one */
};

int snapshot_take(struct snapshot *ret, const char *cause);
/* The same while they run, from any thread: nothing is stopped, threads tell where they are. One
 * that moves meanwhile is seen where it was or will be. For who asks why nothing moves. */
int snapshot_take_running(struct snapshot *ret);
struct snap_co snapshot_of(const struct rt_co *co); /* without its stack */
void snapshot_done(struct snapshot *s);
const struct snap_stack *snapshot_stack(const struct snapshot *s, uint32_t stack);
/* Each different stack, in the order of the first coroutine that stands there. */
void snapshot_each_stack(const struct snapshot *s,
			 void (*fn)(const struct snap_stack *stack, void *arg), void *arg);
