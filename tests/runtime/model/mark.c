/*
 * Marking beside two coroutines: mem/barrier.c's store of each kind, mem/roots.c's snapshot rule, mem/gc.c's
 * pauses.
 *
 * Thread 0 and 1 are coroutines with one word of stack each, that load, store, make objects, park and go
 * on; 2 is a marker, 3 the controller with its two pauses. Three objects have one field each; globals
 * name objects 1 and 2. What must hold: when marking has ended, every object that a stack word, a global
 * or a field of a reachable object names is marked.
 *
 * A coroutine that is stopped has its stores behind it, and is outside the runtime's text (INSIDE is 0):
 * that is what a pause waits for. Sets of objects are bits of one variable.
 */
#include "models.h"

enum { FIELD, STACK = FIELD + 3, SEARCHED = STACK + 2, INSIDE = SEARCHED + 2, RUNS = INSIDE + 2,
       SHADED = RUNS + 2, MARKED = SHADED + 2, CANDIDATES, ACTIVE, MARKING, WRONG };

enum { NOT_SEARCHED, BUSY, DONE };
enum { LOST = 1 };
static const char *const wrongs[] = {NULL, "an object is lost that can be reached"};

enum {
	SHADES_NOTHING = 1,
	SHADES_THE_NEW,
	STOPS_INSIDE,
	RESUMES_UNSEARCHED,
	RESUMES_WHILE_SEARCHED,
	NEW_IS_WHITE,
	RUNNING_SEARCHED_LATE,
	BUFFERS_FORGOTTEN,
	STACKS_SEARCHED_ONCE,
	MARKERS_NOT_COUNTED,
};
static const char *const mutants[] = {
	"a store shades nothing",
	"a store shades the new value and stacks are searched once",
	"a stop may come between a store's check and the store",
	"a coroutine goes on before its stack was searched",
	"a coroutine goes on while a marker searches its stack",
	"a new object is not marked",
	"running coroutines are searched after the pause",
	"the last pause forgets what barriers kept",
	"the last pause does not search stacks again, where the barrier needs that",
	"the last pause does not wait for a marker that holds work",
	NULL,
};

/* A coroutine's program; objects are 1, 2, 3, so that 0 is NULL. */
enum op { END, LOAD, FOLLOW, STORE_NULL, STORE, MAKE, FORGET, PARK, RESUME };
struct line {
	uint8_t op, object; /* whose field */
};
static const struct {
	struct line line[2][10];
	uint8_t field[3], stack[2];
	bool runs[2];
} scripts[] = {
	/* the chain 1 -> 2 -> 3 is cut, and its end known to a stack only */
	{{{{LOAD, 1}, {FOLLOW, 0}, {STORE_NULL, 2}, {STORE, 1}, {FORGET, 0}},
	  {{LOAD, 1}, {FORGET, 0}}},
	 {2, 3, 0}, {0, 0}, {true, true}},
	/* a parked coroutine alone knows 3, goes on and stores it where the marker has been */
	{{{{LOAD, 1}, {FORGET, 0}},
	  {{RESUME, 0}, {STORE, 1}, {FORGET, 0}, {PARK, 0}}},
	 {2, 0, 0}, {0, 3}, {true, false}},
	/* a new object is all that a field of a marked one names */
	{{{{MAKE, 3}, {STORE, 2}, {FORGET, 0}}, {{LOAD, 2}, {PARK, 0}, {RESUME, 0}, {STORE, 1}}},
	 {0, 0, 0}, {0, 0}, {true, true}},
	/* 3 wanders from stack to field to the other stack */
	{{{{LOAD, 2}, {STORE_NULL, 2}, {STORE, 1}, {FORGET, 0}, {PARK, 0}},
	  {{RESUME, 0}, {LOAD, 1}, {STORE_NULL, 1}, {PARK, 0}, {RESUME, 0}, {STORE, 2}, {FORGET, 0}}},
	 {0, 3, 0}, {0, 0}, {true, false}},
};
#define GLOBALS (bit(1) | bit(2))
/* Of mem/barrier.h; each script runs with each. */
enum kind { SATB, DIJKSTRA, HYBRID, KINDS };
enum { SCRIPTS = sizeof scripts / sizeof *scripts, INSTANCES = SCRIPTS * KINDS };

static unsigned instance, mutant;
static enum kind kind;

enum { LINE, SUB, SEEN }; /* registers of coroutines: line of the script, step of it, what was seen */

static void choose(unsigned i, unsigned m)
{
	instance = i % SCRIPTS;
	kind = (enum kind)(i / SCRIPTS);
	mutant = m;
}

