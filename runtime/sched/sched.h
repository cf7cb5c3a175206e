/*
 * sched - what the parts of the scheduler share; private to runtime/
 *
 * A coroutine (G, struct rt_co) runs on a thread (M, struct m) that holds a scheduling context
 * (P, struct p). The invariants and the memory-ordering pairs stand in runtime/README.md.
 *
 * Owns:    everything here is the runtime's own and is never given back to malloc: a G lives at
 *          the top of its stack, and stacks, Ms and Ps are reused, so that a late reader of one
 *          reads an object of the same type
 */
#pragma once

#include "../rt.h"
#include "latency.h"
#include "lock.h"
#include "state.h"
#include "timer.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	RUNQ_SIZE = 256,
	PROCS_MAX = 256,
	KEYS_MAX = 32,
	CACHE_LINE = 64,
	ID_BATCH = 64, /* ids that a P takes at one time */
	SYSTEM_STACK_GAP = 256, /* between the scheduler's frame and what is called on its stack */
	LEFT_REGS = 6, /* that a called function keeps */
};

/* Why a coroutine waits; the words are Go's, and stand in dumps. */
enum wait_reason {
	WAIT_NONE,
	WAIT_CHAN_RECV,
	WAIT_CHAN_SEND,
	WAIT_COND,
	WAIT_FINALISER,
	WAIT_FOREVER,
	WAIT_GC,
	WAIT_GC_ASSIST,
	WAIT_GROUP,
	WAIT_IO,
	WAIT_JOIN,
	WAIT_MUTEX,
	WAIT_POST,
	WAIT_RWLOCK_READ,
	WAIT_RWLOCK_WRITE,
	WAIT_SELECT,
	WAIT_SEM,
	WAIT_SLEEP,
	WAIT_REASONS,
};
const char *wait_reason_name(enum wait_reason r);

/* Where a stack that is not running goes on: its registers lie above sp. switch_x86_64.S knows it. */
struct context {
	void *sp, *fp, *pc;
	uint32_t mxcsr;
	uint16_t x87_control;
};

/* G: at the top of its stack's slot. */
struct rt_co {
	struct context saved; /* valid while no thread runs it */
	_Atomic uint32_t state; /* enum co_state; state.h says who may change it */
	uint32_t off;           /* depth of rt_preempt_off; only its own thread touches it */
	struct m *_Atomic m;    /* that runs it, or is in a system call for it */
	struct rt_co *next;     /* of the run queue or free list that it is in */
	union {
		void (*plain)(void *arg);
		void *(*joined)(void *arg);
	} fn;
	void *arg;
	uint64_t id;
	/* How many times its next way from runnable to running counts, 0: it is not measured; and since
	 * when it is runnable. Whoever owns the coroutine. */
	uint32_t sampled;
	enum wait_reason reason;
	int64_t runnable_ns;
	void *result;
	uint64_t parent_id;
	uintptr_t created_at; /* the return address of the call that made it */
	const char *name;     /* NULL: the symbol of fn */
	uintptr_t stack_lo;   /* the lowest address it may touch; the guard lies below */
	/* Where it left its stack for a system call or the system stack: a dump begins there. */
	uintptr_t left_pc, left_fp;
	/* And what the collector needs of it: the stack from there up, and the registers then. */
	uintptr_t left_sp, left_regs[LEFT_REGS];
	_Atomic uint32_t searched; /* by the collector: mem/roots.h */
	int woken_with; /* set by who wakes it, read after the park: 0 or a negative errno */

	/* One wait has one ticket; who changes it from the value that the waiter showed may wake it. */
	_Atomic uint64_t ticket;
	int64_t waits_since; /* ns; 0 while block profiling is off */
	/* Of a wait that only a partner can end: an address in what it waits on (a channel, a lock, the
	 * coroutine to end), of a select its cases. Valid while reason is such a wait. */
	const void *waits_on;
	struct timer timer;  /* of a sleep or of the deadline of a wait */

	/* Of one that rt_spawn made: who waits for its end, or one of the marks of co.c. */
	struct rt_co *joiner;
	uint64_t joiner_ticket;
	struct lock end_lock; /* guards both */
	bool joined;  /* rt_spawn made it: the slot stays until join or detach */
	bool ending;  /* on its way out: it will not come back to this stack */
	bool wait_armed; /* wait_arm() was called: the park starts the timer */
	bool off_pending; /* asked to stop or yield between preempt_off and _on */
	void **locals; /* KEYS_MAX, or NULL */
	struct rt_scope *scopes; /* debug: its scoped objects, innermost first */
	void *sanitizer; /* fake stack of ASan, fiber of TSan */
	int rt_errno_value;
	uint8_t stack_class;
};

