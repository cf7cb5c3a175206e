/*
 * Making work and going idle: schedule_wake_one() and thread_start() against look(), go_idle(),
 * stop_searching() and the end of searching in schedule_loop().
 *
 * Thread 0 runs a coroutine that makes work and then never lets go of its P. The others are Ms that
 * search, run what they find, go idle. Running is instant or, for the items set in FOREVER, without
 * end: then each of those needs a thread of its own. What must hold at the end: no work is left in
 * the queue while a P is idle.
 *
 * A critical section of sched.lock is one step. An M that is not started yet is the same as a
 * stopped one.
 */
#include "models.h"

/* Shared */
enum { HEAD, TAIL, NEXT, IDLE_PS, SPINNING, STOPPED_MS, WOKEN };
/* Registers */
enum { MADE, IS_SPINNING, SEEN_HEAD, SEEN_TAIL, RETURN_TO, SEEN };

enum {
	NO_FENCE_AFTER_PUT = 1,
	NO_FENCE_AFTER_KICK,
	DROP_IS_A_STORE,
	NO_RECHECK,
	RECHECK_BEFORE_DROP,
	FINDER_WAKES_NOBODY,
	ONLY_SEARCHERS_RECHECK,
};

static const char *const mutants[] = {
	"no fence between making work and looking for idle Ps",
	"no such fence after what was in runnext went to the ring",
	"spinning is dropped by a plain store, without a fence",
	"no second look at the queues after spinning was dropped",
	"the second look comes before spinning is dropped",
	"who finds work wakes nobody to search on",
	"who gives up its P without having searched does not look again",
	NULL,
};

static const struct instance {
	unsigned ms; /* besides thread 0 */
	unsigned items;
	unsigned forever; /* mask of items */
	unsigned holds; /* mask of Ms that hold a P in the beginning */
	unsigned spins; /* mask of those that search already */
	unsigned idle_ps;
	bool next; /* work goes to runnext, and what was there to the ring */
} instances[] = {
	{.ms = 2, .items = 1, .forever = 1, .holds = 1, .spins = 1, .idle_ps = 0},
	{.ms = 2, .items = 2, .forever = 3, .holds = 1, .spins = 1, .idle_ps = 1},
	{.ms = 3, .items = 2, .forever = 2, .holds = 1, .spins = 0, .idle_ps = 1},
	{.ms = 3, .items = 2, .forever = 3, .holds = 3, .spins = 1, .idle_ps = 0},
	{.ms = 3, .items = 3, .forever = 7, .holds = 0, .spins = 0, .idle_ps = 3},
	{.ms = 2, .items = 2, .forever = 3, .holds = 1, .spins = 1, .idle_ps = 1, .next = true},
};
static const struct instance *in;
static unsigned mutant;

/* Program counters. Those from WAKE_FENCE to WAKE_START are schedule_wake_one(), for all. */
enum {
	PUT,
	PUT_KICKED,
	SEARCH,
	SEARCH_COUNTED,
	STEAL_HEAD,
	STEAL_TAIL,
	STEAL_MOVE,
	STEAL_NEXT,
	STEAL_NEXT_MOVE,
	FOUND,
	RUN,
	GO_IDLE,
	DROP,
	DROP_LOAD,
	RECHECK_HEAD,
	RECHECK_TAIL,
	RECHECK_NEXT,
	TAKE_IDLE,
	COUNT_AGAIN,
	DROP_LATE,
	STOP,
	STOPPED,
	BUSY,
	WAKE_FENCE,
	WAKE_IDLE_PS,
	WAKE_SPINNING,
	WAKE_COUNT,
	WAKE_START,
};

static void choose(unsigned instance, unsigned m)
{
	in = &instances[instance];
	mutant = m;
}

static void init(struct world *w)
{
	w->var[IDLE_PS] = (uint8_t)in->idle_ps;
	w->thread[0].pc = PUT;
	for (unsigned t = 1; t <= in->ms; t++) {
		unsigned bit = 1u << (t - 1);
		bool spins = in->spins & bit;

		w->thread[t].pc = in->holds & bit ? SEARCH : STOPPED;
		w->thread[t].reg[IS_SPINNING] = spins;
		w->var[SPINNING] += spins;
		if (!(in->holds & bit))
			w->var[STOPPED_MS] |= (uint8_t)bit;
	}
}

static bool wake_one(struct world *w, unsigned t, unsigned then)
{
	w->thread[t].reg[RETURN_TO] = (uint8_t)then;
	return go(w, t, WAKE_FENCE);
}

