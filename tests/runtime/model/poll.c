/*
 * Timers and the one thread that waits in the netpoller: timer_start(), timer_stop() and
 * wait_in_netpoll() of threads that go idle one after the other.
 *
 * Each thread starts or stops timers of its P, then goes idle: who finds nobody in the netpoller waits
 * there until the first timer that it knows of, after it told so; the others break that wait for a timer
 * that comes earlier. Time stands still. What must hold at the end: of the timers that are left, somebody
 * waits for the first, or has been asked to look again.
 */
#include "models.h"

/* Shared; FIRST + t is thread t's timer, 0: none */
enum { FIRST, UNTIL = FIRST + THREADS_MAX, NOBODY_POLLS, BROKEN };
/* Registers */
enum { DID, TOLD, LEAST };

enum { FOREVER = 15, DOES_MAX = 2 };

enum {
	NOT_TOLD_AGAIN = 1,
	NO_SECOND_LOOK,
	TOLD_AFTER_LOOK,
	NO_BREAK,
};

static const char *const mutants[] = {
	"what was told stays though another timer, or none, is waited for",
	"there is no second look at the timers",
	"what is waited for is told only after the last look",
	"nobody breaks the wait for an earlier timer",
	NULL,
};

/* A timer of the thread's own P that it starts (its time) or one of another that it stops (that P's number,
 * with STOPS); in this order. */
enum { STOPS = 0x80 };

static const struct instance {
	uint8_t first[THREADS_MAX];
	uint8_t does[THREADS_MAX][DOES_MAX];
	unsigned threads;
} instances[] = {
	{.threads = 2, .does = {{0}, {5}}},
	{.threads = 2, .first = {3}, .does = {{0}, {STOPS | 0, 5}}},
	{.threads = 3, .first = {3}, .does = {{0}, {STOPS | 0, 5}, {4}}},
	{.threads = 3, .first = {3, 0, 6}, .does = {{4}, {STOPS | 0, 5}, {STOPS | 2, 7}}},
	{.threads = 3, .first = {0, 4}, .does = {{0}, {STOPS | 1, 2}, {STOPS | 1, 6}}},
};
static const struct instance *in;
static unsigned mutant;

/* Program counters. LOOK + i and LOOK_AGAIN + i read the timer of P i. */
enum {
	DO,
	LOOK,
	POLL = LOOK + THREADS_MAX,
	BREAK,
	TELL,
	LOOK_AGAIN,
	LOOKED_AGAIN = LOOK_AGAIN + THREADS_MAX,
	TELL_LATE,
	WAIT,
	LEAVE,
	STOPPED,
};

static void choose(unsigned instance, unsigned m)
{
	in = &instances[instance];
	mutant = m;
}

static void init(struct world *w)
{
	for (unsigned t = 0; t < in->threads; t++)
		w->var[FIRST + t] = in->first[t];
	for (unsigned t = in->threads; t < THREADS_MAX; t++)
		w->thread[t].pc = STOPPED;
	w->var[NOBODY_POLLS] = 1;
}

/* Under the lock of that P's timers, published by a seq_cst store. */
static bool step_do(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	uint8_t what = s->reg[DID] < DOES_MAX ? in->does[t][s->reg[DID]] : 0;

	if (!what) {
		s->reg[LEAST] = 0;
		return go(w, t, LOOK);
	}
	if (!drained(w, t))
		return false;
	s->reg[DID]++;
	if (what & STOPS)
		w->var[FIRST + (what & ~STOPS)] = 0;
	else
		w->var[FIRST + t] = what;
	return true;
}

/* timers_first(), one P a step */
static bool step_look(struct world *w, unsigned t, unsigned base, unsigned then)
{
	struct thread *s = &w->thread[t];
	uint8_t first = load(w, t, FIRST + s->pc - base);

	if (first && (!s->reg[LEAST] || first < s->reg[LEAST]))
		s->reg[LEAST] = first;
	return go(w, t, s->pc + 1u == base + in->threads ? then : s->pc + 1u);
}