/* P: what is needed to run coroutines; as many as run at one time. */
struct p {
	_Atomic uint32_t state; /* enum p_state */
	unsigned id;
	struct m *_Atomic m;
	struct p *next; /* idle list */
	/* One a switch, one a system call; only the owner adds, sysmon reads. */
	_Atomic uint32_t tick, syscall_tick;
	_Atomic uint32_t preempt; /* its coroutine is to leave; cleared when the scheduler looks */
	_Atomic uint32_t retiring; /* there are too many Ps: give this one up at the next switch */
	/* The owner's own: switches until the scheduler looks at timers and the global queue, what that
	 * was set to, and its tick when it last took from that first. */
	int32_t look_in, look_set;
	uint32_t global_at;
	/* Of what the netpoller gave last: the tick when it was queued, when that was, and what a turn has
	 * lasted of late. */
	uint32_t polled_tick;
	int64_t polled_at, turn_ns;
	uint64_t id_next, id_end; /* a batch of ids */
	_Atomic uint64_t started, ended; /* coroutines; only the owner adds */

	/* The queue: the owner puts at tail, everybody takes at head. runnext goes first. */
	_Alignas(CACHE_LINE) _Atomic uint32_t head;
	_Alignas(CACHE_LINE) _Atomic uint32_t tail;
	unsigned n_free; /* below */
	struct rt_co *_Atomic runnext;
	struct rt_co *_Atomic ring[RUNQ_SIZE];

	struct timers timers;
	struct latency latency;

	/* Dead coroutines with their stacks, of the usual size; only the owner touches them. */
	struct rt_co *free;

	struct cache *cache; /* of the heap; made with the P */

	/* What sysmon saw when it looked last. */
	uint32_t seen_tick, seen_syscall_tick;
	int64_t seen_since, seen_syscall_since;
	uint32_t seen_head;
	bool seen_waiting;

	bool handed; /* to a thread that has not woken yet; under the lock */
	/* The stopped world: its thread stands in the signal handler and goes on with it. */
	_Atomic bool held_in_handler;
};

/* M: a thread. */
struct m {
	struct rt_co *cur; /* that it runs; NULL in the scheduler, on its system stack */
	struct p *p;       /* NULL when it has none */
	struct context saved; /* the scheduler's, while a coroutine runs */
	/* Done by the next context, when the coroutine left has been saved: see switch.h. */
	void (*after)(struct m *m, struct rt_co *left);
	struct rt_co *left;
	bool (*unlock)(struct rt_co *co, void *arg);
	void *unlock_arg;

	_Atomic uint32_t locks; /* > 0: between runtime locks, do not stop here */
	_Atomic uint32_t wake;  /* futex: 1 asks it to go on */
	struct p *next_p;       /* handed over by who wakes it */
	struct p *syscall_p;    /* that it had when it entered the system call */
	unsigned id;
	pid_t tid;
	pthread_t thread;
	uint64_t generation;   /* of the runtime that made it */
	void *alt_stack; /* of signal handlers */
	size_t alt_stack_bytes;
	struct m *next;        /* idle list */
	struct m *all_next;    /* every M of the runtime */
	uintptr_t sys_lo, sys_hi; /* bounds of the system stack */
	void *sys_sanitizer;
	/* Filled by the handler that holds it for a stopped world: where it stands. */
	void *_Atomic held_context; /* ucontext_t; NULL: it holds itself, at a poll */
	uintptr_t held_fp, held_sp;   /* of the frame that holds it then; its registers are above sp */
	struct obs_thread *obs;       /* what obs/ keeps of it */
	uint32_t random;
	unsigned valgrind_stack;
	bool spinning;        /* looks for work and is counted in sched.spinning */
	bool on_system_stack; /* for rt_on_system_stack, while cur is set */
	_Atomic bool exited;
};

struct co_queue {
	struct rt_co *first, *last;
	uint32_t n;
};

