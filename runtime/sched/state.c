/* The tables of allowed changes; runtime/README.md draws them. */
#include "sched.h"

#define BIT(s) (1u << (s))

#define RT_TEXT(name, text) text,
static const char *const co_names[] = {RT_CO_STATES(RT_TEXT)};
static const char *const p_names[] = {RT_P_STATES(RT_TEXT)};

static const uint32_t co_next[CO_STATES] = {
	[CO_IDLE] = BIT(CO_RUNNABLE),
	[CO_RUNNABLE] = BIT(CO_RUNNING),
	[CO_RUNNING] = BIT(CO_RUNNABLE) | BIT(CO_SYSCALL) | BIT(CO_WAITING) | BIT(CO_PREEMPTED) |
		       BIT(CO_DEAD) | BIT(CO_IDLE),
	[CO_SYSCALL] = BIT(CO_RUNNING) | BIT(CO_RUNNABLE),
	[CO_WAITING] = BIT(CO_RUNNABLE),
	[CO_PREEMPTED] = BIT(CO_RUNNABLE),
	[CO_DEAD] = BIT(CO_IDLE),
};

static const uint32_t p_next[P_STATES] = {
	[P_IDLE] = BIT(P_RUNNING) | BIT(P_STOPPED) | BIT(P_DEAD),
	[P_RUNNING] = BIT(P_IDLE) | BIT(P_SYSCALL) | BIT(P_STOPPED) | BIT(P_DEAD),
	[P_SYSCALL] = BIT(P_RUNNING) | BIT(P_STOPPED),
	[P_STOPPED] = BIT(P_RUNNING) | BIT(P_IDLE),
	[P_DEAD] = BIT(P_IDLE),
};

const char *co_state_name(enum co_state s)
{
	return s < CO_STATES ? co_names[s] : "?";
}

const char *p_state_name(enum p_state s)
{
	return s < P_STATES ? p_names[s] : "?";
}

bool co_may(enum co_state from, enum co_state to)
{
	return co_next[from] & BIT(to);
}

bool p_may(enum p_state from, enum p_state to)
{
	return p_next[from] & BIT(to);
}

void co_set_checked(struct rt_co *co, enum co_state from, enum co_state to)
{
	uint32_t is = from;

	if (!co_may(from, to))
		rt_fatal("coroutine %llu may not go from %s to %s", (unsigned long long)co->id,
			 co_state_name(from), co_state_name(to));
	if (!atomic_compare_exchange_strong(&co->state, &is, to))
		rt_fatal("coroutine %llu is %s, not %s, and should become %s",
			 (unsigned long long)co->id, co_state_name(is), co_state_name(from),
			 co_state_name(to));
}

void p_set(struct p *p, enum p_state from, enum p_state to)
{
#ifdef RT_CHECKS
	uint32_t is = from;

	if (!p_may(from, to) || !atomic_compare_exchange_strong(&p->state, &is, to))
		rt_fatal("P %u is %s and may not go from %s to %s", p->id, p_state_name(is),
			 p_state_name(from), p_state_name(to));
#else
	atomic_store_explicit(&p->state, to, memory_order_release); /* pairs with p_try()'s acquire */
#endif
}

bool p_try(struct p *p, enum p_state from, enum p_state to)
{
	uint32_t is = from;

#ifdef RT_CHECKS
	if (!p_may(from, to))
		rt_fatal("P %u may not go from %s to %s", p->id, p_state_name(from), p_state_name(to));
#endif
	/* seq_cst: sysmon and a stopper decide on what they read after it */
	return atomic_compare_exchange_strong(&p->state, &is, to);
}

const char *wait_reason_name(enum wait_reason r)
{
	static const char *const names[WAIT_REASONS] = {
		[WAIT_NONE] = "",
		[WAIT_CHAN_RECV] = "chan receive",
		[WAIT_CHAN_SEND] = "chan send",
		[WAIT_COND] = "sync.Cond.Wait",
		[WAIT_GC_ASSIST] = "GC assist wait",
		[WAIT_GC] = "GC worker (idle)",
		[WAIT_FINALISER] = "finalizer wait",
		[WAIT_FOREVER] = "select (no cases)",
		[WAIT_GROUP] = "sync.WaitGroup.Wait",
		[WAIT_IO] = "IO wait",
		[WAIT_JOIN] = "join",
		[WAIT_MUTEX] = "sync.Mutex.Lock",
		[WAIT_POST] = "rt_post",
		[WAIT_RWLOCK_READ] = "sync.RWMutex.RLock",
		[WAIT_RWLOCK_WRITE] = "sync.RWMutex.Lock",
		[WAIT_SELECT] = "select",
		[WAIT_SEM] = "semacquire",
		[WAIT_SLEEP] = "sleep",
	};

	return r < WAIT_REASONS ? names[r] : "?";
}
