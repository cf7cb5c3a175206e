/*
 * Parking with a lock, a partner and a deadline: co_park_unlock(), waiters_take(), wait_claim(),
 * the deadline's callback and co_ready().
 *
 * Thread 0 is the M that a coroutine G parks on, 1 a partner with something to hand over, 2 an M
 * that finds G's deadline reached, 3 the M that runs G when it is ready. G's waiter lives in G's
 * frame, which is gone when G returns from the wait. What must hold: G runs on one thread at a time
 * and is resumed once, nobody touches its frame when it is gone, and G reports exactly what
 * happened to it.
 */
#include "models.h"

/* Shared */
enum { LOCK, LINKED, WAITING, TICKET, ARMED, REASON, QUEUED };
/* The observer's: changed and read at once by everybody */
enum { RUNNERS = 16, SAVED, FRAME, HANDED, RESULT, WRONG };

enum { BY_PARTNER = 1, BY_DEADLINE = 2 };
enum { READY_RUNNING = 1, TWO_THREADS, DEAD_FRAME, RESUMED_TWICE };
static const char *const wrongs[] = {
	NULL,
	"a coroutine is made ready that does not wait",
	"a coroutine is resumed while another thread is on its stack",
	"a waiter is touched whose frame is gone",
	"a coroutine is resumed twice",
};

enum {
	UNLOCK_BEFORE_SWITCH = 1,
	ARM_BEFORE_SWITCH,
	CLAIM_IS_NOT_ATOMIC,
	NO_CLAIM,
	TIMED_OUT_STAYS_LINKED,
	UNLINKS_WITHOUT_LOCK,
	REASON_AFTER_READY,
};

static const char *const mutants[] = {
	"the lock is released before the coroutine was switched from",
	"the timer is started before the coroutine was switched from",
	"the ticket is read and then written",
	"the partner claims no ticket",
	"a timed-out waiter stays in the list",
	"a timed-out waiter leaves the list without the lock",
	"why it was woken is written after it was made ready",
	NULL,
};

/* Instance 0 has a deadline, 1 is a plain wait. */
static bool timed;
static unsigned mutant;

enum {
	PARK_LOCK,
	PARK_LINK,
	PARK_EARLY,
	PARK_SWITCH,
	PARK_WAITING,
	PARK_ARM,
	PARK_UNLOCK,
	TAKE_LOCK,
	TAKE_LINKED,
	TAKE_UNLINK,
	TAKE_CLAIM,
	TAKE_CLAIM_STORE,
	TAKE_HAND,
	TAKE_UNLOCK,
	TAKE_UNLOCK_NONE,
	FIRE_ARMED,
	FIRE_CLAIM,
	FIRE_CLAIM_STORE,
	READY_REASON,
	READY_STATE,
	READY_QUEUE,
	RUN_TAKE,
	RUN_RESUME,
	RUN_REASON,
	RUN_LOCK,
	RUN_UNLINK,
	RUN_UNLOCK,
	RUN_RETURN,
	ENDED,
};
enum { WHO, SEEN }; /* registers */

static void choose(unsigned instance, unsigned m)
{
	timed = instance == 0;
	mutant = m;
}

static void init(struct world *w)
{
	w->var[RUNNERS] = w->var[FRAME] = 1;
	w->thread[0].pc = PARK_LOCK;
	w->thread[1].pc = TAKE_LOCK;
	w->thread[1].reg[WHO] = BY_PARTNER;
	w->thread[2].pc = FIRE_ARMED;
	w->thread[2].reg[WHO] = BY_DEADLINE;
	w->thread[3].pc = RUN_TAKE;
}

static void note(struct world *w, bool bad, unsigned what)
{
	if (bad && !w->var[WRONG])
		w->var[WRONG] = (uint8_t)what;
}

static bool lock(struct world *w, unsigned t, unsigned then)
{
	if (!drained(w, t) || w->var[LOCK])
		return false;
	w->var[LOCK] = 1;
	return go(w, t, then);
}

static bool set(struct world *w, unsigned t, unsigned var, uint8_t value, unsigned then)
{
	return store(w, t, var, value, var == LOCK) && go(w, t, then);
}

static bool step_park(struct world *w, unsigned t)
{
	switch (w->thread[t].pc) {
	case PARK_LOCK:
		return lock(w, t, PARK_LINK);
	case PARK_LINK:
		return set(w, t, LINKED, 1, PARK_EARLY);
	case PARK_EARLY:
		if (mutant == UNLOCK_BEFORE_SWITCH)
			return set(w, t, LOCK, 0, PARK_SWITCH);
		if (mutant == ARM_BEFORE_SWITCH)
			return set(w, t, ARMED, timed, PARK_SWITCH);
		return go(w, t, PARK_SWITCH);
	case PARK_SWITCH:
		w->var[SAVED] = 1;
		w->var[RUNNERS]--;
		return go(w, t, PARK_WAITING);
	case PARK_WAITING:
		return set(w, t, WAITING, 1, mutant == ARM_BEFORE_SWITCH ? PARK_UNLOCK : PARK_ARM);
	case PARK_ARM: /* under the heap's lock, whose release orders what came before */
		if (timed && !drained(w, t))
			return false;
		return set(w, t, ARMED, timed,
			   mutant == UNLOCK_BEFORE_SWITCH ? ENDED : PARK_UNLOCK);
	default: /* PARK_UNLOCK */
		return set(w, t, LOCK, 0, ENDED);
	}
}

