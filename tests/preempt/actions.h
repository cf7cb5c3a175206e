/*
 * actions - what the exhaustive mode does to a coroutine at an instruction
 *
 * One row an action, one function each for what it needs around a kernel's passes, before each pass,
 * and in the trap handler. The coroutine that runs the kernel is the worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

struct m;

struct action {
	const char *name;
	unsigned procs;
	bool anywhere; /* at instructions of foreign code too */
	bool moves;    /* the worker must be resumed on another thread */
	bool collects; /* for kernels that allocate */
	void (*begin)(void); /* starts the coroutines that help */
	void (*settle)(void);  /* before a pass: until they wait; NULL: nothing to do */
	void (*prepare)(void); /* a pass has begun; NULL: nothing to do */
	/* In the trap handler, as the runtime's signal handler would: sends the worker away, or has held it
	 * when it returns. NULL, or why it was not done. */
	const char *(*act)(struct m *m, ucontext_t *u);
	void (*end)(void);
};

/* In the trap handler: a request, and the answer to it. */
const char *action_send_away(struct m *m, ucontext_t *u);

extern const struct action actions[];
extern const size_t n_actions;
