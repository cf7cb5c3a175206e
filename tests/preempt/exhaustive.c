/*
 * The first pass steps through the kernel and records its program counters; pass k runs at full
 * speed to a breakpoint at the k-th of them (a trap costs 60 us in a virtual machine: stepping anew
 * every time would take hours). The trap handler is a small state machine:
 *
 *   RECORD    stepping; calls out of managed text run at full speed to their return address
 *   RUN       full speed, until the breakpoint has been hit as often as in the recorded trace:
 *             then the coroutine is sent away as preempt_interrupted() does it, or the thread held
 *             for a stopped world
 *   OVER      one step over a hit that was not the right one yet
 *   WALK      for a stop in foreign code, which other threads run too and no breakpoint can be set
 *             in: stepping from the managed call on
 *   INJECTED  the first instructions of rt_preempt_entry: until it has saved the flags, with the
 *             trap flag in them
 *   AWAY      full speed; when the flags are restored, possibly on another thread, the trap comes
 *             back right at the interrupted instruction: everything is compared
 *   BACK      the kernel runs to its end at full speed
 *
 * The runtime runs in cooperative mode, so that no other signal mixes in; the path from
 * preempt_interrupted() on is the one that SIGURG takes.
 *
 * To resume on another thread, one coroutine (the taker) keeps the other P busy until the worker lies
 * in the global queue, and another (the blocker) takes the worker's place on its thread.
 */
#include "exhaustive.h"

#include "../../runtime/sched/sched.h"

#include "seen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define WAIT_NS (10 * RT_SEC)
#define SEED 0x9e3779b97f4a7c15

enum {
	TRACE_MAX = 1 << 14,
	SAVED_FLAGS_AT = 4,
	TRIES = 50,
	FOREIGN_MAX = 200,
	RECORDS_MIN = 4,
	RECORDS_MAX = 200,
};

const char *const step_action_names[STEP_ACTIONS] = {"same-thread", "other-thread", "stop"};

uint64_t step_call(uint64_t (*fn)(uint64_t seed), uint64_t seed);
extern const char step_call_end[], __start_rt_managed[], __stop_rt_managed[], __start_rt_text[],
	__stop_rt_text[];

enum state { OFF, RECORD, RUN, OVER, WALK, INJECTED, AWAY, BACK };

/* A coroutine that is asked for in each pass and waits between. */
struct helper {
	struct rt_co *co;
	_Atomic int ready, running;
};

static struct {
	_Atomic int state;
	enum step_action action;
	uintptr_t trace[TRACE_MAX];
	uint64_t n_trace, target; /* from 1 */
	/* foreign_after[i]: instructions of foreign code between i and the next managed one. */
	uint32_t foreign_after[TRACE_MAX];
	uint64_t foreign; /* to act at, from 1 after the target; 0: at the target itself */
	bool walks;       /* the first pass steps through foreign code as well */
	uint64_t hits_wanted, hits, walked;
	unsigned traps;
	struct m *from;
	uint8_t *breakpoint, byte; /* NULL: none is set */
	struct seen before, after;
	struct step_report *report;
	struct helper taker, blocker;
	_Atomic int stop_wanted, end;
	_Atomic uint64_t stops;
	const char *why_not; /* taken */
	struct rt_co *bystander, *stopper;
} st;

static bool is_managed(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_rt_managed && pc < (uintptr_t)__stop_rt_managed;
}

static void note_not_taken(const char *why)
{
	st.report->not_taken++;
	st.why_not = why;
}

static bool is_runtime(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_rt_text && pc < (uintptr_t)__stop_rt_text;
}

static void note_state(const char *what)
{
	struct step_report *r = st.report;

	if (!r->wrong_state++ && !r->first_wrong[0])
		snprintf(r->first_wrong, sizeof r->first_wrong, "at instruction %llu: %s",
			 (unsigned long long)st.target, what);
}

/* The trap ------------------------------------------------------------------------------------ */

static void stop_tracing(greg_t *regs, enum state s)
{
	regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	atomic_store(&st.state, s);
}

static void trace_on(greg_t *regs)
{
	regs[REG_EFL] |= TRAP_FLAG;
}

static void set_breakpoint(uintptr_t at)
{
	st.breakpoint = (uint8_t *)at;
	st.byte = *st.breakpoint;
	*st.breakpoint = 0xcc;
}

static bool wait_until(_Atomic int *what)
{
	int64_t until = rt_now() + WAIT_NS;

	while (!atomic_load(what) && rt_now() < until)
		__builtin_ia32_pause();
	return atomic_load(what);
}

