/*
 * Which coroutine runs next.
 *
 * A coroutine that leaves its thread goes straight to the next one of its P's queue: one switch,
 * no detour. Only when the queue is empty, or it is the turn of the global queue and the timers, or
 * the world is to stop, it goes to the scheduler's loop on the thread's system stack.
 *
 * Idle and busy threads meet as in Go: who makes work first publishes it, then looks for idle Ps
 * when no thread is searching; who stops searching first says so, then looks at every queue once
 * more. Both sides put a full fence between the two steps, so that one of them sees the other
 * (runtime/README.md, and the model in tests/runtime/model).
 */
#include "../mem/gc.h"
#include "../mem/roots.h"
#include "../obs/obs.h"
#include "switch.h"

#include <errno.h>

enum {
	GLOBAL_TURN = 61,
	TIMER_TURN = 16, /* reading the clock at every switch would cost as much as the switch */
	STEAL_ROUNDS = 4,
};

#define SURPLUS_NS (100 * RT_USEC) /* of work is worth another thread */

/* Leaving and coming back ----------------------------------------------------------------------- */

/* What is rare, out of the way. */
static __attribute__((noinline, cold)) void note_start(struct p *p, struct rt_co *co)
{
	if (co->sampled)
		latency_start(p, co);
	obs_trace(TRACE_START, co->id, 0);
}

static __attribute__((noinline, cold)) void note_ready(struct rt_co *co)
{
	if (co->sampled)
		latency_ready(co);
	obs_trace(TRACE_READY, co->id, 0);
}

static inline void take_up(struct m *m, struct p *p, struct rt_co *co, bool inherit)
{
	if (gc_is_marking())
		roots_before_run(co);
	co_set(co, CO_RUNNABLE, CO_RUNNING);
	atomic_store_explicit(&co->m, m, memory_order_relaxed);
	m->cur = co;
	if (!inherit)
		count_up(&p->tick);
	if (obs_any_on(co->sampled))
		note_start(p, co);
}

/* The next of this P's queue; NULL when the scheduler has to look. */
static inline struct rt_co *quick_next(struct m *m)
{
	struct p *p = m->p;
	struct rt_co *co;
	bool inherit;

	/* Who stops the world or takes Ps away sets preempt too. */
	if (!p || --p->look_in <= 0 || atomic_load_explicit(&p->preempt, memory_order_relaxed))
		return NULL;
	co = runq_get(p, &inherit);
	if (co)
		take_up(m, p, co, inherit);
	return co;
}

/* waits: after does not make it runnable. */
static inline void leave(struct m *m, void (*after)(struct m *m, struct rt_co *left), bool waits)
{
	struct rt_co *self = m->cur, *next;

	m->after = after;
	m->left = self;
	next = quick_next(m);
	if (!next) {
		m->cur = NULL;
		latency_leave(m->p, self, waits);
	}
	switch_to(m, self, next);
}

void schedule_leave(struct m *m, void (*after)(struct m *m, struct rt_co *left))
{
	leave(m, after, false);
}

static void after_park(struct m *m, struct rt_co *co)
{
	bool (*unlock)(struct rt_co *co, void *arg) = m->unlock;

	m->unlock = NULL;
	co_set(co, CO_RUNNING, CO_WAITING);
	if (co->wait_armed)
		timer_start(&co->timer);
	if (unlock && !unlock(co, m->unlock_arg))
		co_ready(co);
}

int co_park(enum wait_reason reason, bool (*unlock)(struct rt_co *co, void *arg), void *arg)
{
	struct m *m = this_m();
	struct rt_co *self = m->cur;

	if (self->off)
		rt_fatal("a coroutine waits (%s) between rt_preempt_off and rt_preempt_on",
			 wait_reason_name(reason));
	self->reason = reason;
	self->woken_with = 0;
	m->unlock = unlock;
	m->unlock_arg = arg;
	obs_parks(self);
	obs_trace(TRACE_PARK, self->id, reason);
	leave(m, after_park, true);
	obs_parked(self, reason);
	return self->woken_with;
}

static bool put_lock(struct rt_co *co, void *arg)
{
	lock_put(arg);
	return true;
}

int co_park_unlock(enum wait_reason reason, struct lock *l)
{
	return co_park(reason, put_lock, l);
}

static void make_ready(struct rt_co *co, bool next)
{
	struct m *m = this_m();

	if (obs_any_on(co->sampled))
		note_ready(co);
	co_set(co, CO_WAITING, CO_RUNNABLE);
	if (m && m->p) {
		runq_put(m->p, co, next);
		if (!next)
			atomic_thread_fence(memory_order_seq_cst);
	} else {
		global_put(co);
	}
	schedule_wake_one();
}

void co_ready(struct rt_co *co)
{
	make_ready(co, true);
}