struct sched {
	struct lock lock; /* guards what follows, up to the blank line */
	struct co_queue global;
	struct p *idle_ps;
	struct m *idle_ms;
	unsigned n_ms, n_idle_ms, max_ms;
	struct m *all_ms;
	unsigned attached; /* foreign threads that may post */
	unsigned n_left_behind; /* threads in foreign code when their runtime ended */

	_Atomic uint32_t global_n;  /* global.n, readable without the lock */
	_Atomic uint32_t n_idle_ps; /* written under the lock */
	_Atomic uint32_t spinning;  /* Ms that look for work */
	_Atomic uint32_t wanted_ms; /* threads that sysmon is to make */
	_Atomic uint32_t starting_ms; /* made, and not yet looking for a P */
	struct p *ps[PROCS_MAX]; /* made once, never freed */
	_Atomic uint32_t n_made;  /* of ps */
	_Atomic uint32_t n_procs; /* Ps that are not dead; set when their number is to change */
	_Atomic uint64_t next_id;
	_Atomic int64_t last_poll;    /* ns; 0: a thread waits in the netpoller, which polls at once */
	_Atomic int64_t poll_until;   /* until when it waits at most */
	_Atomic int64_t monitor_until; /* sysmon sleeps until then */
	_Atomic uint32_t stopping;    /* 1: the world is to stop; everybody checks it */
	_Atomic uint32_t exiting;     /* 1: rt_run is about to return */
	_Atomic uint32_t running;     /* 1: between the start and the end of rt_run */
	_Atomic uint64_t generation;
	enum rt_preempt_mode mode;
	size_t stack_bytes;
	_Atomic bool procs_fixed;
	int64_t start_ns;
};
extern struct sched sched;

/* The calling thread's M; NULL on a foreign thread. Read anew after every switch: the volatile asm
 * keeps the compiler from holding the TLS address of another thread. */
extern __thread struct m *rt_tls_m __attribute__((tls_model("initial-exec")));

static inline struct m *this_m(void)
{
#if defined(__x86_64__)
	struct m *m;

	__asm__ volatile("movq rt_tls_m@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(m) : : "memory");
	return m;
#else
	extern struct m *this_m_slow(void);
	return this_m_slow();
#endif
}

static inline struct rt_co *this_co(void)
{
	struct m *m = this_m();

	return m ? m->cur : NULL;
}

static inline void lock_count(struct m *m, uint32_t by)
{
	if (m)
		atomic_store_explicit(&m->locks,
				      atomic_load_explicit(&m->locks, memory_order_relaxed) + by,
				      memory_order_relaxed);
}

static inline void lock_get(struct lock *l)
{
	uint32_t free = 0;

	lock_count(this_m(), 1); /* before the lock: the handler must see it on its own thread */
	atomic_signal_fence(memory_order_seq_cst);
	/* acquire: pairs with the release in lock_put() */
	if (!atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire,
						     memory_order_relaxed))
		lock_wait(l);
}

static inline void lock_put(struct lock *l)
{
	/* release: pairs with the acquire in lock_get() and lock_wait() */
	if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
		futex_wake(&l->word, 1);
	atomic_signal_fence(memory_order_seq_cst);
	lock_count(this_m(), -1u);
}

void co_set_checked(struct rt_co *co, enum co_state from, enum co_state to);

/* The caller owns the coroutine in state from. */
static inline void co_set(struct rt_co *co, enum co_state from, enum co_state to)
{
#ifdef RT_CHECKS
	co_set_checked(co, from, to);
#else
	/* release: pairs with the acquire in co_state() of dumps; what orders the hand-over of a
	 * coroutine to the next thread is the queue or lock that it goes through */
	atomic_store_explicit(&co->state, to, memory_order_release);
#endif
}

/* Counts that one thread adds to and others only read. */
#define count_up(counter)                                                                          \
	atomic_store_explicit((counter), 1 + atomic_load_explicit((counter), memory_order_relaxed), \
			      memory_order_relaxed)
#define count_read(counter) atomic_load_explicit((counter), memory_order_relaxed)

/* schedule.c: which coroutine runs next --------------------------------------------------------- */

/* Leaves the thread until co_ready(). unlock (may be NULL) is called once others can resume the
 * coroutine, on another stack: it releases the lock that guards the wait. If it returns false the
 * coroutine goes on at once. Returns co->woken_with, which is 0 unless the waker set it. */
