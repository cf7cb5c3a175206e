/*
 * The ring of a P with its runnext: runq_put(), runq_get() and runq_steal() of queue.c.
 *
 * Thread 0 owns the ring and plays a script of puts and gets; the others steal for ever. The ring
 * has two or four places instead of 256, so that indices come round. What must hold: no coroutine
 * is taken twice, none that was never put, and none is lost.
 */
#include "models.h"

enum { HEAD, TAIL, NEXT, SLOTS }; /* shared; up to four slots */
enum { TAKEN = 8, BAD = 27 }; /* the observer's: how often item i was taken */
/* Registers; a thief's copies are OWN_TAIL and ITEM. */
enum { SCRIPT, OWN_TAIL, ITEM, SEEN_HEAD, SEEN, N };

enum {
	TAIL_WITHOUT_RELEASE = 1,
	COPY_AFTER_MOVE,
	HEAD_IS_STORED,
	NEXT_IS_NOT_ATOMIC,
	PUT_WITHOUT_ROOM,
};

static const char *const mutants[] = {
	"tail is stored without release",
	"a thief copies after it has moved head",
	"the owner moves head by a plain store",
	"runnext is read and then cleared",
	"the owner puts without looking for room",
	NULL,
};

/* p: put last; n: put next; g: get */
static const struct {
	unsigned places, thieves;
	const char *script;
} instances[] = {
	{2, 2, "ppgpp"},
	{2, 1, "nnpgnpg"},
	{2, 2, "nngg"},
	{4, 1, "ppppgpp"},
};
static unsigned places, thieves, mutant, items;
static const char *script;

enum {
	NEXT_OP,
	PUT_NEXT,
	PUT_HEAD,
	PUT_SLOT,
	PUT_TAIL,
	GET_NEXT,
	GET_NEXT_MOVE,
	GET_HEAD,
	GET_SLOT,
	GET_MOVE,
	OWNER_DONE,
	STEAL_HEAD,
	STEAL_TAIL,
	STEAL_COPY,
	STEAL_COPY_SECOND,
	STEAL_MOVE,
	STEAL_NEXT,
	STEAL_NEXT_MOVE,
};

static void choose(unsigned instance, unsigned m)
{
	places = instances[instance].places;
	thieves = instances[instance].thieves;
	script = instances[instance].script;
	mutant = m;
	items = 0;
	for (const char *p = script; *p; p++)
		items += *p != 'g';
}

static void init(struct world *w)
{
	for (unsigned t = 1; t < THREADS_MAX; t++)
		w->thread[t].pc = STEAL_HEAD;
}

static void take(struct world *w, unsigned item)
{
	if (item == 0 || item > items || w->var[TAKEN + item]++)
		w->var[BAD] = item == 0 || item > items ? 1 : 2;
}

/* A compare-and-swap of HEAD or NEXT; plain: only a store, by a mutant. */
static bool move(struct world *w, unsigned t, unsigned var, uint8_t from, uint8_t to, bool plain,
		 bool *ret_done)
{
	if (plain) {
		*ret_done = true;
		return store(w, t, var, to, true);
	}
	if (!drained(w, t))
		return false;
	*ret_done = w->var[var] == from;
	if (*ret_done)
		w->var[var] = to;
	return true;
}

static unsigned nth_item(const struct thread *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i <= s->reg[SCRIPT]; i++)
		n += script[i] != 'g';
	return n;
}

static bool next_op(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	char op = script[s->reg[SCRIPT]];

	if (!op)
		return go(w, t, OWNER_DONE);
	s->reg[ITEM] = op == 'g' ? 0 : (uint8_t)nth_item(s);
	return go(w, t, op == 'g' ? GET_NEXT : op == 'n' ? PUT_NEXT : PUT_HEAD);
}

static bool end_op(struct world *w, unsigned t)
{
	w->thread[t].reg[SCRIPT]++;
	return go(w, t, NEXT_OP);
}

static bool step_put(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case PUT_NEXT: {
		uint8_t kicked = w->var[NEXT];

		if (!drained(w, t))
			return false;
		w->var[NEXT] = s->reg[ITEM];
		s->reg[ITEM] = kicked;
		return kicked ? go(w, t, PUT_HEAD) : end_op(w, t);
	}
	case PUT_HEAD: /* full: it would go to the global queue; here it waits for a thief */
		s->reg[SEEN_HEAD] = load(w, t, HEAD);
		if (s->reg[OWN_TAIL] - s->reg[SEEN_HEAD] < (int)places ||
		    mutant == PUT_WITHOUT_ROOM)
			return go(w, t, PUT_SLOT);
		return true;
	case PUT_SLOT:
		if (!store(w, t, SLOTS + s->reg[OWN_TAIL] % places, s->reg[ITEM], false))
			return false;
		return go(w, t, PUT_TAIL);
	default: /* PUT_TAIL */
		if (!store(w, t, TAIL, (uint8_t)(s->reg[OWN_TAIL] + 1),
			   mutant != TAIL_WITHOUT_RELEASE))
			return false;
		s->reg[OWN_TAIL]++;
		return end_op(w, t);
	}
}

/* runnext of the ring's owner and of thieves alike. */
static bool step_next(struct world *w, unsigned t, unsigned won, unsigned lost)
{
	struct thread *s = &w->thread[t];
	bool done;

	if (!move(w, t, NEXT, s->reg[SEEN], 0, mutant == NEXT_IS_NOT_ATOMIC, &done))
		return false;
	if (done)
		take(w, s->reg[SEEN]);
	return go(w, t, done ? won : lost);
}

