/*
 * SIGPROF serves two: a thread's CPU timer, which samples, and tgkill, which asks a thread for its
 * stack. The handler stays for good: a signal may be on its way when the last timer is deleted, and
 * the default would end the process.
 */
#include "../thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct obs_threads obs_threads;
static _Atomic uint32_t asked_turn;

static void tell(struct m *m, const void *context)
{
	struct obs_thread *t = m->obs;
	uint32_t turn = atomic_load_explicit(&asked_turn, memory_order_acquire);

	if (!t || atomic_load_explicit(&t->told_turn, memory_order_relaxed) == turn)
		return;
	t->n_told = walk_context(m, context, t->told, WALK_MAX);
	/* release: pairs with the acquire in has_told() and thread_told() */
	atomic_store_explicit(&t->told_turn, turn, memory_order_release);
}

static void on_prof(int sig, siginfo_t *si, void *context)
{
	struct m *m = this_m();
	int saved = errno;

	if (m && si->si_code == SI_TIMER)
		cpu_sample(m, context, si->si_overrun + 1);
	else if (m)
		tell(m, context);
	errno = saved;
}

static void take_signal(void)
{
	static bool taken;
	struct sigaction sa = {
		.sa_sigaction = on_prof,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
	};

	if (taken)
		return;
	sigfillset(&sa.sa_mask);
	sigaction(SIGPROF, &sa, NULL);
	taken = true;
}

void obs_thread_made(struct m *m)
{
	struct obs_thread *t = calloc(1, sizeof *t);

	if (!t)
		return;
	t->m = m;
	t->n_created = walk_here(t->created, CREATION_MAX);
	m->obs = t;
}

void obs_thread_begins(struct m *m)
{
	struct obs_thread *t = m->obs;
	sigset_t prof;

	if (!t)
		return;
	lock_get(&obs_threads.lock);
	take_signal();
	t->next = obs_threads.first;
	obs_threads.first = t;
	cpu_thread_begins(t);
	lock_put(&obs_threads.lock);
	sigemptyset(&prof);
	sigaddset(&prof, SIGPROF);
	pthread_sigmask(SIG_UNBLOCK, &prof, NULL);
}

void obs_thread_ends(struct m *m)
{
	struct obs_thread *t = m->obs, **link = &obs_threads.first;
	sigset_t prof;

	if (!t)
		return;
	sigemptyset(&prof);
	sigaddset(&prof, SIGPROF);
	pthread_sigmask(SIG_BLOCK, &prof, NULL);
	lock_get(&obs_threads.lock);
	while (*link != t)
		link = &(*link)->next;
	*link = t->next;
	cpu_thread_ends(t);
	m->obs = NULL;
	lock_put(&obs_threads.lock);
	free(t);
}

OBS_RACY static bool runs_something(const struct m *m)
{
	return m->cur && !atomic_load_explicit(&m->exited, memory_order_relaxed);
}

static bool has_told(const struct obs_thread *t, uint32_t turn)
{
	return atomic_load_explicit(&t->told_turn, memory_order_acquire) == turn;
}

/* How many others have not answered yet; ask: they are sent the signal. */
static int for_running(uint32_t turn, bool ask)
{
	struct m *self = this_m();
	int missing = 0;

	lock_get(&obs_threads.lock);
	for (struct obs_thread *t = obs_threads.first; t; t = t->next) {
		if (t->m == self || !runs_something(t->m) || has_told(t, turn))
			continue;
		missing++;
		if (ask)
			syscall(SYS_tgkill, getpid(), t->m->tid, SIGPROF);
	}
	lock_put(&obs_threads.lock);
	return missing;
}

uint32_t threads_tell(int64_t patience_ns)
{
	int64_t until = now_ns() + patience_ns;
	/* release: pairs with the acquire in tell(). Of two who ask at a time the second gets all. */
	uint32_t turn = atomic_fetch_add_explicit(&asked_turn, 1, memory_order_acq_rel) + 1;

	for_running(turn, true);
	while (for_running(turn, false) && now_ns() < until)
		usleep(100);
	return turn;
}

int thread_told(const struct rt_co *co, uint32_t turn, uintptr_t *pcs, int max)
{
	struct m *m = atomic_load_explicit(&co->m, memory_order_relaxed);
	int n = 0;

	lock_get(&obs_threads.lock);
	for (struct obs_thread *t = obs_threads.first; t; t = t->next) {
		if (t->m != m || !has_told(t, turn))
			continue;
		n = t->n_told < max ? t->n_told : max;
		memcpy(pcs, t->told, (size_t)n * sizeof *pcs);
	}
	lock_put(&obs_threads.lock);
	return n;
}
