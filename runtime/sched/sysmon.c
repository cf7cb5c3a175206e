/*
 * The monitor: a thread without a P that looks every 20 us while it finds things to do, less often
 * when it does not, not at all while every P stays idle. It takes Ps from long system calls, asks
 * coroutines that run too long to leave, polls when nobody did, starts a thread for work that waits
 * beside an idle P, and follows affinity and quota.
 */
#include "../mem/gc.h"
#include "../obs/obs.h"
#include "sched.h"

#include <limits.h>
#include <signal.h>

#define LOOK_MIN_NS (20 * RT_USEC)
#define LOOK_MAX_NS (10 * RT_MSEC)
#define SLICE_NS (10 * RT_MSEC)        /* alone on its P */
#define SLICE_WAITED_NS (2 * RT_MSEC)  /* others wait in a queue */
#define SLICE_TIMER_NS (500 * RT_USEC) /* somebody's time has come and no P is idle */
#define POLL_NS (10 * RT_MSEC)
#define FOLLOW_NS (500 * RT_MSEC)

static struct {
	pthread_t thread;
	_Atomic uint32_t word; /* futex: changes to make it look */
	_Atomic uint32_t asleep;
	uint32_t ticks; /* of all Ps when it looked last */
	int64_t followed;
	int64_t observe_at; /* obs_tick() wants to be called then */
} mon;

void monitor_wake(int64_t when)
{
	/* seq_cst: pairs with the store of asleep and the look at the Ps after it */
	if (when == 0 && !atomic_load(&mon.asleep))
		return;
	if (when)
		atomic_store(&sched.monitor_until, when);
	atomic_fetch_add(&mon.word, 1);
	futex_wake(&mon.word, 1);
}

static bool someone_waits(struct p *p)
{
	return atomic_load(&sched.global_n) || !runq_is_empty(p);
}

/* Of a P in a system call: for others, when it lasts and there is something to do. */
static bool take_back(struct p *p, int64_t now)
{
	if (p->seen_syscall_tick != count_read(&p->syscall_tick)) {
		p->seen_syscall_tick = count_read(&p->syscall_tick);
		p->seen_syscall_since = now;
		return false;
	}
	if (runq_is_empty(p) && !atomic_load(&p->timers.first) && !atomic_load(&p->retiring) &&
	    atomic_load(&sched.spinning) + atomic_load(&sched.n_idle_ps) > 0 &&
	    now - p->seen_syscall_since < SLICE_NS)
		return false;
	if (!p_try(p, P_SYSCALL, P_RUNNING))
		return false;
	count_up(&p->syscall_tick);
	thread_handoff(p);
	return true;
}

/* True when it took a P: more system calls may last. Who was asked to leave needs no closer look. */
static bool look_at(struct p *p, int64_t now, bool timer_due)
{
	uint32_t state = atomic_load(&p->state);
	int64_t slice;

	if (state == P_SYSCALL)
		return take_back(p, now);
	if (state != P_RUNNING)
		return false;
	if (p->seen_tick != count_read(&p->tick)) {
		p->seen_tick = count_read(&p->tick);
		p->seen_since = now;
		return false;
	}
	slice = timer_due ? SLICE_TIMER_NS : someone_waits(p) ? SLICE_WAITED_NS : SLICE_NS;
	if (now - p->seen_since < slice && !atomic_load(&p->retiring))
		return false;
	/* Not again at every look: the request stands, and the thread may itself be waiting for a CPU. */
	p->seen_since = now;
	preempt_ask(p);
	return false;
}

/* Work that cheap paths left beside an idle P without a call: it lay there at the last look already,
 * and its P has taken none from its queue since. */
static bool find_left_waiting(void)
{
	bool found = atomic_load(&sched.global_n);

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct p *p = sched.ps[i];
		uint32_t head = atomic_load(&p->head);
		bool waiting = !runq_is_empty(p);

		found |= waiting && p->seen_waiting && p->seen_head == head;
		p->seen_waiting = waiting;
		p->seen_head = head;
	}
	return found;
}

