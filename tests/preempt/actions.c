/*
 * To resume on another thread, one coroutine (the taker) keeps the other P busy until the worker lies
 * in the global queue, and another (the blocker) takes the worker's place on its thread.
 */
#include "actions.h"

#include "../../runtime/sched/sched.h"

#include "collect.h"
#include "poison.h"
#include "seen.h"
#include "worker.h"

#define WAIT_NS (10 * RT_SEC)

/* A coroutine that is asked for in each pass and waits between. */
struct helper {
	struct rt_co *co;
	_Atomic int ready, running;
};

static _Atomic int over;

static void yield_until(_Atomic int *what)
{
	while (!atomic_load(what))
		rt_yield();
}

const char *action_send_away(struct m *m, ucontext_t *u)
{
	atomic_store(&m->p->preempt, 1);
	return preempt_interrupted(m, u, false) ? NULL : "the request was refused";
}

/* Same thread --------------------------------------------------------------------------------- */

static struct rt_co *bystander;

/* Whom the worker leaves its thread to. */
static void *stand_by(void *arg)
{
	void (*meanwhile)(void *arg) = (void (*)(void *))arg;

	while (!atomic_load(&over)) {
		worker_note(seen_across_yield());
		if (meanwhile && worker_is_away())
			rt_stop_world("exhaustive", meanwhile, NULL);
	}
	return NULL;
}

static void begin_same(void)
{
	atomic_store(&over, 0);
	bystander = rt_spawn(stand_by, NULL, NULL);
}

static void begin_poisoned(void)
{
	atomic_store(&over, 0);
	bystander = rt_spawn(stand_by, (void *)poison_dead_stacks, NULL);
}

static void end_same(void)
{
	atomic_store(&over, 1);
	rt_join(bystander, NULL);
}

/* Another thread ------------------------------------------------------------------------------ */

static struct helper taker, blocker;

static bool announce(struct rt_co *co, void *arg)
{
	struct helper *h = arg;

	atomic_store(&h->ready, 1);
	return true;
}

static void await_call(struct helper *h)
{
	atomic_store(&h->running, 0);
	co_park(WAIT_FOREVER, announce, h);
	worker_note(seen_foreign_state());
	atomic_store(&h->running, 1);
}

/* It may start late: it is ready for the next call only when it waits again. */
static void call(struct helper *h)
{
	atomic_store(&h->ready, 0);
	co_ready(h->co);
}

/* Foreign code with an eye on the clock: a lost worker shows as a count, not as a hang. */
static void spin_until(bool (*done)(void))
{
	int64_t until = rt_now() + WAIT_NS;

	while (!done() && !atomic_load(&over) && rt_now() < until)
		if (atomic_load(&sched.stopping)) /* for a collection of the kernel's */
			RT_POLL();
		else
			__builtin_ia32_pause();
}

static bool queued_or_back(void)
{
	return (worker_is_away() && atomic_load(&sched.global_n) > 0) || worker_is_back();
}

static void *take(void *arg)
{
	while (!atomic_load(&over)) {
		await_call(&taker);
		spin_until(queued_or_back);
	}
	return NULL;
}

static void *block(void *arg)
{
	while (!atomic_load(&over)) {
		await_call(&blocker);
		spin_until(worker_is_back);
	}
	return NULL;
}

static void begin_other(void)
{
	atomic_store(&over, 0);
	taker = blocker = (struct helper){0};
	taker.co = rt_spawn(take, NULL, NULL);
	blocker.co = rt_spawn(block, NULL, NULL);
}

static void settle_other(void)
{
	yield_until(&blocker.ready);
	yield_until(&taker.ready);
}

static void prepare_other(void)
{
	call(&taker);
	yield_until(&taker.running);
}

static const char *act_other(struct m *m, ucontext_t *u)
{
	call(&blocker);
	return action_send_away(m, u);
}

static void end_helper(struct helper *h)
{
	co_ready(h->co);
	rt_join(h->co, NULL);
}

static void end_other(void)
{
	settle_other();
	atomic_store(&over, 1);
	end_helper(&taker);
	end_helper(&blocker);
}

/* A stopped world ----------------------------------------------------------------------------- */

static struct rt_co *stopper;
static _Atomic int stop_wanted;
static _Atomic uint64_t stops;

static void count_stop(void *arg)
{
	atomic_fetch_add(&stops, 1);
}

static void *stop(void *arg)
{
	while (!atomic_load(&over)) {
		if (atomic_exchange(&stop_wanted, 0))
			rt_stop_world("exhaustive", count_stop, NULL);
		rt_yield();
	}
	return NULL;
}

static void begin_stop(void)
{
	atomic_store(&over, 0);
	stopper = rt_spawn(stop, NULL, NULL);
}

/* Held here, the thread has seen the world stopped and go on. */
static const char *act_stop(struct m *m, ucontext_t *u)
{
	uint64_t before = atomic_load(&stops);
	int64_t until = rt_now() + WAIT_NS;

	atomic_store(&stop_wanted, 1);
	while (!atomic_load(&sched.stopping) && rt_now() < until)
		__builtin_ia32_pause();
	preempt_interrupted(m, u, false);
	return atomic_load(&stops) == before ? "the thread was not held" : NULL;
}

static void end_stop(void)
{
	atomic_store(&over, 1);
	rt_join(stopper, NULL);
}

/* ---------------------------------------------------------------------------------------------- */

const struct action actions[] = {
	{"same-thread", 1, false, false, false,
	 begin_same, NULL, NULL, action_send_away, end_same},
	{"other-thread", 2, false, true, false,
	 begin_other, settle_other, prepare_other, act_other, end_other},
	{"poisoned", 1, false, false, false,
	 begin_poisoned, NULL, NULL, action_send_away, end_same},
	{"stop", 2, true, false, false,
	 begin_stop, NULL, NULL, act_stop, end_stop},
	{"collect", 1, false, false, true,
	 collect_whole_begin, NULL, NULL, action_send_away, collect_end},
	{"mark", 2, false, false, true,
	 collect_begin, NULL, NULL, collect_act_stop, collect_end},
	{"mark-away", 1, false, false, true,
	 collect_marking_begin, NULL, NULL, collect_act_away, collect_end},
	{"mark-at-poll", 1, false, false, true,
	 collect_marking_begin, NULL, NULL, collect_act_poll, collect_end},
};
const size_t n_actions = sizeof actions / sizeof *actions;
