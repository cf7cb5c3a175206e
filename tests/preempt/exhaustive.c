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

#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
#define DIRECTION_FLAG 0x400
#define RESUME_FLAG 0x10000
#define WAIT_NS (10 * RT_SEC)

enum { XSTATE_MAX = 8192, TRACE_MAX = 1 << 14, SAVED_FLAGS_AT = 4, TRIES = 5 };

const char *const step_action_names[STEP_ACTIONS] = {"same-thread", "other-thread", "stop"};

uint64_t step_call(uint64_t (*fn)(uint64_t seed), uint64_t seed);
extern const char step_call_end[], __start_rt_managed[], __stop_rt_managed[];

enum state { OFF, RECORD, RUN, OVER, INJECTED, AWAY, BACK };

/* What a program can see of the processor, in one form whatever XSAVE left out. */
struct seen {
	greg_t regs[NGREG];
	uint8_t vector[XSTATE_MAX];
};

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
	uint64_t hits_wanted, hits;
	unsigned traps;
	struct m *from;
	uint8_t *breakpoint, byte; /* NULL: none is set */
	struct seen before, after;
	struct step_report *report;
	struct helper taker, blocker;
	_Atomic int stop_wanted, end;
} st;

static bool is_managed(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_rt_managed && pc < (uintptr_t)__stop_rt_managed;
}

/* Comparing ----------------------------------------------------------------------------------- */

static void look_at_vector(const uint8_t *x, uint8_t *to)
{
	uint64_t there = ~0ull;
	uint32_t magic, size, offset, c, d;

	memcpy(&magic, x + 464, sizeof magic);
	if (magic == FP_XSTATE_MAGIC1)
		memcpy(&there, x + 512, sizeof there);
	memset(to, 0, XSTATE_MAX);
	memcpy(to + 24, x + 24, 4); /* MXCSR */
	if (there & 1) {
		memcpy(to, x, 5); /* control, status, tags */
		memcpy(to + 32, x + 32, 128);
	} else {
		to[0] = 0x7f;
		to[1] = 0x03;
	}
	if (there & 2)
		memcpy(to + 160, x + 160, 256);
	for (unsigned i = 2; magic == FP_XSTATE_MAGIC1 && i < 8; i++) {
		if (i == 3 || i == 4 || !(there & 1u << i))
			continue;
		__cpuid_count(0xd, i, size, offset, c, d);
		if (size && offset + size <= XSTATE_MAX)
			memcpy(to + offset, x + offset, size);
	}
}

static void look_at(const ucontext_t *u, struct seen *to)
{
	memcpy(to->regs, u->uc_mcontext.gregs, sizeof to->regs);
	to->regs[REG_EFL] &= ~(greg_t)(TRAP_FLAG | RESUME_FLAG);
	look_at_vector((const uint8_t *)u->uc_mcontext.fpregs, to->vector);
}

static void note_state(const char *what)
{
	struct step_report *r = st.report;

	if (!r->wrong_state++ && !r->first_wrong[0])
		snprintf(r->first_wrong, sizeof r->first_wrong, "at instruction %llu: %s",
			 (unsigned long long)st.target, what);
}

static void compare(void)
{
	static const int regs[] = {REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
				   REG_R15, REG_RDI, REG_RSI, REG_RBP, REG_RBX, REG_RDX, REG_RAX,
				   REG_RCX, REG_RSP, REG_RIP, REG_EFL};
	static const char *const names[] = {"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi",
					    "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
					    "flags"};
	char what[64] = "";

	for (unsigned i = 0; i < sizeof regs / sizeof *regs && !what[0]; i++)
		if (st.before.regs[regs[i]] != st.after.regs[regs[i]])
			snprintf(what, sizeof what, "%s %#llx became %#llx", names[i],
				 st.before.regs[regs[i]], st.after.regs[regs[i]]);
	for (unsigned i = 0; i < XSTATE_MAX && !what[0]; i++)
		if (st.before.vector[i] != st.after.vector[i])
			snprintf(what, sizeof what, "byte %u of the XSAVE area %#x became %#x", i,
				 st.before.vector[i], st.after.vector[i]);
	if (what[0])
		note_state(what);
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
	look_at(u, &st.before);
	st.from = m;
	st.traps = 0;
	if (st.action == STEP_STOP) {
		atomic_store(&st.stop_wanted, 1);
		if (!wait_until((_Atomic int *)&sched.stopping))
			st.report->not_taken++;
		preempt_interrupted(m, u, false);
		stop_tracing(regs, BACK);
		return;
	}
	if (st.action == STEP_OTHER)
		call(&st.blocker);
	atomic_store(&m->p->preempt, 1);
	preempt_interrupted(m, u, false);
	if ((uintptr_t)regs[REG_RIP] == pc) {
		st.report->not_taken++;
		stop_tracing(regs, BACK);
		return;
	}
	trace_on(regs);
	atomic_store(&st.state, INJECTED);
}

/* In the first pass: an instruction was executed, and this is where the next one is. */
static void record(greg_t *regs)
{
	uintptr_t pc = (uintptr_t)regs[REG_RIP], back;

	if (pc >= (uintptr_t)step_call && pc < (uintptr_t)step_call_end)
		return;
	if (is_managed(pc)) {
		if (st.n_trace < TRACE_MAX)
			st.trace[st.n_trace++] = pc;
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
	} else if (++st.hits == st.hits_wanted) {
		act(u);
	} else {
		trace_on(regs);
		atomic_store(&st.state, OVER);
	}
}