void co_ready_last(struct rt_co *co)
{
	make_ready(co, false);
}

void co_ready_list(struct rt_co *first)
{
	while (first) {
		struct rt_co *next = first->next;

		make_ready(first, false);
		first = next;
	}
}

static void after_yield(struct m *m, struct rt_co *co)
{
	co_set(co, CO_RUNNING, CO_RUNNABLE);
	if (m->p)
		runq_put(m->p, co, false);
	else
		global_put(co);
	/* Without the fence, which would double the price of a switch, a P that goes idle in this very
	 * moment may be missed; sysmon looks for that. */
	if (atomic_load_explicit(&sched.n_idle_ps, memory_order_relaxed))
		schedule_wake_one();
}

void rt_yield(void)
{
	struct m *m = this_m();

	obs_trace(TRACE_YIELD, m->cur->id, 0);
	leave(m, after_yield, false);
	poll_here();
}

/* Deadlines ------------------------------------------------------------------------------------- */

static void deadline_passed(void *arg, uint64_t ticket)
{
	struct rt_co *co = arg;

	if (!wait_claim(co, ticket))
		return;
	co->woken_with = -ETIMEDOUT;
	co_ready(co);
}

void wait_arm(struct rt_co *self, uint64_t ticket, int64_t deadline)
{
	if (deadline == RT_FOREVER)
		return;
	self->timer.when = deadline;
	self->timer.fn = deadline_passed;
	self->timer.arg = self;
	self->timer.seq = ticket;
	self->wait_armed = true;
}

void wait_disarm(struct rt_co *self, int64_t deadline)
{
	if (deadline == RT_FOREVER)
		return;
	self->wait_armed = false;
	timer_stop(&self->timer);
}

void rt_sleep_until(int64_t deadline)
{
	struct rt_co *self = this_co();

	if (deadline == RT_FOREVER) {
		co_park(WAIT_FOREVER, NULL, NULL);
		return;
	}
	if (deadline <= rt_now()) {
		rt_yield();
		return;
	}
	wait_arm(self, wait_ticket(self), deadline);
	co_park(WAIT_SLEEP, NULL, NULL);
	self->wait_armed = false; /* the timer has fired: nothing else wakes a sleeper */
	poll_here();
}

void rt_sleep(int64_t ns)
{
	int64_t now = rt_now();

	rt_sleep_until(ns > RT_FOREVER - now ? RT_FOREVER : now + ns);
}

/* The loop -------------------------------------------------------------------------------------- */

void schedule_wake_one(void)
{
	uint32_t none = 0;

	/* The work was published by a seq_cst operation (runnext, global_n), or with a fence behind it
	 * (the ring). Pairs with the fence in stop_searching(). */
	if (atomic_load(&sched.n_idle_ps) == 0 || atomic_load(&sched.spinning) != 0)
		return;
	if (atomic_compare_exchange_strong(&sched.spinning, &none, 1))
		thread_start(NULL, true);
}

static uint32_t next_random(struct m *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	return m->random ^= m->random << 5;
}

/* Every other P once, in an order of its own; the timers of others in the last round. */
static struct rt_co *steal(struct m *m, int64_t now, int64_t *ret_first)
{
	uint32_t n = atomic_load(&sched.n_made);

	for (int round = 0; round < STEAL_ROUNDS; round++) {
		uint32_t start = next_random(m) % n;
		bool last = round == STEAL_ROUNDS - 1;

		for (uint32_t i = 0; i < n; i++) {
			struct p *victim = sched.ps[(start + i) % n];
			struct rt_co *co;
			bool ran = false, inherit;

			if (atomic_load_explicit(&sched.stopping, memory_order_relaxed))
				return NULL;
			if (victim == m->p)
				continue;
			if (last) {
				int64_t first = timers_run(victim, now, &ran);

				if (first && (!*ret_first || first < *ret_first))
					*ret_first = first;
				co = ran ? runq_get(m->p, &inherit) : NULL;
				if (co)
					return co;
			}
			co = runq_steal(m->p, victim, last);
			if (co) {
				obs_trace(TRACE_STEAL, co->id, victim->id);
				return co;
			}
		}
	}
	return NULL;
}

static struct rt_co *take_global(struct p *p, uint32_t max)
{
	struct rt_co *co;

	if (atomic_load_explicit(&sched.global_n, memory_order_relaxed) == 0)
		return NULL;
	lock_get(&sched.lock);
	co = global_get(p, max);
	lock_put(&sched.lock);
	return co;
}

/* The queue is empty again. Up by a quarter at most: the thread may not have run all the time. */
static void learn_turn(struct p *p)
{
	uint32_t turns = count_read(&p->tick) - p->polled_tick;
	int64_t turn_ns, most = p->turn_ns + p->turn_ns / 4 + 1;

	if (!p->polled_at || !turns)
		return;
	turn_ns = (now_ns() - p->polled_at) / turns;
	p->turn_ns = turn_ns < p->turn_ns ? (p->turn_ns + turn_ns) / 2 : turn_ns < most ? turn_ns : most;
	p->polled_at = 0;
}