int co_park(enum wait_reason reason, bool (*unlock)(struct rt_co *co, void *arg), void *arg);
/* The same with the lock to release. */
int co_park_unlock(enum wait_reason reason, struct lock *l);
/* A waiting coroutine becomes runnable, next on this P (or global from a thread without one). */
void co_ready(struct rt_co *co);
/* Like co_ready, behind the others. */
void co_ready_last(struct rt_co *co);
void co_ready_list(struct rt_co *first); /* linked by next */

/*
 * Waits that more than one can end (a partner, a timer, one of many channels): the waiter shows
 * its ticket to all of them; the one whose wait_claim() succeeds may set woken_with and call
 * co_ready(). A late one with an old ticket does nothing: coroutines' memory stays coroutines'.
 */
static inline uint64_t wait_ticket(struct rt_co *co)
{
	return atomic_load_explicit(&co->ticket, memory_order_relaxed);
}

static inline bool wait_claim(struct rt_co *co, uint64_t ticket)
{
	return atomic_compare_exchange_strong_explicit(&co->ticket, &ticket, ticket + 1,
						       memory_order_acq_rel, memory_order_relaxed);
}

/* Arms the coroutine's own timer: at the deadline it claims the ticket and wakes with -ETIMEDOUT.
 * RT_FOREVER arms nothing. Every armed one is disarmed after the park. */
void wait_arm(struct rt_co *self, uint64_t ticket, int64_t deadline);
void wait_disarm(struct rt_co *self, int64_t deadline);

/* Ends the process: "fatal: TEXT" with the coroutine, its creation site and its stack. */
_Noreturn void rt_fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* At the end of every public call: a safepoint. */
static inline void poll_here(void)
{
	RT_POLL();
}

void schedule_loop(struct m *m); /* of a thread, on its system stack; until the runtime ends */
void schedule_wake_one(void); /* an idle P and no M that looks for work: start one */
bool schedule_has_work(void); /* in any queue */
/* Leaves the coroutine for the next one; after runs when it can be resumed. Returns when somebody
 * runs it again, on whichever thread. */
void schedule_leave(struct m *m, void (*after)(struct m *m, struct rt_co *left));

/* queue.c: the local ring and the global list ----------------------------------------------------- */

void runq_put(struct p *p, struct rt_co *co, bool next); /* owner only */
struct rt_co *runq_get(struct p *p, bool *ret_inherit);  /* owner only */
struct rt_co *runq_steal(struct p *thief, struct p *victim, bool with_next);
bool runq_is_empty(struct p *p);
void global_put(struct rt_co *co);           /* takes the lock */
void global_put_list(struct co_queue *list); /* takes the lock */
struct rt_co *global_get(struct p *p, uint32_t max); /* under the lock; the rest goes into the ring */

/* thread.c: Ms ---------------------------------------------------------------------------------- */

void thread_start(struct p *p, bool spinning); /* p running; NULL: an idle one, if there is one */
void thread_stop(struct m *m);                 /* waits until somebody hands it a P */
void threads_make(void);                       /* that were wanted */
void thread_handoff(struct p *p); /* running, taken from a thread in a system call: for others */
void threads_end(void);           /* the runtime ends: waits for those that can end */

/* procs.c: Ps ----------------------------------------------------------------------------------- */

void procs_init(unsigned n);
void procs_set(unsigned n);
void procs_follow(void);     /* affinity and quota may have changed */
/* n fewer than they or rt_set_procs say, until it is called again; at least one stays. any thread */
void procs_park(unsigned n);
unsigned procs_parked(void);
unsigned procs_live(void);   /* that are not dead: more than rt_procs() while some still retire */
void procs_bury(struct p *p); /* released, retiring, its queue empty */
void p_acquire(struct m *m, struct p *p); /* running */
struct p *p_release(struct m *m);
void p_idle_put(struct p *p); /* idle; under the lock */
struct p *p_idle_get(void);   /* running; under the lock; NULL */
void p_put_away(struct p *p); /* running, held by nobody: idle, or to who stops the world, and waits for it */

/* sysmon.c, stop.c, preempt.c, signal.c, deadlock.c ------------------------------------------------- */

void monitor_start(void);
void monitor_end(void);
/* Something may need help beside an idle P: the monitor looks within this time. */
#define MONITOR_HELP_NS (500 * RT_USEC)
void monitor_wake(int64_t when); /* it shall look at this time, and from now on if all were idle */