/* Under sched.lock: an idle P and a stopped M go together. */
static void start_thread(struct world *w)
{
	if (!w->var[IDLE_PS]) {
		w->var[SPINNING]--;
		return;
	}
	for (unsigned t = 1; t <= in->ms; t++) {
		unsigned bit = 1u << (t - 1);

		if (!(w->var[STOPPED_MS] & bit))
			continue;
		w->var[IDLE_PS]--;
		w->var[STOPPED_MS] &= (uint8_t)~bit;
		w->var[WOKEN] |= (uint8_t)bit;
		return;
	}
}

static bool step_wake(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case WAKE_FENCE:
		if (mutant == (in->next ? NO_FENCE_AFTER_KICK : NO_FENCE_AFTER_PUT))
			return go(w, t, WAKE_IDLE_PS);
		if (!drained(w, t))
			return false;
		return go(w, t, WAKE_IDLE_PS);
	case WAKE_IDLE_PS:
		return go(w, t, load(w, t, IDLE_PS) ? WAKE_SPINNING : s->reg[RETURN_TO]);
	case WAKE_SPINNING:
		return go(w, t, load(w, t, SPINNING) ? s->reg[RETURN_TO] : WAKE_COUNT);
	case WAKE_COUNT:
		if (!drained(w, t))
			return false;
		if (w->var[SPINNING])
			return go(w, t, s->reg[RETURN_TO]);
		w->var[SPINNING]++;
		return go(w, t, WAKE_START);
	default: /* WAKE_START: a fresh M is always to be had, so there is one more than Ps */
		if (w->var[IDLE_PS] && !w->var[STOPPED_MS])
			return false;
		start_thread(w);
		return go(w, t, s->reg[RETURN_TO]);
	}
}

static bool put_last(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	if (!store(w, t, TAIL, (uint8_t)(s->reg[SEEN_TAIL] + 1), true))
		return false;
	s->reg[SEEN_TAIL]++;
	return wake_one(w, t, PUT);
}

static bool step_maker(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	if (s->pc == PUT_KICKED)
		return put_last(w, t);
	if (s->reg[MADE] == in->items)
		return false;
	if (in->next) {
		bool kicked = w->var[NEXT];

		if (!drained(w, t))
			return false;
		s->reg[MADE]++;
		w->var[NEXT] = 1;
		return kicked ? go(w, t, PUT_KICKED) : wake_one(w, t, PUT);
	}
	if (!put_last(w, t))
		return false;
	s->reg[MADE]++;
	return true;
}

static bool step_search(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case SEARCH:
		if (s->reg[IS_SPINNING])
			return go(w, t, STEAL_HEAD);
		s->reg[SEEN] = load(w, t, SPINNING);
		return go(w, t, SEARCH_COUNTED);
	case SEARCH_COUNTED:
		/* thread 0's P and every other one that is not idle */
		if (2 * s->reg[SEEN] >=
		    1 + __builtin_popcount(in->holds) + in->idle_ps - load(w, t, IDLE_PS))
			return go(w, t, GO_IDLE);
		if (!drained(w, t))
			return false;
		s->reg[IS_SPINNING] = 1;
		w->var[SPINNING]++;
		return go(w, t, STEAL_HEAD);
	case STEAL_HEAD:
		s->reg[SEEN_HEAD] = load(w, t, HEAD);
		return go(w, t, STEAL_TAIL);
	case STEAL_TAIL:
		s->reg[SEEN_TAIL] = load(w, t, TAIL);
		return go(w, t, s->reg[SEEN_HEAD] == s->reg[SEEN_TAIL] ? STEAL_NEXT : STEAL_MOVE);
	case STEAL_MOVE:
		if (!drained(w, t))
			return false;
		if (w->var[HEAD] != s->reg[SEEN_HEAD])
			return go(w, t, STEAL_HEAD);
		w->var[HEAD]++;
		return go(w, t, FOUND);
	case STEAL_NEXT:
		return go(w, t, load(w, t, NEXT) ? STEAL_NEXT_MOVE : GO_IDLE);
	case STEAL_NEXT_MOVE:
		if (!drained(w, t))
			return false;
		if (!w->var[NEXT])
			return go(w, t, STEAL_HEAD);
		w->var[NEXT] = 0;
		return go(w, t, FOUND);
	case FOUND:
		if (!s->reg[IS_SPINNING])
			return go(w, t, RUN);
		if (!drained(w, t))
			return false;
		s->reg[IS_SPINNING] = 0;
		if (--w->var[SPINNING] == 0 && mutant != FINDER_WAKES_NOBODY)
			return wake_one(w, t, RUN);
		return go(w, t, RUN);
	default: /* RUN */
		return go(w, t, in->forever >> s->reg[SEEN_HEAD] & 1 ? BUSY : SEARCH);
	}
}

