/*
 * Threads. One that finds nothing to do waits on a futex of its own until somebody hands it a P;
 * threads end only with the runtime. The one that called rt_run runs no coroutines.
 */
#include "../obs/obs.h"
#include "switch.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define END_GRACE_NS (2 * RT_SEC)

__thread struct m *rt_tls_m __attribute__((tls_model("initial-exec")));

static void find_system_stack(struct m *m)
{
	pthread_attr_t a;
	void *lo;
	size_t n;

	if (pthread_getattr_np(pthread_self(), &a) != 0)
		return;
	pthread_attr_getstack(&a, &lo, &n);
	pthread_attr_destroy(&a);
	m->sys_lo = (uintptr_t)lo;
	m->sys_hi = (uintptr_t)lo + n;
}

static void *thread_entry(void *arg)
{
	struct m *m = arg;

	rt_tls_m = m;
	m->tid = (pid_t)syscall(SYS_gettid);
	m->random = (uint32_t)m->tid * 2654435761u | 1;
	find_system_stack(m);
	annotate_thread(m);
	signals_init_thread(m);
	obs_thread_begins(m);
	atomic_fetch_sub(&sched.starting_ms, 1);
	schedule_loop(m);
	obs_thread_ends(m);
	signals_done_thread(m);
	rt_tls_m = NULL;
	annotate_thread_ends(m);
	/* acq_rel: pairs with threads_end(): this thread touches the runtime no more. It was left behind when
	 * the runtime has been there first, and m is its own then. */
	if (atomic_exchange_explicit(&m->exited, true, memory_order_acq_rel))
		free(m);
	futex_wake((_Atomic uint32_t *)&sched.exiting, INT_MAX);
	return NULL;
}

static struct m *new_thread(void)
{
	struct m *m = calloc(1, sizeof *m);

	if (!m)
		rt_fatal("out of memory for a thread");
	obs_thread_made(m);
	m->generation = atomic_load(&sched.generation);
	lock_get(&sched.lock);
	m->id = sched.n_ms++;
	if (sched.n_ms > sched.max_ms) {
		lock_put(&sched.lock);
		rt_fatal("more than %u threads are needed: too many coroutines block in system calls "
			 "(rt_options.max_threads)", sched.max_ms);
	}
	m->all_next = sched.all_ms;
	sched.all_ms = m;
	lock_put(&sched.lock);
	return m;
}

static void launch(struct m *m)
{
	pthread_attr_t a;
	sigset_t all, old;
	int r;

	pthread_attr_init(&a);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	/* No signal before the thread knows who it is. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&m->thread, &a, thread_entry, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&a);
	if (r)
		rt_fatal("cannot start a thread: %s (limits: ulimit -u, pids cgroup)", strerror(r));
}

void thread_start(struct p *p, bool spinning)
{
	struct m *m = NULL;
	bool stops;

	lock_get(&sched.lock);
	stops = p && atomic_load(&sched.stopping);
	if (!p)
		p = p_idle_get();
	if (stops) {
		/* The stopper has counted it, and need not wait for a thread to wake. */
	} else if (p && sched.idle_ms) {
		m = sched.idle_ms;
		sched.idle_ms = m->next;
		sched.n_idle_ms--;
		m->next_p = p;
		p->handed = true;
		m->spinning = spinning;
	} else if (p) {
		/* Making a thread takes malloc, whose lock a thread that is being stopped may hold, and
		 * this one must not wait for it with a P in hand. */
		p_set(p, P_RUNNING, P_IDLE);
		p_idle_put(p);
		/* One on its way serves the next idle P: until it is there, everybody who makes work comes
		 * by here. */
		if (atomic_load(&sched.wanted_ms) + atomic_load(&sched.starting_ms) <
		    atomic_load(&sched.n_idle_ps))
			atomic_fetch_add(&sched.wanted_ms, 1);
	}
	/* Under the lock, where this thread is not stopped between taking the P and passing it on.
	 * release: pairs with the acquire in thread_stop() */
	if (m)
		atomic_store_explicit(&m->wake, 1, memory_order_release);
	lock_put(&sched.lock);
	if (m)
		futex_wake(&m->wake, 1);
	else if (spinning)
		atomic_fetch_sub(&sched.spinning, 1);
	if (stops)
		stop_give(p);
	else if (p)
		monitor_wake(m ? 0 : 1);
}

