/*
 * System calls and foreign code. A coroutine that may block its thread leaves its P lying, in state
 * syscall: sysmon takes it for somebody else when the call lasts, and the coroutine takes it back
 * when it does not. Who changes the state of such a P has it.
 */
#include "../mem/heap.h"
#include "../mem/roots.h"
#include "../obs/obs.h"
#include "slow.h"
#include "switch.h"

enum { FRAME_BYTES = 512 }; /* more than what a frame below its frame pointer has here */

/* In the function that is called by whoever leaves: its caller's frame is what stays. */
#define note_where_left(co)                                                                        \
	((co)->left_pc = (uintptr_t)__builtin_return_address(0),                                   \
	 (co)->left_fp = *(const uintptr_t *)__builtin_frame_address(0))

static inline void set_left_sp(struct rt_co *co, uintptr_t sp)
{
	/* relaxed: within a system call a marker may search from the one or from the other, a little more */
	__atomic_store_n(&co->left_sp, sp, __ATOMIC_RELAXED);
}

/* Called by rt_enter_syscall (switch_x86_64.S) with its frame pointer, and the registers that it keeps
 * for its caller. */
void syscall_enter(const uintptr_t *frame, const uintptr_t *regs);
void syscall_enter(const uintptr_t *frame, const uintptr_t *regs)
{
	struct m *m = this_m();
	struct p *p = m->p;
	struct rt_co *self = m->cur;

	if (self->off)
		rt_fatal("rt_enter_syscall between rt_preempt_off and rt_preempt_on");
	self->left_fp = frame[0];
	self->left_pc = frame[1];
	set_left_sp(self, (uintptr_t)(frame + 2));
	for (unsigned i = 0; i < LEFT_REGS; i++)
		self->left_regs[i] = regs[i];
	obs_trace(TRACE_SYSCALL, m->cur->id, 0);
	co_set(m->cur, CO_RUNNING, CO_SYSCALL);
	count_up(&p->syscall_tick);
	m->syscall_p = p;
	m->p = NULL;
	cache_use(NULL);
	atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
	p_set(p, P_RUNNING, P_SYSCALL);
	/* Pairs with the stopper, which sets stopping before it looks at the states of Ps. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&sched.stopping))
		stop_in_syscall(p);
	slow_blocking_call();
}

/* The coroutine is saved: others may have it, unless its runtime has ended meanwhile. */
static void after_syscall(struct m *m, struct rt_co *co)
{
	co_set(co, CO_SYSCALL, CO_RUNNABLE);
	if (m->generation != atomic_load(&sched.generation))
		return;
	global_put(co);
	schedule_wake_one();
}

static inline void go_on(struct rt_co *co)
{
	if (gc_is_marking())
		roots_before_run(co);
	co_set(co, CO_SYSCALL, CO_RUNNING);
}

static bool take_idle(struct m *m)
{
	struct p *p = NULL;

	lock_get(&sched.lock);
	if (!atomic_load(&sched.stopping) && m->generation == atomic_load(&sched.generation) &&
	    !atomic_load(&sched.exiting))
		p = p_idle_get();
	lock_put(&sched.lock);
	if (p) {
		p_acquire(m, p);
		monitor_wake(0);
	}
	return p;
}

void rt_exit_syscall(void)
{
	struct m *m = this_m();
	struct p *p = m->syscall_p;

	m->syscall_p = NULL;
	if (m->generation == atomic_load(&sched.generation) && p_try(p, P_SYSCALL, P_RUNNING)) {
		p_acquire(m, p);
		go_on(m->cur);
		obs_trace(TRACE_START, m->cur->id, 0);
	} else if (take_idle(m)) {
		go_on(m->cur);
		obs_trace(TRACE_START, m->cur->id, 0);
	} else {
		schedule_leave(m, after_syscall);
	}
	poll_here();
}

struct on_system_stack {
	struct m *m;
	struct rt_co *co;
	void *(*fn)(void *arg);
	void *arg;
};

static void *on_system_stack(void *arg)
{
	struct on_system_stack *o = arg;
	void *ret;

	annotate_called(o->m, o->co, false);
	ret = o->fn(o->arg);
	annotate_called(o->m, o->co, true);
	return ret;
}

void *rt_on_system_stack(void *(*fn)(void *arg), void *arg)
{
	struct m *m = this_m();
	struct on_system_stack o = {m, m->cur, fn, arg};
	void *ret;

	note_where_left(o.co);
	set_left_sp(o.co, (uintptr_t)__builtin_frame_address(0) - FRAME_BYTES);
	m->on_system_stack = true;
	annotate_call(m, o.co, false);
	/* Below the scheduler, which waits there. */
	ret = rt_call_on((char *)m->saved.sp - SYSTEM_STACK_GAP, on_system_stack, &o);
	annotate_call(m, o.co, true);
	m->on_system_stack = false;
	return ret;
}

void *rt_blocking(void *(*fn)(void *arg), void *arg)
{
	void *ret;

	rt_enter_syscall();
	ret = rt_on_system_stack(fn, arg);
	rt_exit_syscall();
	return ret;
}
