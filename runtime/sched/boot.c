/* The beginning and the end of a runtime. */
#include "../mem/gc.h"
#include "../mem/pins.h"
#include "../mem/pool.h"
#include "../mem/special.h"
#include "../obs/obs.h"
#include "switch.h"

#include <asm/prctl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 10000, STACK_BYTES = 64 << 10, STACK_MAX = 8 << 20 };

#ifndef ARCH_SHSTK_STATUS
#define ARCH_SHSTK_STATUS 0x5005
#endif

struct sched sched;

struct first {
	void *(*fn)(void *arg);
	void *arg, *result;
};

int64_t rt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * RT_SEC + t.tv_nsec;
}

/* A switch returns to where the shadow stack knows nothing of. */
static bool has_shadow_stack(void)
{
	unsigned long features = 0;

	return syscall(SYS_arch_prctl, ARCH_SHSTK_STATUS, &features) == 0 && (features & 1);
}

static enum rt_preempt_mode choose_mode(enum rt_preempt_mode asked)
{
	static const char *const names[] = {"all", "cooperative", "page", "signal"};
	const char *env = getenv("RT_PREEMPT");

	for (unsigned i = 0; env && i < sizeof names / sizeof *names; i++)
		if (!strcmp(env, names[i]))
			return (enum rt_preempt_mode)i;
	return asked;
}

static void run_first(void *arg)
{
	struct first *f = arg;

	post_init();
	f->result = f->fn(f->arg);
	atomic_store(&sched.exiting, 1);
	futex_wake(&sched.exiting, 1 << 30);
}

static void reset(const struct rt_options *o)
{
	lock_get(&sched.lock);
	sched.global = (struct co_queue){0};
	sched.idle_ms = NULL;
	sched.n_ms = sched.n_idle_ms = sched.attached = 0;
	sched.max_ms = o && o->max_threads ? o->max_threads : MAX_THREADS;
	sched.stack_bytes = o && o->stack_bytes ? o->stack_bytes : STACK_BYTES;
	sched.start_ns = rt_now();
	atomic_store(&sched.global_n, 0);
	atomic_store(&sched.spinning, 0);
	atomic_store(&sched.wanted_ms, 0);
	atomic_store(&sched.starting_ms, 0);
	atomic_store(&sched.next_id, 0);
	atomic_store(&sched.last_poll, sched.start_ns);
	atomic_store(&sched.poll_until, 0);
	atomic_store(&sched.monitor_until, 0);
	atomic_store(&sched.stopping, 0);
	atomic_store(&sched.exiting, 0);
	atomic_fetch_add(&sched.generation, 1);
	lock_put(&sched.lock);
	stop_reset();
}

/* The first coroutine is made by a thread that borrows a P for it. */
static int start_first(struct first *f)
{
	static struct m boot;
	struct rt_co *co;
	struct p *p;

	lock_get(&sched.lock);
	p = p_idle_get();
	lock_put(&sched.lock);
	memset(&boot, 0, sizeof boot);
	boot.p = p;
	co = co_new(p, NULL, (uintptr_t)run_first);
	if (!co)
		return -ENOMEM;
	co->name = "main";
	co->fn.plain = run_first;
	co->arg = f;
	runq_put(p, co, true);
	atomic_store(&sched.running, 1);
	thread_start(p, false);
	return 0;
}

/* The child of a fork has one thread and no runtime: it is a foreign thread there. */
static void after_fork_in_child(void)
{
	rt_tls_m = NULL;
	atomic_store(&sched.running, 0);
	preempt_page_open();
}

int rt_run(const struct rt_options *o, void *(*fn)(void *arg), void *arg, void **ret_result)
{
	static _Atomic uint32_t busy;
	static bool fork_is_watched;
	struct first f = {fn, arg, NULL};
	int r;

	if (o && (o->procs > PROCS_MAX || o->stack_bytes > STACK_MAX || o->preempt > RT_PREEMPT_SIGNAL))
		return -EINVAL;
	if (has_shadow_stack())
		return -ENOTSUP;
	if (this_m() || atomic_exchange(&busy, 1))
		return -EBUSY;
	if (!fork_is_watched)
		fork_is_watched = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
	reset(o);
	procs_init(o ? o->procs : 0);
	preempt_init(choose_mode(o ? o->preempt : RT_PREEMPT_ALL));
	signals_init();
	netpoll_init();
	limit_init();
	tune_init();
	pace_init();
	obs_begin();
	monitor_start();
	r = start_first(&f);
	while (r == 0 && !atomic_load(&sched.exiting))
		futex_wait(&sched.exiting, 0, -1);
	atomic_store(&sched.exiting, 1);
	monitor_end();
	threads_end();
	atomic_store(&sched.running, 0);
	netpoll_done();
	signals_done();
	if (sched.n_left_behind == 0) {
		stack_forget_all();
		pool_forget_all();
		gc_reset();
		pins_reset();
		special_reset();
		alloc_reset();
	} else {
		gc_abandon();
	}
	if (r == 0 && ret_result)
		*ret_result = f.result;
	atomic_store(&busy, 0);
	return r;
}
