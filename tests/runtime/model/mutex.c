/*
 * The mutex of runtime/sync/mutex.c: barging, wake-ups, hand-over when it starves, deadlines.
 *
 * Threads 0 to 2 are coroutines that lock and unlock a few times; thread 3 is the clock of thread
 * 2, whose locks have a deadline. Whether a wait was long is a matter of the instance: a waiter
 * starves when it has lost once after being woken, or never. What must hold: one at a time is
 * inside, nobody waits for ever, and nobody touches the mutex when it is gone: whoever is inside
 * for the last time drops a reference there, and who dropped the last one frees the mutex after
 * unlocking.
 *
 * Loops of compare-and-swap are one step: they end with a change of the value that they saw. What
 * happens under the guard is in order for all, so it works on memory at once.
 */
#include "models.h"

#include <string.h>

enum { LOCKED = 1, WAITERS = 2, WOKEN = 4, STARVING = 8 };

/* Shared; one READY, HANDED, TICKET for each coroutine */
enum { STATE, GUARD, LENGTH, LIST, READY = 6, HANDED = 9, TICKET = 12, EXPIRED = 15, ARMED };
enum { INSIDE = 20, REFS, GONE, TOUCHED }; /* the observer's */
enum { CLEAR, LOST, SEEN, NEXT_ONE, TURN, DROPPED };
enum { A_REF = 1, THE_LAST, PATIENT }; /* in DROPPED */

enum {
	FREES_BEFORE_THE_GUARD = 1,
	LOSER_LEAVES_WOKEN,
	QUITTER_LEAVES_WOKEN,
	MARK_IS_A_STORE,
	WAITERS_CLEARED_TOO_SOON,
	HANDED_OVER_UNLOCKED,
	STALE_WAITER_TAKES_THE_WAKE,
};

static const char *const mutants[] = {
	"unlocking frees it, and then takes the guard to wake a waiter",
	"a woken waiter that loses leaves WOKEN set",
	"a woken waiter that gives up leaves WOKEN set",
	"WAITERS is set by a plain store",
	"WAITERS is cleared while more wait",
	"a mutex is handed over without being locked",
	"the wake-up of a waiter whose deadline was faster is not passed on",
	NULL,
};

static unsigned turns, mutant;
static bool starves;

enum {
	LOCK_FAST,
	BARGE,
	LOOK_AT_CLOCK,
	TAKE_GUARD,
	TAKE_OR_MARK,
	MARK_STORE,
	ENQUEUE,
	PARKED,
	RESUMED,
	QUIT_GUARD,
	QUIT_UNLINK,
	ENTER,
	LEAVE,
	UNLOCK,
	UNLOCK_LOOK,
	UNLOCK_FREE,
	WAKE_GUARD,
	WAKE_LOOK,
	WAKE_TAKE,
	WAKE_CLAIM,
	WAKE_SET,
	WAKE_PUT_GUARD,
	WAKE_READY,
	NEXT_TURN,
	TICK,
	FIRE,
	DONE,
};

static void choose(unsigned instance, unsigned m)
{
	turns = instance < 2 ? 1 : 2;
	starves = instance % 2;
	mutant = m;
}

static void init(struct world *w)
{
	w->thread[3].pc = TICK;
	w->var[REFS] = 3;
}

static bool has_deadline(const struct world *w, unsigned t)
{
	return t == 2 && w->thread[t].reg[DROPPED] != PATIENT;
}

static void unlink_at(struct world *w, unsigned i)
{
	w->var[LENGTH]--;
	for (; i < w->var[LENGTH]; i++)
		w->var[LIST + i] = w->var[LIST + i + 1];
	w->var[LIST + w->var[LENGTH]] = 0;
}

static void link_at(struct world *w, unsigned i, unsigned t)
{
	for (unsigned k = w->var[LENGTH]; k > i; k--)
		w->var[LIST + k] = w->var[LIST + k - 1];
	w->var[LIST + i] = (uint8_t)t;
	w->var[LENGTH]++;
}

static bool put_guard(struct world *w, unsigned t, unsigned then)
{
	w->var[GUARD] = 0;
	return go(w, t, then);
}

static bool get_guard(struct world *w, unsigned t, unsigned then)
{
	if (!drained(w, t) || w->var[GUARD])
		return false;
	w->var[GUARD] = 1;
	return go(w, t, then);
}

/* take_or_mark(), on the state as it is. */
static bool take_or_mark(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool last_try = s->reg[SEEN], starving = s->reg[CLEAR] && s->reg[LOST] && starves;
	uint8_t clear = s->reg[CLEAR], state = w->var[STATE];
	uint8_t mark = last_try ? 0 : starving ? WAITERS | STARVING : WAITERS;

	if (mutant == LOSER_LEAVES_WOKEN && !last_try)
		clear = 0;
	if (mutant == QUITTER_LEAVES_WOKEN && last_try)
		clear = 0;
	s->reg[LOST] = s->reg[CLEAR] != 0;
	if (!(state & (LOCKED | STARVING))) {
		w->var[STATE] = (uint8_t)((state & ~s->reg[CLEAR]) | LOCKED);
		return put_guard(w, t, ENTER);
	}
	if (mutant == MARK_IS_A_STORE) {
		s->reg[NEXT_ONE] = (uint8_t)((state & ~clear) | mark);
		return go(w, t, MARK_STORE);
	}
	w->var[STATE] = (uint8_t)((state & ~clear) | mark);
	return last_try ? put_guard(w, t, NEXT_TURN) : go(w, t, ENQUEUE);
}