static void call(struct helper *h);

static void act(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;
	struct m *m = this_m();
	uintptr_t pc = (uintptr_t)regs[REG_RIP];

	st.report->passes++;
	seen_take(u, &st.before);
	st.from = m;
	st.traps = 0;
	if (st.action == STEP_STOP) {
		uint64_t stops = atomic_load(&st.stops);

		atomic_store(&st.stop_wanted, 1);
		wait_until((_Atomic int *)&sched.stopping);
		preempt_interrupted(m, u, false);
		/* Held here, the thread has seen the world stopped and go on. */
		if (atomic_load(&st.stops) == stops)
			note_not_taken("the thread was not held");
		stop_tracing(regs, BACK);
		return;
	}
	if (st.action == STEP_OTHER)
		call(&st.blocker);
	atomic_store(&m->p->preempt, 1);
	preempt_interrupted(m, u, false);
	if ((uintptr_t)regs[REG_RIP] == pc) {
		note_not_taken("the request was refused");
		stop_tracing(regs, BACK);
		return;
	}
	trace_on(regs);
	atomic_store(&st.state, INJECTED);
}

/* Stepping is slow: without this sysmon asks the coroutine to leave, and the next poll takes its
 * slow way. */
static void be_new_to_sysmon(void)
{
	struct p *p = this_m()->p;

	if (!p)
		return;
	count_up(&p->tick);
	atomic_store(&p->preempt, 0);
	preempt_poll_settle();
}

