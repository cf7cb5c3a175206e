/*
 * thread - what obs keeps of each thread of the runtime
 *
 * Owns:    struct obs_thread, from obs_thread_made() to obs_thread_ends()
 */
#pragma once

#include "obs.h"
#include "walk.h"

#include <time.h>

enum { CREATION_MAX = 16 };

struct trace_event;

struct obs_thread {
	struct m *m;
	struct obs_thread *next; /* guarded by obs_threads.lock, like the list */
	uintptr_t created[CREATION_MAX];
	int n_created;
	timer_t timer; /* of its CPU time */
	bool timed;
	/* Its stack, for who asked: written in its signal handler. */
	uintptr_t told[WALK_MAX];
	int n_told;
	_Atomic uint32_t told_turn;
	/* Where its next trace events go. */
	struct trace_event *event, *events_end;
	uint32_t trace_turn; /* of the trace that they belong to */
};

struct obs_threads {
	struct lock lock;
	struct obs_thread *first;
};
extern struct obs_threads obs_threads;

/* cpu.c, with obs_threads.lock held. */
void cpu_thread_begins(struct obs_thread *t);
void cpu_thread_ends(struct obs_thread *t);
void cpu_sample(struct m *m, const void *context, int count);

/*
 * Asks each thread that runs a coroutine for its stack, waits at most patience_ns, and returns the
 * turn that answers carry. Stops nothing: what does not answer does not hold it up. any thread
 */
uint32_t threads_tell(int64_t patience_ns);
/* A coroutine's stack as its thread told it in that turn; 0: it did not. */
int thread_told(const struct rt_co *co, uint32_t turn, uintptr_t *pcs, int max);
