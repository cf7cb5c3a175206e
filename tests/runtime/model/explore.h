/*
 * explore - looks at every interleaving of a few threads on a memory that delays stores
 *
 * A model is a set of threads, each a program counter, a few registers and a step function that
 * makes at most one access to shared variables. Stores go into a buffer of their thread first and
 * reach memory later, at any time: in order for one variable, in any order for several (partial
 * store order); a release store waits for all before it. A thread sees its own stores at once. That
 * is weaker than x86, and is what a missing fence or release shows up on; loads that overtake one
 * another (aarch64) are not modelled. Read-modify-writes and fences wait until the buffer is empty.
 *
 * The whole reachable space is searched, so "holds" means for all schedules of this instance.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { THREADS_MAX = 4, VARS_MAX = 28, REGS_MAX = 6, BUFFER_MAX = 3 };

struct store {
	uint8_t var, value, release;
};

struct thread {
	uint8_t pc, buffered;
	uint8_t reg[REGS_MAX];
	struct store buffer[BUFFER_MAX];
};

struct world {
	uint8_t var[VARS_MAX];
	struct thread thread[THREADS_MAX];
};

struct model {
	unsigned threads;
	void (*init)(struct world *w);
	bool (*step)(struct world *w, unsigned t);   /* false: it cannot go on now */
	const char *(*wrong)(const struct world *w); /* what must not be in any state */
	/* Nor where no step is left; may be NULL. */
	const char *(*wrong_at_end)(const struct world *w);
};

static inline uint8_t load(const struct world *w, unsigned t, unsigned var)
{
	const struct thread *s = &w->thread[t];

	for (unsigned i = s->buffered; i-- > 0;)
		if (s->buffer[i].var == var)
			return s->buffer[i].value;
	return w->var[var];
}

/* Whether a read-modify-write, a fence or a lock may be passed; memory is w->var then. */
static inline bool drained(const struct world *w, unsigned t)
{
	return w->thread[t].buffered == 0;
}

static inline bool store(struct world *w, unsigned t, unsigned var, uint8_t value, bool release)
{
	struct thread *s = &w->thread[t];

	if (s->buffered == BUFFER_MAX)
		return false;
	s->buffer[s->buffered++] = (struct store){(uint8_t)var, value, release};
	return true;
}

/* For the end of a step. */
static inline bool go(struct world *w, unsigned t, unsigned pc)
{
	w->thread[t].pc = (uint8_t)pc;
	return true;
}

struct explored {
	size_t states;
	const char *wrong; /* NULL: it holds */
};

/* Prints the schedule that leads to what is wrong when show is set. */
struct explored explore(const struct model *m, bool show);