/*
 * What the netpoller gave, into this P's queue. Another thread is started when all of it lasts
 * longer than that is worth: to wake one, and to send it to sleep again, takes as much CPU as two
 * small requests, and on few CPUs the time of who sends them. Should it last longer than it did of
 * late, sysmon finds it waiting.
 */
static void queue_polled(struct p *p, struct rt_co *list, int64_t now)
{
	struct rt_co *next;
	uint32_t waiting;

	for (; list; list = next) {
		next = list->next;
		if (obs_any_on(list->sampled))
			note_ready(list);
		co_set(list, CO_WAITING, CO_RUNNABLE);
		runq_put(p, list, false);
	}
	atomic_thread_fence(memory_order_seq_cst);
	p->polled_at = now;
	p->polled_tick = count_read(&p->tick);
	waiting = atomic_load_explicit(&p->tail, memory_order_relaxed) -
		  atomic_load_explicit(&p->head, memory_order_relaxed);
	if (waiting * p->turn_ns > SURPLUS_NS)
		schedule_wake_one();
	else if (atomic_load(&sched.monitor_until) > now + MONITOR_HELP_NS)
		monitor_wake(now + MONITOR_HELP_NS);
}

static struct rt_co *poll_now(struct p *p)
{
	int64_t last = atomic_load_explicit(&sched.last_poll, memory_order_relaxed), now;
	struct rt_co *list;
	bool inherit;

	if (!netpoll_has_waiters() || last == 0)
		return NULL;
	now = now_ns();
	list = netpoll(0);
	atomic_compare_exchange_strong(&sched.last_poll, &last, now);
	if (!list)
		return NULL;
	queue_polled(p, list, now);
	return runq_get(p, &inherit);
}

/* No other P runs and nobody's time has come: there is nothing to steal, and the wait in the netpoller
 * polls as well. */
static bool is_alone(int64_t now)
{
	int64_t first;

	if (atomic_load(&sched.n_idle_ps) + 1 < atomic_load(&sched.n_procs))
		return false;
	first = timers_first();
	return !first || first > now;
}

/* What this P can have without going idle. *ret_first: the next timer that it saw. */
static struct rt_co *look(struct m *m, int64_t *ret_first)
{
	struct p *p = m->p;
	int64_t now = atomic_load_explicit(&p->timers.first, memory_order_relaxed) ? now_ns() : 0;
	struct rt_co *co = NULL;
	bool inherit;

	if (atomic_load_explicit(&p->preempt, memory_order_relaxed))
		atomic_store_explicit(&p->preempt, 0, memory_order_relaxed);
	*ret_first = now ? timers_run(p, now, NULL) : 0;
	latency_look(p, now ? TIMER_TURN : GLOBAL_TURN, now);
	if (count_read(&p->tick) - p->global_at >= GLOBAL_TURN) {
		p->global_at = count_read(&p->tick);
		co = take_global(p, 1);
	}
	if (!co)
		co = runq_get(p, &inherit);
	if (!co)
		co = take_global(p, 0);
	if (co)
		return co;
	learn_turn(p);
	now = now_ns();
	latency_look(p, p->look_in, now);
	if (!m->spinning && is_alone(now))
		return NULL;
	co = poll_now(p);
	if (co)
		return co;
	/* At most half of the busy Ps search: the others would find nothing either. */
	if (!m->spinning) {
		uint32_t busy = atomic_load(&sched.n_procs) - atomic_load(&sched.n_idle_ps);

		if (2 * atomic_load(&sched.spinning) >= busy)
			return NULL;
		m->spinning = true;
		atomic_fetch_add(&sched.spinning, 1);
	}
	return steal(m, now, ret_first);
}

bool schedule_has_work(void)
{
	if (atomic_load(&sched.global_n))
		return true;
	for (uint32_t i = 0; i < atomic_load(&sched.n_made); i++)
		if (!runq_is_empty(sched.ps[i]))
			return true;
	return false;
}

/* An idle P for a thread that has none; NULL. */
static struct p *acquire_idle(struct m *m)
{
	struct p *p;

	lock_get(&sched.lock);
	p = atomic_load(&sched.stopping) ? NULL : p_idle_get();
	lock_put(&sched.lock);
	if (p) {
		p_acquire(m, p);
		monitor_wake(0);
	}
	return p;
}