/* A thread that polls beside an idle P waits there: none does. */
static void poll_for_all(int64_t now)
{
	int64_t last = atomic_load(&sched.last_poll);
	bool idle = atomic_load(&sched.n_idle_ps);

	if (!last || !netpoll_has_waiters() || now - last <= (idle ? MONITOR_HELP_NS : POLL_NS) ||
	    !atomic_compare_exchange_strong(&sched.last_poll, &last, now))
		return;
	if (idle)
		thread_start(NULL, false);
	else
		co_ready_list(netpoll(0));
}

static bool look(int64_t now)
{
	int64_t first = timers_first();
	bool due = first && first <= now, waiting = find_left_waiting(), did = false;

	threads_make();
	if (due && atomic_load(&sched.n_idle_ps)) {
		thread_start(NULL, false);
		due = false;
	}
	poll_for_all(now);
	if (waiting && atomic_load(&sched.n_idle_ps)) {
		schedule_wake_one();
		did = true;
	}
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		did |= look_at(sched.ps[i], now, due);
	preempt_poll_settle();
	if (now - mon.followed > FOLLOW_NS) {
		mon.followed = now;
		procs_follow();
		limit_follow();
	}
	return did;
}

static bool all_idle(void)
{
	return atomic_load(&sched.n_idle_ps) >= atomic_load(&sched.n_procs);
}

static bool any_waits(void)
{
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (atomic_load(&sched.ps[i]->state) == P_RUNNING && someone_waits(sched.ps[i]))
			return true;
	return false;
}

/* Until the delay is over, a timer comes due, or somebody wakes it. */
static void rest(int64_t delay)
{
	uint32_t word = atomic_load(&mon.word);
	int64_t now = now_ns(), until = now + delay, first = timers_first();

	if (first && first > now && first < until)
		until = first;
	if (until > now + MONITOR_HELP_NS && (atomic_load(&sched.n_idle_ps) || any_waits()))
		until = now + MONITOR_HELP_NS;
	if (mon.observe_at < until)
		until = mon.observe_at > now ? mon.observe_at : now;
	/* seq_cst: pairs with timer_start(): it sees this, or this sees the timer below */
	atomic_store(&sched.monitor_until, until);
	first = timers_first();
	if (first && first > now && first < until)
		until = first;
	futex_wait(&mon.word, word, until - now);
	atomic_store(&sched.monitor_until, 0);
}

static void deep_sleep(void)
{
	uint32_t word = atomic_load(&mon.word);
	int64_t until_observed = mon.observe_at - now_ns();

	atomic_store(&mon.asleep, 1);
	if (all_idle() && !atomic_load(&sched.exiting) && !atomic_load(&sched.wanted_ms))
		futex_wait(&mon.word, word, until_observed > FOLLOW_NS ? FOLLOW_NS :
			   until_observed > 0 ? until_observed : 0);
	atomic_store(&mon.asleep, 0);
}

static bool nothing_ran(void)
{
	uint32_t ticks = 0, before = mon.ticks;

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		ticks += count_read(&sched.ps[i]->tick) + count_read(&sched.ps[i]->syscall_tick);
	mon.ticks = ticks;
	return ticks == before;
}

static void *monitor(void *arg)
{
	int64_t delay = LOOK_MIN_NS, now;
	bool idled = false, all;
	unsigned idle = 0;

	mon.observe_at = obs_tick(now_ns());
	while (!atomic_load(&sched.exiting)) {
		all = all_idle();
		if (nothing_ran() && all && idled) {
			deep_sleep();
			delay = LOOK_MIN_NS;
			idle = 0;
		} else {
			rest(all ? MONITOR_HELP_NS : delay);
		}
		idled = all;
		now = now_ns();
		mon.observe_at = obs_tick(now);
		if (look(now)) {
			idle = 0;
			delay = LOOK_MIN_NS;
		} else if (++idle > 50 && delay < LOOK_MAX_NS) {
			delay = 2 * delay < LOOK_MAX_NS ? 2 * delay : LOOK_MAX_NS;
		}
	}
	return NULL;
}

void monitor_start(void)
{
	sigset_t all, old;
	int r;

	mon.followed = now_ns();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&mon.thread, NULL, monitor, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		rt_fatal("cannot start the monitor thread");
}

void monitor_end(void)
{
	atomic_fetch_add(&mon.word, 1);
	futex_wake(&mon.word, INT_MAX);
	pthread_join(mon.thread, NULL);
}
