/*
 * The world stops while a thread that was given a P has not woken yet: it stands in a tracer's hands, so
 * that it wakes when this program wants.
 */
#include <stdint.h>

/* The runtime's locks are the thread's: what takes them is not managed, inlined or not. */
#define FOREIGN __attribute__((noinline, section("foreign_text")))
struct lock;
struct m;
static inline struct m *this_m(void) __attribute__((section("foreign_text")));
static inline void lock_count(struct m *m, uint32_t by) __attribute__((section("foreign_text")));
static inline void lock_get(struct lock *l) __attribute__((section("foreign_text")));
static inline void lock_put(struct lock *l) __attribute__((section("foreign_text")));

#include "../../runtime/sched/sched.h"
#include "rt.h"

#include "tap.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16, PATIENCE_MS = 20000, ROUNDS = 20, WORK = 200 };

/* A process that holds threads of this one, until it is told or loses patience. */
struct tracer {
	pid_t pid, tids[THREADS];
	int n, said[2], told[2];
};

static bool take_hold(const struct tracer *t)
{
	for (int i = 0; i < t->n; i++) {
		int status;

		if (ptrace(PTRACE_SEIZE, t->tids[i], 0, 0) < 0 ||
		    ptrace(PTRACE_INTERRUPT, t->tids[i], 0, 0) < 0 ||
		    waitpid(t->tids[i], &status, __WALL) != t->tids[i])
			return false;
	}
	return true;
}

/* 'h': they are held; 'n': cannot; then 't': were let go as told; 'l': too late. */
static _Noreturn void trace(struct tracer *t)
{
	struct pollfd p = {.fd = t->told[0], .events = POLLIN};
	char said = take_hold(t) ? 'h' : 'n';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(t->said[1], &said, 1) != 1)
		_exit(1);
	said = poll(&p, 1, PATIENCE_MS) == 1 ? 't' : 'l';
	for (int i = 0; i < t->n; i++)
		ptrace(PTRACE_DETACH, t->tids[i], 0, 0);
	_exit(write(t->said[1], &said, 1) != 1);
}

static char hear(struct tracer *t)
{
	char c;

	return read(t->said[0], &c, 1) == 1 ? c : 0;
}

/* Those that wait to be given a P. */
static FOREIGN int idle_threads(pid_t tids[THREADS])
{
	int n = 0;

	lock_get(&sched.lock);
	for (struct m *m = sched.idle_ms; m && n < THREADS; m = m->next)
		tids[n++] = m->tid;
	lock_put(&sched.lock);
	return n;
}

static bool hold_idle(struct tracer *t)
{
	t->n = idle_threads(t->tids);
	if (pipe(t->said) < 0 || pipe(t->told) < 0)
		return false;
	t->pid = fork();
	if (t->pid == 0)
		trace(t);
	return t->pid > 0 && hear(t) == 'h';
}

/* True when they were held until now. */
static bool let_go(struct tracer *t)
{
	char said = write(t->told[1], "x", 1) == 1 ? hear(t) : 0;

	waitpid(t->pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(t->said[i]);
		close(t->told[i]);
	}
	return said == 't';
}

static FOREIGN struct p *handed(void)
{
	struct p *found = NULL;

	lock_get(&sched.lock);
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (sched.ps[i]->handed)
			found = sched.ps[i];
	lock_put(&sched.lock);
	return found;
}

static bool wait_for(bool (*is_so)(void *arg), void *arg)
{
	int64_t until = rt_now() + 60 * RT_SEC;

	while (!is_so(arg) && rt_now() < until)
		usleep(100);
	return is_so(arg);
}

static bool is_idle(void *arg)
{
	pid_t tids[THREADS];

	return idle_threads(tids) >= *(int *)arg;
}

/* No thread but this one does anything. */
static FOREIGN bool is_quiet(void *arg)
{
	bool quiet;

	lock_get(&sched.lock);
	quiet = sched.n_idle_ms >= 1 && sched.n_idle_ms == sched.n_ms - 1 &&
		atomic_load(&sched.n_idle_ps) == 1;
	lock_put(&sched.lock);
	return quiet;
}

static bool is_taken(void *arg)
{
	return !handed();
}

static _Atomic int worked;

static void work(void *arg)
{
	atomic_fetch_add(&worked, 1);
}

static void nothing(void *arg)
{
}

/* Holds the idle threads and gives one of them a P: makes a second coroutine runnable. */
static bool begin(struct tracer *t)
{
	if (!wait_for(is_quiet, NULL) || !hold_idle(t))
		return false;
	rt_go(work, NULL);
	return handed() && atomic_load(&handed()->state) == P_RUNNING;
}

static bool all_work_is_done(int before)
{
	int64_t until = rt_now() + 60 * RT_SEC;

	for (int i = 0; i < WORK; i++)
		rt_go(work, NULL);
	while (atomic_load(&worked) < before + WORK && rt_now() < until)
		rt_yield();
	return atomic_load(&worked) >= before + WORK;
}

/* The thread wakes when all is over. */
static void wake_later(void)
{
	int wrong = 0, in_time = 0, kept = 0;

	for (int i = 0; i < ROUNDS && in_time == i; i++) {
		struct tracer t;
		int before = atomic_load(&worked);

		wrong += !begin(&t);
		for (int k = 0; k < ROUNDS; k++)
			rt_stop_world("test", nothing, NULL);
		kept += handed() && atomic_load(&handed()->state) == P_RUNNING;
		in_time += let_go(&t);
		wrong += !wait_for(is_taken, NULL) || !all_work_is_done(before + 1);
	}
	CHECK(wrong == 0, "a P is given to a thread that does not wake");
	CHECK(in_time == ROUNDS, "no stop waits for it");
	CHECK(kept == ROUNDS, "the P is its own again when the world goes on");
}

struct in_stop {
	struct tracer tracer;
	struct p *p;
	bool in_time, idle_again, stayed;
};

static void wake_now(void *arg)
{
	struct in_stop *s = arg;

	s->in_time = let_go(&s->tracer);
	s->idle_again = wait_for(is_idle, &s->tracer.n) && !handed();
	s->stayed = atomic_load(&s->p->state) == P_STOPPED && !atomic_load(&s->p->m);
}

/* The thread wakes while the world is stopped. */
static void wake_meanwhile(void)
{
	int wrong = 0, in_time = 0, idle_again = 0, stayed = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct in_stop s = {0};
		int before = atomic_load(&worked);

		wrong += !begin(&s.tracer);
		s.p = handed();
		if (!s.p)
			break;
		rt_stop_world("test", wake_now, &s);
		in_time += s.in_time;
		idle_again += s.idle_again;
		stayed += s.stayed;
		wrong += !all_work_is_done(before + 1);
	}
	CHECK(wrong == 0 && in_time == ROUNDS, "a thread wakes in a stopped world");
	CHECK(idle_again == ROUNDS && stayed == ROUNDS, "it finds its P taken, and goes to sleep again");
}

static void *run(void *arg)
{
	rt_sleep(RT_MSEC); /* there is a thread for each P */
	wake_later();
	wake_meanwhile();
	return NULL;
}

int main(void)
{
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* a process may be told that its child may */
	rt_run(&(struct rt_options){.procs = 2}, run, NULL, NULL);
	return tap_done();
}