static bool step_get(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool done;

	switch (s->pc) {
	case GET_NEXT:
		s->reg[SEEN] = load(w, t, NEXT);
		return go(w, t, s->reg[SEEN] ? GET_NEXT_MOVE : GET_HEAD);
	case GET_NEXT_MOVE:
		if (!step_next(w, t, NEXT_OP, GET_HEAD))
			return false;
		return s->pc == NEXT_OP ? end_op(w, t) : true;
	case GET_HEAD:
		s->reg[SEEN_HEAD] = load(w, t, HEAD);
		return s->reg[SEEN_HEAD] == s->reg[OWN_TAIL] ? end_op(w, t) : go(w, t, GET_SLOT);
	case GET_SLOT:
		s->reg[SEEN] = load(w, t, SLOTS + s->reg[SEEN_HEAD] % places);
		return go(w, t, GET_MOVE);
	default: /* GET_MOVE */
		if (!move(w, t, HEAD, s->reg[SEEN_HEAD], (uint8_t)(s->reg[SEEN_HEAD] + 1),
			  mutant == HEAD_IS_STORED, &done))
			return false;
		if (!done)
			return go(w, t, GET_HEAD);
		take(w, s->reg[SEEN]);
		return end_op(w, t);
	}
}

static bool see_tail(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	unsigned n = (uint8_t)(load(w, t, TAIL) - s->reg[SEEN_HEAD]);

	n -= n / 2;
	if (n == 0)
		return go(w, t, STEAL_NEXT);
	if (n > places / 2)
		return go(w, t, STEAL_HEAD);
	s->reg[N] = (uint8_t)n;
	return go(w, t, mutant == COPY_AFTER_MOVE ? STEAL_MOVE : STEAL_COPY);
}

static bool have_stolen(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	take(w, s->reg[OWN_TAIL]);
	if (s->reg[N] == 2)
		take(w, s->reg[ITEM]);
	s->reg[N] = s->reg[OWN_TAIL] = s->reg[ITEM] = 0;
	return go(w, t, STEAL_HEAD);
}

static bool step_steal(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool moved = mutant == COPY_AFTER_MOVE, done;

	switch (s->pc) {
	case STEAL_HEAD:
		s->reg[SEEN_HEAD] = load(w, t, HEAD);
		return go(w, t, STEAL_TAIL);
	case STEAL_TAIL:
		return see_tail(w, t);
	case STEAL_COPY:
		s->reg[OWN_TAIL] = load(w, t, SLOTS + s->reg[SEEN_HEAD] % places);
		if (s->reg[N] == 2)
			return go(w, t, STEAL_COPY_SECOND);
		return moved ? have_stolen(w, t) : go(w, t, STEAL_MOVE);
	case STEAL_COPY_SECOND:
		s->reg[ITEM] = load(w, t, SLOTS + (s->reg[SEEN_HEAD] + 1) % places);
		return moved ? have_stolen(w, t) : go(w, t, STEAL_MOVE);
	case STEAL_MOVE:
		if (!move(w, t, HEAD, s->reg[SEEN_HEAD], (uint8_t)(s->reg[SEEN_HEAD] + s->reg[N]),
			  false, &done))
			return false;
		if (!done)
			return go(w, t, STEAL_HEAD);
		return moved ? go(w, t, STEAL_COPY) : have_stolen(w, t);
	case STEAL_NEXT:
		s->reg[SEEN] = load(w, t, NEXT);
		return go(w, t, s->reg[SEEN] ? STEAL_NEXT_MOVE : STEAL_HEAD);
	default: /* STEAL_NEXT_MOVE */
		return step_next(w, t, STEAL_HEAD, STEAL_HEAD);
	}
}

static bool step(struct world *w, unsigned t)
{
	unsigned pc = w->thread[t].pc;

	if (t > thieves || pc == OWNER_DONE)
		return false;
	if (pc >= STEAL_HEAD)
		return step_steal(w, t);
	if (pc == NEXT_OP)
		return next_op(w, t);
	return pc >= GET_NEXT ? step_get(w, t) : step_put(w, t);
}

/* Nothing is on its way: all that was put is in somebody's hands. */
static bool at_rest(const struct world *w)
{
	if (w->thread[0].pc != OWNER_DONE || w->thread[0].buffered || w->var[NEXT] ||
	    w->var[HEAD] != w->var[TAIL])
		return false;
	for (unsigned t = 1; t <= thieves; t++)
		if (w->thread[t].pc != STEAL_HEAD || w->thread[t].buffered)
			return false;
	return true;
}

static const char *wrong(const struct world *w)
{
	if (w->var[BAD])
		return w->var[BAD] == 1 ? "a coroutine is taken that was never put"
					: "a coroutine is taken twice";
	if (!at_rest(w))
		return NULL;
	for (unsigned i = 1; i <= items; i++)
		if (!w->var[TAKEN + i])
			return "a coroutine is lost";
	return NULL;
}

const struct protocol protocol_runq = {
	.name = "runq",
	.model = {.threads = THREADS_MAX, .init = init, .step = step, .wrong = wrong},
	.instances = sizeof(instances) / sizeof(*instances),
	.choose = choose,
	.mutants = mutants,
};
