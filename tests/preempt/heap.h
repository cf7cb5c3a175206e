/*
 * heap - objects of the kernels whose references are in one place only
 *
 * Between two passes the heap holds a long chain, and behind its end the cabinet: a marker reaches it
 * after everything else. The cabinet's fields are the only ones that know the two objects put there.
 *
 * Threads: coroutines, the steps of a kernel by one at a time
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct rt_type;

struct heap_node {
	struct heap_node *const next, *const other;
	uint64_t value[4];
};

extern struct rt_type *const heap_node_type;

void heap_begin(void); /* once a runtime; collections come from the actions only from here on */

struct heap_node *heap_make(uint64_t seed); /* two objects, the second known to the first only */
/* Waits for the end of the collection that an action has begun, and reads them and what follows. */
uint64_t heap_finish(struct heap_node *n);

void heap_fill_cabinet(uint64_t seed);
struct heap_node *heap_cabinet(void);
/* Another coroutine's: takes a reference out of the cabinet, and forgets the cabinet. */
void heap_steal(void);

/* Bytes half of which are filled; a coroutine collects and then writes the rest into a pipe, when
 * heap_read() waits for it. */
void *heap_ask(uint64_t seed);
void *heap_read(void *bytes); /* in a system call; returns bytes */
void *heap_read_in_call(void *bytes);
uint64_t heap_finish_bytes(void *bytes);