static void init(struct world *w)
{
	for (unsigned i = 0; i < 3; i++)
		w->var[FIELD + i] = scripts[instance].field[i];
	for (unsigned c = 0; c < 2; c++) {
		w->var[STACK + c] = scripts[instance].stack[c];
		w->var[RUNS + c] = scripts[instance].runs[c];
	}
}

static uint8_t bit(uint8_t object)
{
	return object ? (uint8_t)(1 << (object - 1)) : 0;
}

static bool next_line(struct world *w, unsigned t)
{
	w->thread[t].reg[LINE]++;
	w->thread[t].reg[SUB] = 0;
	return true;
}

static bool next_sub(struct world *w, unsigned t)
{
	w->thread[t].reg[SUB]++;
	return true;
}

/* A coroutine's stack is its own, and who else reads it does so when it stands still or has parked: no
 * delay is needed for it, nor for INSIDE. */
static bool step_store(struct world *w, unsigned t, unsigned object, uint8_t value)
{
	uint8_t *reg = w->thread[t].reg;
	uint8_t kept;

	switch (reg[SUB]) {
	case 0:
		w->var[INSIDE + t] = mutant != STOPS_INSIDE;
		reg[SEEN] = load(w, t, MARKING);
		return next_sub(w, t);
	case 1:
		kept = kind == SATB ? 0 : bit(value);
		if (kind != DIJKSTRA)
			kept |= bit(load(w, t, FIELD + object));
		if (mutant == SHADES_NOTHING || mutant == SHADES_THE_NEW)
			kept = mutant == SHADES_NOTHING ? 0 : bit(value);
		if (reg[SEEN])
			w->var[SHADED + t] |= kept & (uint8_t)~w->var[MARKED];
		return next_sub(w, t);
	case 2:
		return store(w, t, FIELD + object, value, false) && next_sub(w, t);
	default: /* in its own program's order; a stop waits until the store has been seen */
		w->var[INSIDE + t] = 0;
		return next_line(w, t);
	}
}

static bool step_resume(struct world *w, unsigned t)
{
	uint8_t *reg = w->thread[t].reg;

	switch (reg[SUB]) {
	case 0:
		w->var[INSIDE + t] = 1;
		return next_sub(w, t);
	case 1:
		if (!drained(w, t))
			return false;
		if (!w->var[MARKING] || mutant == RESUMES_UNSEARCHED || w->var[SEARCHED + t] == DONE)
			break;
		if (w->var[SEARCHED + t] == BUSY && mutant == RESUMES_WHILE_SEARCHED)
			break;
		if (w->var[SEARCHED + t] == BUSY)
			return false;
		w->var[SEARCHED + t] = BUSY;
		return next_sub(w, t);
	case 2:
		w->var[CANDIDATES] |= bit(w->var[STACK + t]);
		return next_sub(w, t);
	default:
		w->var[SEARCHED + t] = DONE;
	}
	w->var[RUNS + t] = 1;
	w->var[INSIDE + t] = 0;
	return next_line(w, t);
}

static bool step_coroutine(struct world *w, unsigned t)
{
	const struct line *l = &scripts[instance].line[t][w->thread[t].reg[LINE]];
	uint8_t *stack = &w->var[STACK + t];
	unsigned object = l->object - 1u;

	switch ((enum op)l->op) {
	case END:
		return false;
	case LOAD:
		*stack = load(w, t, FIELD + object);
		return next_line(w, t);
	case FOLLOW:
		*stack = *stack ? load(w, t, FIELD + *stack - 1u) : 0;
		return next_line(w, t);
	case STORE_NULL:
		return step_store(w, t, object, 0);
	case STORE:
		return step_store(w, t, object, *stack);
	case MAKE: /* in the runtime's text */
		if (w->var[MARKING] && mutant != NEW_IS_WHITE)
			w->var[MARKED] |= bit(l->object);
		*stack = l->object;
		return next_line(w, t);
	case FORGET:
		*stack = 0;
		return next_line(w, t);
	case PARK:
		if (!drained(w, t))
			return false;
		w->var[RUNS + t] = 0;
		return next_line(w, t);
	default: /* RESUME */
		return step_resume(w, t);
	}
}

/* The marker: takes a candidate and counts, marks it, searches it, counts no more; or a coroutine. */
enum { TAKE, MARK, SEARCH, GIVE_UP, READ_STACK, SEARCH_DONE };