/* The P goes into the idle list, unless work or a stop came in the same moment. */
static bool go_idle(struct m *m)
{
	struct p *p;

	lock_get(&sched.lock);
	if (atomic_load(&sched.stopping) || sched.global.n || atomic_load(&sched.exiting) ||
	    atomic_load(&m->p->retiring)) {
		lock_put(&sched.lock);
		return false;
	}
	p = p_release(m);
	p_set(p, P_RUNNING, P_IDLE);
	p_idle_put(p);
	lock_put(&sched.lock);
	return true;
}

/*
 * After the P was given up: true when the thread has one again and looks on. Threads that did not
 * search look once more too: who found work in the meantime saw no idle P to wake another thread for,
 * because this one was not idle yet.
 */
static bool stop_searching(struct m *m)
{
	if (m->spinning) {
		m->spinning = false;
		atomic_fetch_sub(&sched.spinning, 1);
	}
	/* Between this thread's idle P and dropped search, and its look at the queues: pairs with the
	 * fence in schedule_wake_one(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!schedule_has_work() || !acquire_idle(m))
		return false;
	m->spinning = true;
	atomic_fetch_add(&sched.spinning, 1);
	return true;
}

/* Tells until when this thread will wait, and returns it. Who starts a timer looks at that, so a timer may
 * come, and the one that was told may be stopped, until what was told is what is there. */
static int64_t tell_poll_until(int64_t first)
{
	int64_t told;

	do {
		told = first;
		atomic_store(&sched.poll_until, told ? told : RT_FOREVER);
		first = timers_first();
	} while (first != told);
	return first;
}

/* Waits for descriptors and the next timer, if no other thread does. */
static bool wait_in_netpoll(struct m *m)
{
	int64_t first = timers_first(), now;
	struct rt_co *list;

	if ((!netpoll_has_waiters() && !first) || atomic_exchange(&sched.last_poll, 0) == 0) {
		/* The thread that waits there would come too late for this timer. */
		if (first && first < atomic_load(&sched.poll_until))
			netpoll_break();
		return false;
	}
	first = tell_poll_until(first);
	now = now_ns();
	list = atomic_load(&sched.exiting) ? NULL : netpoll(!first ? -1 : first > now ? first - now : 0);
	atomic_store(&sched.poll_until, 0);
	now = now_ns();
	atomic_store(&sched.last_poll, now);
	if (!acquire_idle(m)) {
		co_ready_list(list); /* into the global queue */
		return false;
	}
	if (list) {
		queue_polled(m->p, list, now);
	} else if (!m->spinning) {
		m->spinning = true;
		atomic_fetch_add(&sched.spinning, 1);
	}
	return true;
}

/* Gives up a P that is one too many: its work goes to the others. */
static void retire(struct m *m)
{
	struct p *p = m->p;
	struct co_queue list = {0};
	struct rt_co *co;
	bool inherit;

	while ((co = runq_get(p, &inherit))) {
		co->next = NULL;
		if (list.last)
			list.last->next = co;
		else
			list.first = co;
		list.last = co;
		list.n++;
	}
	global_put_list(&list);
	p_release(m);
	procs_bury(p);
}

/* Nothing to run while a marking is on: helps it for a moment, and looks again. Not counted as searching
 * meanwhile, so that who makes work wakes another thread. */
static bool mark_instead(struct m *m)
{
	if (m->spinning) {
		m->spinning = false;
		atomic_fetch_sub(&sched.spinning, 1);
	}
	return gc_mark_idle(m);
}

static bool is_over(const struct m *m)
{
	return atomic_load(&sched.exiting) || m->generation != atomic_load(&sched.generation);
}

/* Something to run; NULL when the runtime ends. */
static struct rt_co *find_runnable(struct m *m)
{
	for (;;) {
		struct rt_co *co;
		int64_t first;

		if (is_over(m)) {
			if (m->p)
				p_put_away(p_release(m));
			return NULL;
		}
		if (m->p && atomic_load(&m->p->retiring))
			retire(m);
		if (!m->p) {
			if (!acquire_idle(m))
				thread_stop(m);
			continue;
		}
		if (atomic_load(&sched.stopping)) {
			stop_here(m);
			continue;
		}
		co = look(m, &first);
		if (co)
			return co;
		if (gc_is_marking() && mark_instead(m))
			continue;
		if (!go_idle(m))
			continue;
		if (stop_searching(m) || wait_in_netpoll(m))
			continue;
		thread_stop(m);
	}
}

void schedule_loop(struct m *m)
{
	struct rt_co *co;

	while ((co = find_runnable(m))) {
		if (m->spinning) {
			m->spinning = false;
			/* This thread found work: another one shall look for more. */
			if (atomic_fetch_sub(&sched.spinning, 1) == 1)
				schedule_wake_one();
		}
		take_up(m, m->p, co, false);
		switch_to(m, NULL, co);
		m = this_m();
	}
	if (m->spinning) {
		m->spinning = false;
		atomic_fetch_sub(&sched.spinning, 1);
	}
}
