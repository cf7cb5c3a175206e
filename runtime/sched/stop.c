/*
 * Stopping the world: every P comes into state stopped, and the stopper counts them.
 *
 *   idle, in a system call,  the stopper takes it
 *   handed to a thread that
 *   has not woken yet
 *   running                  is asked by flag, and a moment later by signal; the thread gives it at
 *                            its next poll or switch, or stands still in the signal handler
 *                            wherever it is: in foreign code, in a system call that the runtime
 *                            does not know of
 *
 * A thread between runtime locks, in the runtime's own text or with preemption off is asked again
 * a little later. The time from the request to the last arrival is the time to safepoint (TTSP).
 */
#include "../obs/obs.h"
#include "../sync/mutex.h"
#include "switch.h"

#include "ttsp.h"

#include <limits.h>
#include <sched.h>

#define SOON_NS (10 * RT_USEC) /* a poll comes, where the code has them; a signal takes 20 us and more */
#define OFFER_NS (2 * RT_USEC) /* then the other one may be waiting for this CPU */
#define OFFER_AGAIN_NS (20 * RT_USEC)
#define ASK_AGAIN_NS (100 * RT_USEC)

static struct {
	struct rt_mutex turn; /* one stop at a time */
	_Atomic uint32_t missing; /* futex: Ps that have not arrived */
	_Atomic uint32_t last; /* id + 1 of the P that arrived last */
} stop;

/* seq_cst: pairs with the stopper's look at missing: what was done before is seen after */
static void arrive(struct p *p)
{
	if (atomic_fetch_sub(&stop.missing, 1) == 1) {
		atomic_store(&stop.last, p->id + 1);
		futex_wake(&stop.missing, 1);
	}
}

void stop_here(struct m *m)
{
	struct p *p = p_release(m);

	stop_give(p);
	thread_stop(m);
}

void stop_give(struct p *p)
{
	p_set(p, P_RUNNING, P_STOPPED);
	arrive(p);
}

void stop_in_syscall(struct p *p)
{
	if (p_try(p, P_SYSCALL, P_STOPPED))
		arrive(p);
}

/* Most stops are over before a thread that sleeps would be woken. Few CPUs are shared, and where one is idle,
 * a virtual machine's kernel may still wake a thread on that of the waker: so it is offered. Not often: each
 * time the kernel takes a slice from the thread, and two that yield to each other starve beside others. */
bool stop_relax(int64_t waited_ns, unsigned *n_offers)
{
	if (waited_ns >= STOP_SPIN_NS)
		return false;
	if (waited_ns < OFFER_NS + *n_offers * OFFER_AGAIN_NS) {
		__builtin_ia32_pause();
	} else {
		++*n_offers;
		sched_yield();
	}
	return true;
}

static bool is_stopped(struct p *p)
{
	return atomic_load(&p->state) == P_STOPPED;
}

void stop_hold(struct m *m, struct p *p, void *context)
{
	unsigned n_offers = 0;
	int64_t begin;

	atomic_store_explicit(&m->held_context, context, memory_order_relaxed);
	__builtin_unwind_init(); /* every register that the caller's callers may need is in this frame */
	m->held_fp = (uintptr_t)__builtin_frame_address(0);
	__asm__ volatile("movq %%rsp, %0" : "=m"(m->held_sp));
	atomic_store_explicit(&p->held_in_handler, true, memory_order_relaxed);
	p_set(p, P_RUNNING, P_STOPPED);
	arrive(p);
	begin = now_ns();
	while (is_stopped(p))
		if (!stop_relax(now_ns() - begin, &n_offers))
			futex_wait(&p->state, P_STOPPED, -1);
	atomic_store_explicit(&m->held_context, NULL, memory_order_relaxed);
}

/* Those that come by themselves are counted, the others are taken. A thread that is being woken may come
 * whenever the machine has a CPU for it: it finds its P gone, or, when the world goes on before, there. */
static void count_and_take(struct p *own)
{
	uint32_t n = 0;

	lock_get(&sched.lock);
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct p *p = sched.ps[i];
		uint32_t s = atomic_load(&p->state);

		if (p->handed)
			p_set(p, P_RUNNING, P_STOPPED);
		else
			n += p != own && (s == P_RUNNING || s == P_SYSCALL);
	}
	atomic_store(&stop.missing, n);
	/* seq_cst: pairs with rt_enter_syscall() and with who is about to go idle */
	atomic_store(&sched.stopping, 1);
	for (struct p *p = sched.idle_ps; p; p = p->next)
		p_set(p, P_IDLE, P_STOPPED);
	sched.idle_ps = NULL;
	atomic_store(&sched.n_idle_ps, 0);
	lock_put(&sched.lock);
}