/* Shared by partner and deadline; CLAIM_IS_NOT_ATOMIC splits it. */
static bool claim(struct world *w, unsigned t, unsigned won, unsigned lost, unsigned write)
{
	struct thread *s = &w->thread[t];

	if (mutant == CLAIM_IS_NOT_ATOMIC)
		return go(w, t, load(w, t, TICKET) ? lost : write);
	if (!drained(w, t))
		return false;
	if (w->var[TICKET] && !(mutant == NO_CLAIM && s->reg[WHO] == BY_PARTNER))
		return go(w, t, lost);
	w->var[TICKET] = 1;
	return go(w, t, won);
}

static bool step_take(struct world *w, unsigned t)
{
	switch (w->thread[t].pc) {
	case TAKE_LOCK:
		return lock(w, t, TAKE_LINKED);
	case TAKE_LINKED:
		return go(w, t, load(w, t, LINKED) ? TAKE_UNLINK : TAKE_UNLOCK_NONE);
	case TAKE_UNLINK:
		note(w, !w->var[FRAME], DEAD_FRAME);
		return set(w, t, LINKED, 0, timed ? TAKE_CLAIM : TAKE_HAND);
	case TAKE_CLAIM:
		return claim(w, t, TAKE_HAND, TAKE_UNLOCK_NONE, TAKE_CLAIM_STORE);
	case TAKE_CLAIM_STORE:
		return set(w, t, TICKET, 1, TAKE_HAND);
	case TAKE_HAND:
		note(w, !w->var[FRAME], DEAD_FRAME);
		w->var[HANDED] = 1;
		return go(w, t, TAKE_UNLOCK);
	case TAKE_UNLOCK:
		return set(w, t, LOCK, 0, READY_REASON);
	default: /* TAKE_UNLOCK_NONE: in the plain wait it comes again until G is there */
		return set(w, t, LOCK, 0, timed ? ENDED : TAKE_LOCK);
	}
}

static bool step_fire(struct world *w, unsigned t)
{
	switch (w->thread[t].pc) {
	case FIRE_ARMED:
		return load(w, t, ARMED) && go(w, t, FIRE_CLAIM);
	case FIRE_CLAIM:
		return claim(w, t, READY_REASON, ENDED, FIRE_CLAIM_STORE);
	default: /* FIRE_CLAIM_STORE */
		return set(w, t, TICKET, 1, READY_REASON);
	}
}

static bool step_ready(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool late = mutant == REASON_AFTER_READY;

	switch (s->pc) {
	case READY_REASON:
		if (late && !s->reg[SEEN])
			return go(w, t, READY_STATE);
		return set(w, t, REASON, s->reg[WHO], late ? ENDED : READY_STATE);
	case READY_STATE:
		note(w, !load(w, t, WAITING), READY_RUNNING);
		return set(w, t, WAITING, 0, READY_QUEUE);
	default: /* READY_QUEUE */
		if (!drained(w, t))
			return false;
		w->var[QUEUED]++;
		s->reg[SEEN] = 1;
		return go(w, t, late ? READY_REASON : ENDED);
	}
}

static bool step_run(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case RUN_TAKE:
		if (!drained(w, t) || !w->var[QUEUED])
			return false;
		w->var[QUEUED]--;
		return go(w, t, RUN_RESUME);
	case RUN_RESUME:
		note(w, w->var[RUNNERS] || !w->var[SAVED], TWO_THREADS);
		note(w, w->var[RESULT], RESUMED_TWICE);
		w->var[RUNNERS]++;
		return go(w, t, RUN_REASON);
	case RUN_REASON:
		s->reg[SEEN] = load(w, t, REASON);
		if (s->reg[SEEN] != BY_DEADLINE || mutant == TIMED_OUT_STAYS_LINKED)
			return go(w, t, RUN_RETURN);
		return go(w, t, mutant == UNLINKS_WITHOUT_LOCK ? RUN_UNLINK : RUN_LOCK);
	case RUN_LOCK:
		return lock(w, t, RUN_UNLINK);
	case RUN_UNLINK:
		return set(w, t, LINKED, 0,
			   mutant == UNLINKS_WITHOUT_LOCK ? RUN_RETURN : RUN_UNLOCK);
	case RUN_UNLOCK:
		return set(w, t, LOCK, 0, RUN_RETURN);
	default: /* RUN_RETURN, and the M looks for the next one */
		w->var[RESULT] = s->reg[SEEN] ? s->reg[SEEN] : UINT8_MAX;
		w->var[FRAME] = 0;
		return go(w, t, RUN_TAKE);
	}
}

static bool step(struct world *w, unsigned t)
{
	unsigned pc = w->thread[t].pc;

	if (pc == ENDED)
		return false;
	if (pc >= RUN_TAKE)
		return step_run(w, t);
	if (pc >= READY_REASON)
		return step_ready(w, t);
	if (pc >= FIRE_ARMED)
		return step_fire(w, t);
	return pc >= TAKE_LOCK ? step_take(w, t) : step_park(w, t);
}

static const char *wrong(const struct world *w)
{
	return wrongs[w->var[WRONG]];
}

static const char *wrong_at_end(const struct world *w)
{
	if (!w->var[RESULT])
		return "a coroutine waits for ever";
	if ((w->var[RESULT] == BY_PARTNER) != w->var[HANDED])
		return "what was handed over and what the coroutine reports differ";
	return w->var[LINKED] ? "a waiter was left behind in the list" : NULL;
}

const struct protocol protocol_park = {
	.name = "park",
	.model = {.threads = 4,
		  .init = init,
		  .step = step,
		  .wrong = wrong,
		  .wrong_at_end = wrong_at_end},
	.instances = 2,
	.choose = choose,
	.mutants = mutants,
};