static bool take(struct world *w, unsigned t)
{
	uint8_t *reg = w->thread[t].reg;

	for (uint8_t o = 1; o <= 3; o++) {
		if (!(w->var[CANDIDATES] & bit(o)))
			continue;
		w->var[CANDIDATES] &= (uint8_t)~bit(o);
		w->var[ACTIVE] = mutant != MARKERS_NOT_COUNTED;
		reg[SEEN] = o;
		return go(w, t, MARK);
	}
	for (unsigned c = 0; c < 2; c++) {
		if (w->var[SEARCHED + c] != NOT_SEARCHED)
			continue;
		if (w->var[RUNS + c] && mutant != RUNNING_SEARCHED_LATE && mutant != RESUMES_UNSEARCHED)
			continue;
		w->var[SEARCHED + c] = BUSY;
		w->var[ACTIVE] = 1;
		reg[SEEN] = (uint8_t)c;
		return go(w, t, READ_STACK);
	}
	return false;
}

static bool step_marker(struct world *w, unsigned t)
{
	uint8_t o = w->thread[t].reg[SEEN];

	switch (w->thread[t].pc) {
	case TAKE:
		return w->var[MARKING] && take(w, t);
	case MARK:
		if (w->var[MARKED] & bit(o))
			return go(w, t, GIVE_UP);
		w->var[MARKED] |= bit(o);
		return go(w, t, SEARCH);
	case SEARCH:
		w->var[CANDIDATES] |= bit(load(w, t, FIELD + o - 1u));
		return go(w, t, GIVE_UP);
	case READ_STACK:
		w->var[CANDIDATES] |= bit(w->var[STACK + o]);
		return go(w, t, SEARCH_DONE);
	case SEARCH_DONE:
		w->var[SEARCHED + o] = DONE;
		return go(w, t, GIVE_UP);
	default: /* GIVE_UP */
		w->var[ACTIVE] = 0;
		return go(w, t, TAKE);
	}
}

static bool all_stand(const struct world *w)
{
	return !w->var[INSIDE] && !w->var[INSIDE + 1] && drained(w, 0) && drained(w, 1);
}

static void begin(struct world *w)
{
	w->var[MARKING] = 1;
	w->var[CANDIDATES] = GLOBALS;
	for (unsigned c = 0; c < 2; c++) {
		if (!w->var[RUNS + c] || mutant == RUNNING_SEARCHED_LATE)
			continue;
		w->var[CANDIDATES] |= bit(w->var[STACK + c]);
		w->var[SEARCHED + c] = DONE;
	}
}

static void check(struct world *w)
{
	uint8_t reached = GLOBALS | bit(w->var[STACK]) | bit(w->var[STACK + 1]);

	for (unsigned round = 0; round < 3; round++)
		for (uint8_t o = 1; o <= 3; o++)
			if (reached & bit(o))
				reached |= bit(w->var[FIELD + o - 1]);
	if (reached & ~w->var[MARKED])
		w->var[WRONG] = LOST;
}

enum { BEFORE, BESIDE, LAST, OVER };

static bool step_controller(struct world *w, unsigned t)
{
	switch (w->thread[t].pc) {
	case BEFORE:
		if (!all_stand(w))
			return false;
		begin(w);
		return go(w, t, BESIDE);
	case BESIDE:
		if (w->var[CANDIDATES] || w->var[ACTIVE] || w->var[SEARCHED] != DONE ||
		    w->var[SEARCHED + 1] != DONE)
			return false;
		return go(w, t, LAST);
	case LAST:
		/* A search by a coroutine that goes on may have come between. */
		if (!all_stand(w))
			return false;
		if (mutant != BUFFERS_FORGOTTEN)
			w->var[CANDIDATES] |= (w->var[SHADED] | w->var[SHADED + 1]) &
					      (uint8_t)~w->var[MARKED];
		if (kind == DIJKSTRA && mutant != STACKS_SEARCHED_ONCE)
			w->var[CANDIDATES] |= (bit(w->var[STACK]) | bit(w->var[STACK + 1])) &
					      (uint8_t)~w->var[MARKED];
		w->var[SHADED] = w->var[SHADED + 1] = 0;
		if (w->var[CANDIDATES] || w->var[ACTIVE])
			return go(w, t, BESIDE);
		w->var[MARKING] = 0;
		check(w);
		return go(w, t, OVER);
	default:
		return false;
	}
}

static bool step(struct world *w, unsigned t)
{
	return t < 2 ? step_coroutine(w, t) : t == 2 ? step_marker(w, t) : step_controller(w, t);
}

static const char *wrong(const struct world *w)
{
	return wrongs[w->var[WRONG]];
}

static const char *wrong_at_end(const struct world *w)
{
	return w->thread[3].pc == OVER ? NULL : "marking does not end";
}

const struct protocol protocol_mark = {
	.name = "mark",
	.model = {.threads = 4,
		  .init = init,
		  .step = step,
		  .wrong = wrong,
		  .wrong_at_end = wrong_at_end},
	.instances = INSTANCES,
	.choose = choose,
	.mutants = mutants,
};