static bool step_drop(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case GO_IDLE:
		if (!drained(w, t))
			return false;
		w->var[IDLE_PS]++;
		if (!s->reg[IS_SPINNING])
			return go(w, t, mutant == ONLY_SEARCHERS_RECHECK ? STOP : RECHECK_HEAD);
		if (mutant == RECHECK_BEFORE_DROP)
			return go(w, t, RECHECK_HEAD);
		return go(w, t, mutant == DROP_IS_A_STORE ? DROP_LOAD : DROP);
	case DROP_LOAD:
		s->reg[SEEN] = load(w, t, SPINNING);
		return go(w, t, DROP);
	case DROP_LATE:
	case DROP:
		if (mutant == DROP_IS_A_STORE) {
			if (!store(w, t, SPINNING, (uint8_t)(s->reg[SEEN] - 1), false))
				return false;
		} else if (!drained(w, t)) {
			return false;
		} else {
			w->var[SPINNING]--;
		}
		s->reg[IS_SPINNING] = 0;
		return go(w, t, mutant == NO_RECHECK || s->pc == DROP_LATE ? STOP : RECHECK_HEAD);
	case RECHECK_HEAD:
		s->reg[SEEN_HEAD] = load(w, t, HEAD);
		return go(w, t, RECHECK_TAIL);
	case RECHECK_TAIL:
		if (s->reg[SEEN_HEAD] != load(w, t, TAIL))
			return go(w, t, TAKE_IDLE);
		return go(w, t, RECHECK_NEXT);
	case RECHECK_NEXT:
		if (load(w, t, NEXT))
			return go(w, t, TAKE_IDLE);
		return go(w, t, s->reg[IS_SPINNING] ? DROP_LATE : STOP);
	case TAKE_IDLE:
		if (!drained(w, t))
			return false;
		if (!w->var[IDLE_PS])
			return go(w, t, s->reg[IS_SPINNING] ? DROP_LATE : STOP);
		w->var[IDLE_PS]--;
		return go(w, t, COUNT_AGAIN);
	default: /* COUNT_AGAIN */
		if (!drained(w, t))
			return false;
		w->var[SPINNING] += !s->reg[IS_SPINNING];
		s->reg[IS_SPINNING] = 1;
		return go(w, t, SEARCH);
	}
}

static bool step_stop(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	uint8_t bit = (uint8_t)(1u << (t - 1));

	if (s->pc == BUSY || !drained(w, t))
		return false;
	if (s->pc == STOP) {
		w->var[STOPPED_MS] |= bit;
		return go(w, t, STOPPED);
	}
	if (!(w->var[WOKEN] & bit))
		return false;
	w->var[WOKEN] &= (uint8_t)~bit;
	s->reg[IS_SPINNING] = 1;
	return go(w, t, SEARCH);
}

static bool step(struct world *w, unsigned t)
{
	unsigned pc = w->thread[t].pc;

	if (pc >= WAKE_FENCE)
		return step_wake(w, t);
	if (t == 0)
		return step_maker(w, t);
	if (pc >= STOP)
		return step_stop(w, t);
	return pc >= GO_IDLE ? step_drop(w, t) : step_search(w, t);
}

static const char *wrong(const struct world *w)
{
	unsigned searching = (unsigned)__builtin_popcount(w->var[WOKEN]);

	for (unsigned t = 0; t <= in->ms; t++)
		searching += w->thread[t].reg[IS_SPINNING] + (w->thread[t].pc == WAKE_START);
	return mutant == AS_IT_IS && w->var[SPINNING] != searching
		       ? "searching Ms are counted wrongly"
		       : NULL;
}

static const char *wrong_at_end(const struct world *w)
{
	if ((w->var[HEAD] != w->var[TAIL] || w->var[NEXT]) && w->var[IDLE_PS])
		return "work waits while a P is idle";
	return w->var[SPINNING] ? "an M is counted as searching for ever" : NULL;
}

const struct protocol protocol_idle = {
	.name = "idle",
	.model = {.threads = THREADS_MAX,
		  .init = init,
		  .step = step,
		  .wrong = wrong,
		  .wrong_at_end = wrong_at_end},
	.instances = sizeof(instances) / sizeof(*instances),
	.choose = choose,
	.mutants = mutants,
};