static void ask_all(struct p *own, void (*ask)(struct p *p))
{
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct p *p = sched.ps[i];

		if (p == own)
			continue;
		stop_in_syscall(p);
		if (atomic_load(&p->state) == P_RUNNING)
			ask(p);
	}
}

static bool all_come_soon(void)
{
	unsigned n_offers = 0;
	int64_t begin = now_ns(), now = begin;

	for (; atomic_load(&stop.missing) && now - begin < SOON_NS; now = now_ns())
		stop_relax(now - begin, &n_offers);
	return !atomic_load(&stop.missing);
}

static void wait_for_all(struct p *own)
{
	int64_t begin = now_ns(), asked = begin;
	unsigned n_offers = 0;
	uint32_t missing;

	while ((missing = atomic_load(&stop.missing))) {
		int64_t now = now_ns();

		if (now - asked > ASK_AGAIN_NS) {
			ask_all(own, preempt_ask);
			asked = now;
		}
		if (!stop_relax(now - begin, &n_offers))
			futex_wait(&stop.missing, missing, ASK_AGAIN_NS);
	}
}

/* Returns when everybody was let go. */
static int64_t go_on(struct p *own)
{
	struct p *with_work = NULL;
	bool held[PROCS_MAX] = {false};
	int64_t let_go;

	lock_get(&sched.lock);
	/* First: a thread that goes on must not find the old request and stand still again. */
	atomic_store(&sched.stopping, 0);
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct p *p = sched.ps[i];

		if (p == own || !is_stopped(p))
			continue;
		if (p->handed) {
			p_set(p, P_STOPPED, P_RUNNING);
		} else if (atomic_load_explicit(&p->held_in_handler, memory_order_relaxed)) {
			atomic_store_explicit(&p->held_in_handler, false, memory_order_relaxed);
			/* Where others wait, it leaves: stops in a row would keep them from it. */
			atomic_store_explicit(&p->preempt, !runq_is_empty(p), memory_order_relaxed);
			p_set(p, P_STOPPED, P_RUNNING);
			held[i] = true;
		} else if (!runq_is_empty(p)) {
			p_set(p, P_STOPPED, P_RUNNING);
			p->next = with_work;
			with_work = p;
		} else {
			p_set(p, P_STOPPED, P_IDLE);
			p_idle_put(p);
		}
	}
	lock_put(&sched.lock);
	/* Not under the lock: the machine may give this thread's CPU to the one that wakes. */
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (held[i])
			futex_wake(&sched.ps[i]->state, INT_MAX);
	while (with_work) {
		struct p *p = with_work;

		with_work = p->next;
		thread_start(p, false);
	}
	/* What follows may cost this thread its CPU. */
	let_go = now_ns();
	preempt_poll_settle();
	schedule_wake_one();
	return let_go;
}

struct request {
	const char *cause;
	void (*fn)(void *arg);
	void *arg;
	int64_t stopped_ns; /* from the request until all were let go */
};

/* On the system stack, with locks held against being stopped itself. */
static void *stop_and_do(void *arg)
{
	struct request *r = arg;
	struct p *own = this_m()->p;
	int64_t begin = now_ns();

	obs_trace(TRACE_STOP_WORLD, 0, (uintptr_t)r->cause);
	count_and_take(own);
	preempt_page_close();
	ask_all(own, preempt_flag);
	if (!preempt_has_polls() || !all_come_soon())
		ask_all(own, preempt_signal);
	wait_for_all(own);
	preempt_page_open();
	obs_trace(TRACE_STOPPED, 0, 0);
	ttsp_add(r->cause, now_ns() - begin, atomic_load(&stop.last));
	r->fn(r->arg);
	obs_trace(TRACE_GO_ON, 0, 0);
	r->stopped_ns = go_on(own) - begin;
	return NULL;
}

void stop_reset(void)
{
	stop.turn = (struct rt_mutex){0};
}

int64_t stop_timed(const char *cause, void (*fn)(void *arg), void *arg, bool *ret_awaited)
{
	struct request r = {cause, fn, arg, 0};
	struct m *m;

	rt_lock(&stop.turn);
	m = this_m();
	atomic_fetch_add_explicit(&m->locks, 1, memory_order_relaxed);
	rt_on_system_stack(stop_and_do, &r);
	atomic_fetch_sub_explicit(&m->locks, 1, memory_order_relaxed);
	*ret_awaited = mutex_is_awaited(&stop.turn);
	rt_unlock(&stop.turn);
	return r.stopped_ns;
}

void rt_stop_world(const char *cause, void (*fn)(void *arg), void *arg)
{
	bool ignored;

	stop_timed(cause, fn, arg, &ignored);
}