static bool step_lock(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	if (!drained(w, t))
		return false;
	switch (s->pc) {
	case LOCK_FAST:
		if (w->var[STATE])
			return go(w, t, BARGE);
		w->var[STATE] = LOCKED;
		return go(w, t, ENTER);
	case BARGE:
		if (w->var[STATE] & (LOCKED | STARVING))
			return go(w, t, LOOK_AT_CLOCK);
		w->var[STATE] |= LOCKED;
		return go(w, t, ENTER);
	case LOOK_AT_CLOCK:
		s->reg[SEEN] = has_deadline(w, t) && w->var[EXPIRED];
		return go(w, t, TAKE_GUARD);
	case TAKE_GUARD:
		return get_guard(w, t, TAKE_OR_MARK);
	case TAKE_OR_MARK:
		return take_or_mark(w, t);
	case MARK_STORE:
		w->var[STATE] = s->reg[NEXT_ONE];
		return s->reg[SEEN] ? put_guard(w, t, NEXT_TURN) : go(w, t, ENQUEUE);
	default: /* ENQUEUE, and the park under the guard */
		link_at(w, s->reg[CLEAR] ? 0 : w->var[LENGTH], t);
		w->var[TICKET + t] = w->var[READY + t] = w->var[HANDED + t] = 0;
		if (has_deadline(w, t))
			w->var[ARMED] = 1;
		return put_guard(w, t, PARKED);
	}
}

static bool step_wait(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case PARKED:
		if (!w->var[READY + t])
			return false;
		s->reg[SEEN] = w->var[READY + t] == 2; /* by the deadline */
		if (has_deadline(w, t))
			w->var[ARMED] = 0;
		return go(w, t, s->reg[SEEN] ? QUIT_GUARD : RESUMED);
	case RESUMED:
		s->reg[CLEAR] = WOKEN;
		return go(w, t, w->var[HANDED + t] ? ENTER : LOOK_AT_CLOCK);
	case QUIT_GUARD:
		return get_guard(w, t, QUIT_UNLINK);
	default: /* QUIT_UNLINK */
		for (unsigned i = 0; i < w->var[LENGTH]; i++)
			if (w->var[LIST + i] == t) {
				unlink_at(w, i);
				if (!w->var[LENGTH])
					w->var[STATE] &= (uint8_t)~(WAITERS | STARVING);
				break;
			}
		return put_guard(w, t, NEXT_TURN);
	}
}

static bool has_to_wake(uint8_t s)
{
	return s & WAITERS && (s & STARVING || !(s & WOKEN));
}

static void drop_ref(struct world *w, unsigned t)
{
	w->thread[t].reg[DROPPED] = --w->var[REFS] ? A_REF : THE_LAST;
}

/* The protocol as it once was: what follows touches a mutex that others may have. */
static bool free_first(struct world *w, unsigned t)
{
	w->var[STATE] &= (uint8_t)~LOCKED;
	return go(w, t, WAKE_GUARD);
}

static bool step_unlock(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case ENTER:
		w->var[INSIDE]++;
		return go(w, t, LEAVE);
	case LEAVE:
		w->var[INSIDE]--;
		if (s->reg[TURN] + 1u == turns)
			drop_ref(w, t);
		return go(w, t, UNLOCK);
	case UNLOCK:
		if (w->var[STATE] != LOCKED)
			return go(w, t, UNLOCK_LOOK);
		w->var[STATE] = 0;
		return go(w, t, NEXT_TURN);
	case UNLOCK_LOOK:
		s->reg[SEEN] = w->var[STATE];
		if (!has_to_wake(s->reg[SEEN]))
			return go(w, t, UNLOCK_FREE);
		return mutant == FREES_BEFORE_THE_GUARD ? free_first(w, t) : go(w, t, WAKE_GUARD);
	default: /* UNLOCK_FREE */
		if (w->var[STATE] != s->reg[SEEN])
			return go(w, t, UNLOCK_LOOK);
		w->var[STATE] &= (uint8_t)~LOCKED;
		return go(w, t, NEXT_TURN);
	}
}

static bool nobody_to_wake(struct world *w, unsigned t)
{
	w->var[STATE] &= (uint8_t)~(WAITERS | STARVING);
	w->thread[t].reg[NEXT_ONE] = UINT8_MAX;
	return go(w, t, WAKE_PUT_GUARD);
}

