/*
 * Field for field what schedtrace() in Go's runtime/proc.go prints, so that what reads those lines
 * reads these. Fields of parts that this runtime does not have are printed as what they would be
 * in a Go program without them. The text is made first and written when the lock is free.
 */
#include "schedtrace.h"

#include "../sched/sched.h"
#include "obs.h"

#include <inttypes.h>

/* Go's numbers: what follows _Gwaiting is not what follows CO_WAITING. */
static const unsigned go_co_state[CO_STATES] = {
	[CO_IDLE] = 6, /* _Gdead: in a free list */
	[CO_RUNNABLE] = 1,
	[CO_RUNNING] = 2,
	[CO_SYSCALL] = 3,
	[CO_WAITING] = 4,
	[CO_DEAD] = 6,
	[CO_PREEMPTED] = 9,
};
static const unsigned go_p_state[P_STATES] = {
	[P_IDLE] = 0, [P_RUNNING] = 1, [P_SYSCALL] = 2, [P_STOPPED] = 3, [P_DEAD] = 4,
};

static unsigned queued(const struct p *p)
{
	uint32_t head = atomic_load_explicit(&p->head, memory_order_relaxed);
	uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);

	return tail - head;
}

static unsigned n_ps(void)
{
	return atomic_load(&sched.n_made);
}

static bool is_dead(const struct p *p)
{
	return atomic_load_explicit(&p->state, memory_order_relaxed) == P_DEAD;
}

static void write_head(struct out *o, bool detailed)
{
	out_printf(o, "SCHED %" PRId64 "ms: gomaxprocs=%u idleprocs=%u threads=%u spinningthreads=%u "
		   "needspinning=0 idlethreads=%u runqueue=%u",
		   (now_ns() - sched.start_ns) / RT_MSEC, atomic_load(&sched.n_procs),
		   atomic_load(&sched.n_idle_ps), sched.n_ms, atomic_load(&sched.spinning),
		   sched.n_idle_ms, sched.global.n);
	if (detailed)
		out_printf(o, " gcwaiting=%s nmidlelocked=0 stopwait=%u sysmonwait=%s\n",
			   atomic_load(&sched.stopping) ? "true" : "false",
			   atomic_load(&sched.stopping),
			   atomic_load(&sched.monitor_until) ? "false" : "true");
}

static void write_queues(struct out *o)
{
	out_text(o, " [");
	for (unsigned i = 0; i < n_ps(); i++)
		if (!is_dead(sched.ps[i]))
			out_printf(o, " %u", queued(sched.ps[i]));
	out_text(o, " ] schedticks=[");
	for (unsigned i = 0; i < n_ps(); i++)
		if (!is_dead(sched.ps[i]))
			out_printf(o, " %u", sched.ps[i]->tick);
	out_text(o, " ]\n");
}

OBS_RACY static void write_p(struct out *o, const struct p *p)
{
	const struct m *m = atomic_load_explicit(&p->m, memory_order_relaxed);

	out_printf(o, "  P%u: status=%u schedtick=%u syscalltick=%u m=", p->id,
		   go_p_state[atomic_load(&p->state)], p->tick, p->syscall_tick);
	if (m)
		out_printf(o, "%u", m->id);
	else
		out_text(o, "nil");
	out_printf(o, " runqsize=%u gfreecnt=%u timerslen=%u\n", queued(p), p->n_free, p->timers.n);
}

OBS_RACY static void write_m(struct out *o, const struct m *m)
{
	const struct p *p = m->p;
	const struct rt_co *co = m->cur;

	out_printf(o, "  M%u: p=", m->id);
	if (p)
		out_printf(o, "%u", p->id);
	else
		out_text(o, "nil");
	out_text(o, " curg=");
	if (co)
		out_printf(o, "%" PRIu64, co->id);
	else
		out_text(o, "nil");
	out_printf(o, " mallocing=0 throwing=0 preemptoff= locks=%u dying=0 spinning=%s blocked=%s "
		   "lockedg=nil\n", atomic_load_explicit(&m->locks, memory_order_relaxed),
		   m->spinning ? "true" : "false", !p && !co ? "true" : "false");
}

OBS_RACY static void write_co(struct rt_co *co, void *arg)
{
	struct out *o = arg;
	enum co_state s = atomic_load_explicit(&co->state, memory_order_acquire);
	const struct m *m = atomic_load_explicit(&co->m, memory_order_relaxed);
	bool on_thread = s == CO_RUNNING || s == CO_SYSCALL;

	if (s == CO_IDLE)
		return;
	out_printf(o, "  G%" PRIu64 ": status=%u(%s) m=", co->id, go_co_state[s],
		   s == CO_WAITING ? wait_reason_name(co->reason) : "");
	if (m && on_thread)
		out_printf(o, "%u", m->id);
	else
		out_text(o, "nil");
	out_text(o, " lockedm=nil\n");
}

void schedtrace(struct out *o, bool detailed)
{
	lock_get(&sched.lock);
	write_head(o, detailed);
	if (!detailed)
		write_queues(o);
	for (unsigned i = 0; detailed && i < n_ps(); i++)
		write_p(o, sched.ps[i]);
	for (const struct m *m = detailed ? sched.all_ms : NULL; m; m = m->all_next)
		write_m(o, m);
	lock_put(&sched.lock);
	if (detailed)
		stack_each(write_co, o);
}