/* By sysmon, which holds nothing. A new thread takes an idle P, if there still is one. */
void threads_make(void)
{
	while (atomic_load(&sched.wanted_ms)) {
		struct m *m = new_thread();

		atomic_fetch_add(&sched.starting_ms, 1);
		/* From here it is counted as a thread: it may go idle, and look for a deadlock, at once. */
		atomic_fetch_sub(&sched.wanted_ms, 1);
		launch(m);
	}
}

/* What this thread was woken with; not when a stop has taken that meanwhile, or the runtime has ended. */
static void take_handed(struct m *m)
{
	struct p *p;

	lock_get(&sched.lock);
	p = m->next_p;
	m->next_p = NULL;
	if (p && m->generation == atomic_load(&sched.generation)) {
		p->handed = false;
		if (atomic_load(&p->state) == P_RUNNING)
			p_acquire(m, p);
	}
	lock_put(&sched.lock);
}

void thread_stop(struct m *m)
{
	/* It was woken to search, and then had to give up its P for a stop or a smaller number of Ps. */
	if (m->spinning) {
		m->spinning = false;
		atomic_fetch_sub(&sched.spinning, 1);
	}
	lock_get(&sched.lock);
	if (atomic_load(&sched.exiting) || m->generation != atomic_load(&sched.generation)) {
		lock_put(&sched.lock);
		return;
	}
	atomic_store_explicit(&m->wake, 0, memory_order_relaxed);
	m->next = sched.idle_ms;
	sched.idle_ms = m;
	sched.n_idle_ms++;
	deadlock_check();
	lock_put(&sched.lock);
	while (!atomic_load_explicit(&m->wake, memory_order_acquire))
		futex_wait(&m->wake, 0, -1);
	take_handed(m);
}

void thread_handoff(struct p *p)
{
	bool work = !runq_is_empty(p) || atomic_load(&sched.global_n) ||
		    atomic_load(&p->timers.first) || atomic_load(&p->retiring);
	uint32_t none = 0;

	if (work) {
		thread_start(p, false);
	} else if (atomic_load(&sched.n_idle_ps) == 0 &&
		   atomic_compare_exchange_strong(&sched.spinning, &none, 1)) {
		/* Nobody searches and nobody is idle: this P may be needed at any moment. */
		thread_start(p, true);
	} else {
		p_put_away(p);
		/* By who saw no idle P just before. seq_cst, both: it looks for one after it has put that. */
		if (atomic_load(&sched.global_n))
			schedule_wake_one();
	}
}

/* Ending -------------------------------------------------------------------------------------- */

static bool all_left(void)
{
	bool left = true;

	lock_get(&sched.lock);
	while (sched.idle_ms) {
		struct m *m = sched.idle_ms;

		sched.idle_ms = m->next;
		sched.n_idle_ms--;
		m->next_p = NULL;
		atomic_store_explicit(&m->wake, 1, memory_order_release);
		futex_wake(&m->wake, 1);
	}
	for (struct m *m = sched.all_ms; m; m = m->all_next)
		if (!atomic_load_explicit(&m->exited, memory_order_acquire))
			left = false;
	for (unsigned i = 0; !left && i < atomic_load(&sched.n_made); i++)
		if (atomic_load(&sched.ps[i]->m))
			preempt_ask(sched.ps[i]);
	lock_put(&sched.lock);
	return left;
}

/* A thread in foreign code that does not come back is left behind: it ends when it returns. */
void threads_end(void)
{
	int64_t until = rt_now() + END_GRACE_NS;

	netpoll_break();
	while (!all_left() && rt_now() < until)
		futex_wait(&sched.exiting, 1, RT_MSEC);
	lock_get(&sched.lock);
	while (sched.all_ms) {
		struct m *m = sched.all_ms;

		sched.all_ms = m->all_next;
		/* acq_rel: pairs with thread_entry(); who comes second frees it */
		if (atomic_exchange_explicit(&m->exited, true, memory_order_acq_rel))
			free(m);
		else
			sched.n_left_behind++;
	}
	sched.n_ms = 0;
	lock_put(&sched.lock);
}