static void set_woken(struct world *w, bool starving)
{
	uint8_t clear = 0;

	if (!w->var[LENGTH] || mutant == WAITERS_CLEARED_TOO_SOON)
		clear = WAITERS | STARVING;
	if (!starving || mutant == HANDED_OVER_UNLOCKED)
		clear |= LOCKED;
	w->var[STATE] &= (uint8_t)~clear;
	if (!starving)
		w->var[STATE] |= WOKEN;
	else if (mutant == FREES_BEFORE_THE_GUARD)
		w->var[STATE] |= LOCKED;
}

static bool step_wake(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool starving = s->reg[SEEN] & STARVING, freed = mutant == FREES_BEFORE_THE_GUARD;
	unsigned who = s->reg[NEXT_ONE];

	switch (s->pc) {
	case WAKE_GUARD:
		return get_guard(w, t, WAKE_LOOK);
	case WAKE_LOOK:
		s->reg[SEEN] = w->var[STATE];
		if (!has_to_wake(s->reg[SEEN]) || (freed && s->reg[SEEN] & LOCKED))
			return put_guard(w, t, freed ? NEXT_TURN : UNLOCK_LOOK);
		return go(w, t, WAKE_TAKE);
	case WAKE_TAKE:
		if (!w->var[LENGTH])
			return nobody_to_wake(w, t);
		s->reg[NEXT_ONE] = w->var[LIST];
		unlink_at(w, 0);
		return go(w, t, WAKE_CLAIM);
	case WAKE_CLAIM:
		if (w->var[TICKET + who] && mutant == STALE_WAITER_TAKES_THE_WAKE) {
			s->reg[SEEN] = w->var[STATE];
			return put_guard(w, t, UNLOCK_FREE);
		}
		if (w->var[TICKET + who])
			return go(w, t, WAKE_TAKE);
		w->var[TICKET + who] = 1;
		w->var[HANDED + who] = starving;
		return go(w, t, WAKE_SET);
	case WAKE_SET:
		set_woken(w, starving);
		return go(w, t, WAKE_PUT_GUARD);
	case WAKE_PUT_GUARD:
		if (who != UINT8_MAX)
			return put_guard(w, t, WAKE_READY);
		return put_guard(w, t, freed ? NEXT_TURN : UNLOCK_LOOK);
	default: /* WAKE_READY */
		w->var[READY + who] = 1;
		return go(w, t, NEXT_TURN);
	}
}

static bool next_turn(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	unsigned turn = s->reg[TURN] + 1u;

	if (turn == turns && !s->reg[DROPPED]) {
		/* It timed out, and its reference is dropped inside only. */
		memset(s->reg, 0, sizeof(s->reg));
		s->reg[TURN] = (uint8_t)(turn - 1);
		s->reg[DROPPED] = PATIENT;
		return go(w, t, LOCK_FAST);
	}
	if (s->reg[DROPPED] == THE_LAST)
		w->var[GONE] = 1;
	memset(s->reg, 0, sizeof(s->reg));
	s->reg[TURN] = (uint8_t)turn;
	return go(w, t, turn == turns ? DONE : LOCK_FAST);
}

static bool step_clock(struct world *w, unsigned t)
{
	if (w->thread[t].pc == TICK) {
		w->var[EXPIRED] = 1;
		return go(w, t, FIRE);
	}
	if (!w->var[ARMED] || w->var[TICKET + 2])
		return false;
	w->var[TICKET + 2] = 1;
	w->var[READY + 2] = 2;
	return true;
}

static bool touches_it(unsigned pc)
{
	return pc != LOOK_AT_CLOCK && pc != PARKED && pc != RESUMED && pc != ENTER && pc != LEAVE &&
	       pc < WAKE_READY;
}

static bool step(struct world *w, unsigned t)
{
	unsigned pc = w->thread[t].pc;

	if (pc == DONE)
		return false;
	if (w->var[GONE] && touches_it(pc))
		w->var[TOUCHED] = 1;
	if (pc >= TICK)
		return step_clock(w, t);
	if (pc == NEXT_TURN)
		return next_turn(w, t);
	if (pc >= WAKE_GUARD)
		return step_wake(w, t);
	if (pc >= ENTER)
		return step_unlock(w, t);
	return pc >= PARKED ? step_wait(w, t) : step_lock(w, t);
}

static const char *wrong(const struct world *w)
{
	if (w->var[TOUCHED])
		return "the mutex is touched when it is gone";
	return w->var[INSIDE] > 1 ? "two are inside" : NULL;
}

static const char *wrong_at_end(const struct world *w)
{
	for (unsigned t = 0; t < 3; t++)
		if (w->thread[t].pc != DONE)
			return "a coroutine waits for ever";
	if (w->var[STATE] & (LOCKED | WOKEN))
		return "the mutex is not free at the end";
	return NULL;
}

const struct protocol protocol_mutex = {
	.name = "mutex",
	.model = {.threads = 4,
		  .init = init,
		  .step = step,
		  .wrong = wrong,
		  .wrong_at_end = wrong_at_end},
	.instances = 4,
	.choose = choose,
	.mutants = mutants,
};