static void on_trap(int sig, siginfo_t *si, void *context)
{
	ucontext_t *u = context;
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
	case INJECTED:
		if (++st.traps == SAVED_FLAGS_AT)
			stop_tracing(regs, AWAY);
		return;
	case AWAY:
		if (!is_managed((uintptr_t)regs[REG_RIP]))
			return; /* the last instructions of rt_preempt_entry */
		look_at(u, &st.after);
		compare();
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

/* Helpers and passes -------------------------------------------------------------------------- */

static bool announce(struct rt_co *co, void *arg)
{
	struct helper *h = arg;

	atomic_store(&h->ready, 1);
	return true;
}

static void await_call(struct helper *h)
{
	atomic_store(&h->running, 0);
	co_park(WAIT_FOREVER, announce, h);
	/* What the worker left in the flags is not its successor's business. */
	if (__builtin_ia32_readeflags_u64() & DIRECTION_FLAG) {
		__asm__ volatile("cld");
		note_state("the direction flag is set in another coroutine");
	}
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

static void nothing(void *arg)
{
}

static void *stopper(void *arg)
{
	while (!atomic_load(&st.end)) {
		if (atomic_exchange(&st.stop_wanted, 0))
			rt_stop_world("exhaustive", nothing, NULL);
		rt_yield();
	}
	return NULL;
}

static void yield_until(_Atomic int *what)
{
	while (!atomic_load(what))
		rt_yield();
}

/* Until two passes went the same way. */
static uint64_t record_pass(const struct kernel *k, uint64_t seed)
{
	uint64_t value, last = 0;

	do {
		last = st.n_trace;
		st.n_trace = 0;
		atomic_store(&st.state, RECORD);
		value = step_call(k->fn, seed);
		atomic_store(&st.state, OFF);
	} while (st.n_trace != last);
	return value;
}

static uint64_t count_hits(uint64_t n)
{
	uint64_t hits = 0;

	for (uint64_t i = 0; i < n; i++)
		hits += st.trace[i] == st.trace[n - 1];
	return hits;
}

static uint64_t run_to(const struct kernel *k, uint64_t n, uint64_t seed)
{
	uint64_t value;

	if (st.action == STEP_OTHER) {
		yield_until(&st.blocker.ready);
		yield_until(&st.taker.ready);
	}
	st.target = n;
	st.hits = 0;
	st.hits_wanted = count_hits(n);
	atomic_store(&st.state, RUN);
	if (st.action == STEP_OTHER) {
		call(&st.taker);
		yield_until(&st.taker.running);
	}
	set_breakpoint(st.trace[n - 1]);
	value = k->fn(seed);
	if (st.breakpoint) { /* the kernel took another way this time */
		*st.breakpoint = st.byte;
		st.breakpoint = NULL;
		st.report->not_taken++;
	}
	atomic_store(&st.state, OFF);
	return value;
}

/* One turn in 61 the scheduler looks at the global queue first, and the worker stays where it was; and
 * sysmon's request makes a poll take its slow way. */
static uint64_t pass(const struct kernel *k, uint64_t n, uint64_t seed)
{
	uint64_t moved = st.report->moved, not_taken = st.report->not_taken;
	uint64_t value = run_to(k, n, seed);

	for (int i = 0; i < TRIES && (st.report->not_taken > not_taken ||
				      (st.action == STEP_OTHER && st.report->moved == moved)); i++) {
		st.report->not_taken = not_taken;
		value = run_to(k, n, seed);
	}
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

void step_kernel(const struct kernel *k, enum step_action a, struct step_report *ret)
{
	const uint64_t seed = 0x9e3779b97f4a7c15;
	uint64_t want = k->fn(seed);
	struct rt_co *stops = NULL;

	memset(ret, 0, sizeof *ret);
	memset(&st, 0, sizeof st);
	st.report = ret;
	st.action = a;
	if (a == STEP_STOP)
		stops = rt_spawn(stopper, NULL, NULL);
	if (a == STEP_OTHER) {
		st.taker.co = rt_spawn(take, NULL, NULL);
		st.blocker.co = rt_spawn(block, NULL, NULL);
	}
	ret->wrong_value += record_pass(k, seed) != want;
	ret->instructions = st.n_trace;
	ret->addresses = count_addresses();
	for (uint64_t n = 1; n <= ret->instructions; n++) {
		uint64_t got = pass(k, n, seed);

		if (got != want && !ret->wrong_value++ && !ret->first_wrong[0])
			snprintf(ret->first_wrong, sizeof ret->first_wrong,
				 "at instruction %llu: the kernel's value is %#llx, not %#llx",
				 (unsigned long long)n, (unsigned long long)got, (unsigned long long)want);
	}
	if (a == STEP_OTHER) {
		yield_until(&st.taker.ready);
		yield_until(&st.blocker.ready);
	}
	atomic_store(&st.end, 1);
	end_helper(&st.taker);
	end_helper(&st.blocker);
	if (stops)
		rt_join(stops, NULL);
}