/* In the first pass: an instruction was executed, and this is where the next one is. */
static void record(greg_t *regs)
{
	uintptr_t pc = (uintptr_t)regs[REG_RIP], back;

	if (pc >= (uintptr_t)step_call && pc < (uintptr_t)step_call_end)
		return;
	be_new_to_sysmon();
	if (is_managed(pc)) {
		if (st.n_trace < TRACE_MAX) {
			st.foreign_after[st.n_trace] = 0;
			st.trace[st.n_trace++] = pc;
		}
		return;
	}
	if (st.walks && !is_runtime(pc)) {
		if (st.n_trace)
			st.foreign_after[st.n_trace - 1]++;
		return;
	}
	/* A call out of managed text. */
	memcpy(&back, (void *)regs[REG_RSP], sizeof back);
	set_breakpoint(back);
	regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void on_breakpoint(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;

	*st.breakpoint = st.byte;
	regs[REG_RIP] = (greg_t)(uintptr_t)st.breakpoint;
	st.breakpoint = NULL;
	if (atomic_load(&st.state) == RECORD) {
		trace_on(regs);
		record(regs);
	} else if (++st.hits == st.hits_wanted && !st.foreign) {
		act(u);
	} else if (st.hits == st.hits_wanted) {
		st.walked = 0;
		trace_on(regs);
		atomic_store(&st.state, WALK);
	} else {
		trace_on(regs);
		atomic_store(&st.state, OVER);
	}
}

static void compare(const ucontext_t *u)
{
	char what[80];

	seen_take(u, &st.after);
	if (seen_differ(&st.before, &st.after, what, sizeof what))
		note_state(what);
}

static void trapped(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;

	if (st.breakpoint && (uint8_t *)regs[REG_RIP] == st.breakpoint + 1) {
		on_breakpoint(u);
		return;
	}
	switch ((enum state)atomic_load(&st.state)) {
	case RECORD:
		record(regs);
		return;
	case OVER:
		set_breakpoint(st.trace[st.target - 1]);
		stop_tracing(regs, RUN);
		return;
	case WALK:
		be_new_to_sysmon();
		if (is_runtime((uintptr_t)regs[REG_RIP]) || ++st.walked < st.foreign)
			return;
		act(u);
		return;
	case INJECTED:
		if (++st.traps == SAVED_FLAGS_AT)
			stop_tracing(regs, AWAY);
		return;
	case AWAY:
		if (!is_managed((uintptr_t)regs[REG_RIP]))
			return; /* the last instructions of rt_preempt_entry */
		compare(u);
		st.report->moved += this_m() != st.from;
		stop_tracing(regs, BACK);
		return;
	case OFF:
	case RUN:
	case BACK:
		regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
		return;
	}
}

static void on_trap(int sig, siginfo_t *si, void *context)
{
	int saved = errno;

	trapped(context);
	errno = saved;
}

/* Helpers and passes -------------------------------------------------------------------------- */

static bool announce(struct rt_co *co, void *arg)
{
	struct helper *h = arg;

	atomic_store(&h->ready, 1);
	return true;
}

static void await_call(struct helper *h)
{
	const char *wrong;

	atomic_store(&h->running, 0);
	co_park(WAIT_FOREVER, announce, h);
	wrong = seen_foreign_state();
	if (wrong)
		note_state(wrong);
	atomic_store(&h->running, 1);
}

/* It may start late: it is ready for the next call only when it waits again. */
static void call(struct helper *h)
{
	atomic_store(&h->ready, 0);
	co_ready(h->co);
}

static bool worker_is_queued(void)
{
	return atomic_load(&st.state) == AWAY && atomic_load(&sched.global_n) > 0;
}

static bool worker_is_back(void)
{
	return atomic_load(&st.state) == BACK || atomic_load(&st.state) == OFF;
}

/* Foreign code with an eye on the clock: a lost worker shows as a count, not as a hang. */
static void spin_until(bool (*done)(void))
{
	int64_t until = rt_now() + WAIT_NS;

	while (!done() && !atomic_load(&st.end) && rt_now() < until)
		__builtin_ia32_pause();
}

static bool queued_or_back(void)
{
	return worker_is_queued() || worker_is_back();
}

static void *take(void *arg)
{
	while (!atomic_load(&st.end)) {
		await_call(&st.taker);
		spin_until(queued_or_back);
	}
	return NULL;
}

static void *block(void *arg)
{
	while (!atomic_load(&st.end)) {
		await_call(&st.blocker);
		spin_until(worker_is_back);
	}
	return NULL;
}

/* Whom the worker leaves its thread to when it is to come back to the same one. */
static void *stand_by(void *arg)
{
	while (!atomic_load(&st.end)) {
		const char *wrong = seen_across_yield();

		if (wrong)
			note_state(wrong);
	}
	return NULL;
}

static void count_stop(void *arg)
{
	atomic_fetch_add(&st.stops, 1);
}

static void *stopper(void *arg)
{
	while (!atomic_load(&st.end)) {
		if (atomic_exchange(&st.stop_wanted, 0))
			rt_stop_world("exhaustive", count_stop, NULL);
		rt_yield();
	}
	return NULL;
}

static void yield_until(_Atomic int *what)
{
	while (!atomic_load(what))
		rt_yield();
}

/* A pass in which a poll took its slow way is longer than the others: the shortest trace that came
 * twice. */
static bool record_pass(const struct kernel *k, uint64_t seed, uint64_t *ret_value)
{
	static uintptr_t shortest[TRACE_MAX];
	uint64_t n_shortest = UINT64_MAX;

	for (int i = 0; i < RECORDS_MAX; i++) {
		bool same;

		st.n_trace = 0;
		atomic_store(&st.state, RECORD);
		*ret_value = step_call(k->fn, seed);
		atomic_store(&st.state, OFF);
		same = st.n_trace == n_shortest &&
		       !memcmp(st.trace, shortest, n_shortest * sizeof *shortest);
		if (same && i >= RECORDS_MIN)
			return true;
		if (st.n_trace < n_shortest) {
			n_shortest = st.n_trace;
			memcpy(shortest, st.trace, n_shortest * sizeof *shortest);
		}
	}
	return false;
}

static uint64_t count_hits(uint64_t n)
{
	uint64_t hits = 0;

	for (uint64_t i = 0; i < n; i++)
		hits += st.trace[i] == st.trace[n - 1];
	return hits;
}

static uint64_t run_to(const struct kernel *k, uint64_t n, uint64_t foreign, uint64_t seed)
{
	uint64_t value;

	if (st.action == STEP_OTHER) {
		yield_until(&st.blocker.ready);
		yield_until(&st.taker.ready);
	}
	st.target = n;
	st.foreign = foreign;
	st.hits = 0;
	st.hits_wanted = count_hits(n);
	atomic_store(&st.state, RUN);
	if (st.action == STEP_OTHER) {
		call(&st.taker);
		yield_until(&st.taker.running);
	}
	be_new_to_sysmon();
	set_breakpoint(st.trace[n - 1]);
	value = k->fn(seed);
	if (st.breakpoint) { /* the kernel took another way this time */
		*st.breakpoint = st.byte;
		st.breakpoint = NULL;
		note_not_taken("the kernel took another way");
	} else if (atomic_load(&st.state) == WALK) {
		note_not_taken("the foreign code took another way");
	}
	atomic_store(&st.state, OFF);
	return value;
}

/* One turn in 61 the scheduler looks at the global queue first, and the worker stays where it was; and
 * sysmon's request makes a poll take its slow way. */
static uint64_t pass(const struct kernel *k, uint64_t n, uint64_t foreign, uint64_t seed)
{
	uint64_t moved = st.report->moved, not_taken = st.report->not_taken;
	uint64_t value = run_to(k, n, foreign, seed);

	for (int i = 0; i < TRIES && (st.report->not_taken > not_taken ||
				      (st.action == STEP_OTHER && st.report->moved == moved)); i++) {
		st.report->not_taken = not_taken;
		value = run_to(k, n, foreign, seed);
	}
	if (st.report->not_taken > not_taken && !st.report->first_wrong[0])
		snprintf(st.report->first_wrong, sizeof st.report->first_wrong, "at instruction %llu: %s",
			 (unsigned long long)n, st.why_not);
	return value;
}

void step_init(void)
{
	struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	uintptr_t lo = (uintptr_t)__start_rt_managed & ~(uintptr_t)4095;

	sigfillset(&sa.sa_mask);
	sigaction(SIGTRAP, &sa, NULL);
	mprotect((void *)lo, (uintptr_t)__stop_rt_managed - lo, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static uint64_t count_addresses(void)
{
	uint64_t n = 0;

	for (uint64_t i = 1; i <= st.n_trace; i++)
		n += count_hits(i) == 1;
	return n;
}

static void end_helper(struct helper *h)
{
	if (!h->co)
		return;
	co_ready(h->co);
	rt_join(h->co, NULL);
}

static void check_pass(const struct kernel *k, uint64_t n, uint64_t foreign, uint64_t want)
{
	struct step_report *r = st.report;
	uint64_t got = pass(k, n, foreign, SEED);

	if (got != want && !r->wrong_value++ && !r->first_wrong[0])
		snprintf(r->first_wrong, sizeof r->first_wrong,
			 "at instruction %llu + %llu: the kernel's value is %#llx, not %#llx",
			 (unsigned long long)n, (unsigned long long)foreign, (unsigned long long)got,
			 (unsigned long long)want);
}

/* Evenly spread over the foreign instructions of the trace. */
static void check_foreign(const struct kernel *k, uint64_t want)
{
	uint64_t all = 0, every, seen = 0;

	for (uint64_t i = 0; i < st.n_trace; i++)
		all += st.foreign_after[i];
	every = all / FOREIGN_MAX + 1;
	for (uint64_t i = 0; i < st.n_trace; i++)
		for (uint32_t f = 1; f <= st.foreign_after[i]; f++)
			if (++seen % every == 0) {
				st.report->foreign++;
				check_pass(k, i + 1, f, want);
			}
}

static void begin_helpers(void)
{
	if (st.action == STEP_STOP)
		st.stopper = rt_spawn(stopper, NULL, NULL);
	if (st.action == STEP_SAME)
		st.bystander = rt_spawn(stand_by, NULL, NULL);
	if (st.action == STEP_OTHER) {
		st.taker.co = rt_spawn(take, NULL, NULL);
		st.blocker.co = rt_spawn(block, NULL, NULL);
	}
}

static void end_helpers(void)
{
	if (st.action == STEP_OTHER) {
		yield_until(&st.taker.ready);
		yield_until(&st.blocker.ready);
	}
	atomic_store(&st.end, 1);
	end_helper(&st.taker);
	end_helper(&st.blocker);
	if (st.stopper)
		rt_join(st.stopper, NULL);
	if (st.bystander)
		rt_join(st.bystander, NULL);
}

void step_kernel(const struct kernel *k, enum step_action a, struct step_report *ret)
{
	uint64_t want = k->fn(SEED), got;

	memset(ret, 0, sizeof *ret);
	memset(&st, 0, sizeof st);
	st.report = ret;
	st.action = a;
	st.walks = a == STEP_STOP && k->calls_foreign;
	begin_helpers();
	if (!record_pass(k, SEED, &got) && ++ret->not_taken)
		snprintf(ret->first_wrong, sizeof ret->first_wrong, "no two passes went the same way");
	ret->wrong_value += got != want;
	ret->instructions = st.n_trace;
	ret->addresses = count_addresses();
	for (uint64_t n = 1; n <= ret->instructions; n++)
		check_pass(k, n, 0, want);
	check_foreign(k, want);
	end_helpers();
}