void stop_here(struct m *m); /* called by who finds sched.stopping, holding a P, no lock */
void stop_in_syscall(struct p *p);
void stop_give(struct p *p); /* running, held by nobody */
/* rt_stop_world(); returns the ns from the request until everybody was let go. *ret_awaited: others wait to
 * stop it next. */
int64_t stop_timed(const char *cause, void (*fn)(void *arg), void *arg, bool *ret_awaited);
void stop_reset(void); /* a runtime begins; whose turn it was in the last one is gone */
/* Who waits for a stop, or in one, for so long: spins, and offers its CPU now and then (n_offers: 0 at
 * first); false: it may sleep. */
#define STOP_SPIN_NS (60 * RT_USEC)
bool stop_relax(int64_t waited_ns, unsigned *n_offers);
/* In a signal handler: stands still there until the world goes on. */
void stop_hold(struct m *m, struct p *p, void *context);

/* Asks the coroutine on p to leave: flag, and signal where the mode has it. any thread */
void preempt_ask(struct p *p);
void preempt_flag(struct p *p);
void preempt_signal(struct p *p);
bool preempt_has_polls(void); /* the mode */
void preempt_poll_settle(void); /* clears the poll word when nobody is asked any more */
void preempt_init(enum rt_preempt_mode mode);
void preempt_page_close(void); /* every poll traps, where the mode has it */
void preempt_page_open(void);
bool preempt_is_poll_page(uintptr_t addr);
bool preempt_is_managed(uintptr_t pc);
/* In a signal handler: holds the thread that context (ucontext_t) interrupts, or sends its coroutine
 * away. False: neither can be done there. */
bool preempt_interrupted(struct m *m, void *context, bool at_poll);
void signals_init(void);
void signals_init_thread(struct m *m);
void signals_done_thread(struct m *m);
void signals_done(void);

void deadlock_check(void); /* under sched.lock, when a thread goes idle */

/* dump.c: texts about coroutines -------------------------------------------------------------------- */

/* The frames of a coroutine that does not run (or runs here), innermost first, by frame pointers. */
_Noreturn void dump_overflow(struct rt_co *co, uintptr_t addr, void *context);
void dump_deadlock(void); /* ends the process */

void post_init(void); /* foreign.c */

/* netpoll (net/poll.c) ----------------------------------------------------------------------------- */

void netpoll_init(void);
void netpoll_done(void);
/* Ready coroutines linked by next. delay_ns < 0: wait; 0: look. Returns early after netpoll_break. */
struct rt_co *netpoll(int64_t delay_ns);
void netpoll_break(void);
bool netpoll_has_waiters(void);

/* stack.c: slots of a G and its stack ---------------------------------------------------------------- */

struct rt_co *stack_get(struct p *p, size_t stack_bytes); /* idle; NULL: no address space */
void stack_put(struct p *p, struct rt_co *co);
void stack_forget_all(void); /* every slot is idle: the runtime has ended */
/* Every slot that was ever used, idle ones too. No lock: what it shows may change. */
void stack_each(void (*fn)(struct rt_co *co, void *arg), void *arg);
/* The coroutine in whose guard area addr lies, NULL if in none. Async-signal-safe. */
struct rt_co *stack_guarded_by(uintptr_t addr);

/* The collector's way through them: *next moves on by n slots, *ret is where they begin. false: at the
 * end. Several may call it. */
bool stack_next_slice(_Atomic uint64_t *next, uint64_t *ret, uint32_t n);
void stack_slice(uint64_t at, uint32_t n, void (*fn)(struct rt_co *co, void *arg), void *arg);

struct rt_co *stack_of(uintptr_t addr); /* on whose stack addr lies; NULL: on none */
/* Chunks of slots: no memory but stacks is there. */
void stack_each_chunk(void (*fn)(uintptr_t lo, uintptr_t hi, void *arg), void *arg);

static inline bool stack_holds(const struct rt_co *co, uintptr_t addr)
{
	return addr >= co->stack_lo && addr < (uintptr_t)co;
}

/* co.c */
_Noreturn void co_entry(void);
/* Runnable soon: the caller sets fn, arg and what else it has, then queues it. NULL: no stack. */
struct rt_co *co_new(struct p *p, const struct rt_attr *attr, uintptr_t created_at);
int64_t co_count(void); /* alive */

static inline int64_t now_ns(void)
{
	return rt_now();
}