static bool tell(struct world *w, unsigned t, unsigned then)
{
	struct thread *s = &w->thread[t];

	if (!drained(w, t))
		return false;
	s->reg[TOLD] = s->reg[LEAST];
	w->var[UNTIL] = s->reg[TOLD] ? s->reg[TOLD] : FOREVER;
	if (then == LOOK_AGAIN)
		s->reg[LEAST] = 0;
	return go(w, t, then);
}

static bool step_poll(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];
	bool first_to_poll = w->var[NOBODY_POLLS];

	if (!drained(w, t))
		return false;
	w->var[NOBODY_POLLS] = 0;
	if (!first_to_poll)
		return go(w, t, s->reg[LEAST] && mutant != NO_BREAK ? BREAK : STOPPED);
	if (mutant == TOLD_AFTER_LOOK)
		return go(w, t, LOOKED_AGAIN);
	return go(w, t, mutant == NO_SECOND_LOOK ? TELL_LATE : TELL);
}

static bool step_wait(struct world *w, unsigned t)
{
	struct thread *s = &w->thread[t];

	switch (s->pc) {
	case BREAK:
		if (s->reg[LEAST] < load(w, t, UNTIL))
			w->var[BROKEN] = 1; /* write(2) */
		return go(w, t, STOPPED);
	case TELL:
		return tell(w, t, LOOK_AGAIN);
	case LOOKED_AGAIN:
		if (mutant == TOLD_AFTER_LOOK)
			return go(w, t, TELL_LATE);
		return go(w, t, s->reg[LEAST] == s->reg[TOLD] || mutant == NOT_TOLD_AGAIN ? WAIT : TELL);
	case TELL_LATE:
		return tell(w, t, WAIT);
	case WAIT:
		if (!w->var[BROKEN] || !drained(w, t))
			return false;
		w->var[BROKEN] = 0;
		w->var[UNTIL] = 0;
		return go(w, t, LEAVE);
	default: /* LEAVE */
		w->var[NOBODY_POLLS] = 1;
		s->reg[LEAST] = 0;
		return go(w, t, LOOK);
	}
}

static bool step(struct world *w, unsigned t)
{
	unsigned pc = w->thread[t].pc;

	if (pc == STOPPED)
		return false;
	if (pc == DO)
		return step_do(w, t);
	if (pc < POLL)
		return step_look(w, t, LOOK, POLL);
	if (pc >= LOOK_AGAIN && pc < LOOKED_AGAIN)
		return step_look(w, t, LOOK_AGAIN, LOOKED_AGAIN);
	return pc == POLL ? step_poll(w, t) : step_wait(w, t);
}

static const char *wrong(const struct world *w)
{
	unsigned waiting = 0;

	for (unsigned t = 0; t < in->threads; t++)
		waiting += w->thread[t].pc == WAIT;
	return waiting > 1 ? "two threads wait in the netpoller" : NULL;
}

static const char *wrong_at_end(const struct world *w)
{
	uint8_t until = 0, first = 0;

	for (unsigned t = 0; t < in->threads; t++) {
		uint8_t when = w->var[FIRST + t], least = w->thread[t].reg[LEAST];

		if (when && (!first || when < first))
			first = when;
		if (w->thread[t].pc == WAIT)
			until = least ? least : FOREVER;
	}
	return first && (!until || until > first) ? "a timer is pending, and nobody waits for it" : NULL;
}

const struct protocol protocol_poll = {
	.name = "poll",
	.model = {.threads = THREADS_MAX,
		  .init = init,
		  .step = step,
		  .wrong = wrong,
		  .wrong_at_end = wrong_at_end},
	.instances = sizeof(instances) / sizeof(*instances),
	.choose = choose,
	.mutants = mutants,
};
