/*
 * The trap handler is a small state machine:
 *
 *   COUNT     instructions of managed text go by, until it is the k-th: then the coroutine is sent
 *             away as preempt_interrupted() does it, or the thread held for a stopped world
 *   INJECTED  the first instructions of rt_preempt_entry: until it has saved the flags, with the
 *             trap flag in them
 *   AWAY      full speed; when the flags are restored, possibly on another thread, the trap comes
 *             back right at the interrupted instruction: everything is compared
 *   BACK      the kernel runs to its end at full speed
 *
 * The runtime runs in cooperative mode, so that no other signal mixes in; the path from
 * preempt_interrupted() on is the one that SIGURG takes.
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
#define RESUME_FLAG 0x10000
#define WAIT_NS (10 * RT_SEC)

enum { XSTATE_MAX = 8192, ADDRESSES = 1 << 16, SAVED_FLAGS_AT = 4 };

const char *const step_action_names[STEP_ACTIONS] = {"same-thread", "other-thread", "stop"};

uint64_t step_call(uint64_t (*fn)(uint64_t seed), uint64_t seed);
extern const char step_call_end[], __start_rt_managed[], __stop_rt_managed[];

enum state { OFF, COUNT, INJECTED, AWAY, BACK };

/* What a program can see of the processor, in one form whatever XSAVE left out. */
struct seen {
	greg_t regs[NGREG];
	uint8_t vector[XSTATE_MAX];
};

static struct {
	_Atomic int state;
	struct rt_co *worker;
	enum step_action action;
	uint64_t target, seen_n;
	unsigned traps;
	struct m *from;
	uint8_t *breakpoint, byte;
	struct seen before, after;
	struct step_report *report;
	uint8_t covered[ADDRESSES];
	/* Coroutines that help: one to keep the old thread busy, one to stop the world. */
	struct rt_co *blocker;
	_Atomic int blocker_waits, stop_wanted, end;
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

static void compare(void)
{
	static const int regs[] = {REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
				   REG_R15, REG_RDI, REG_RSI, REG_RBP, REG_RBX, REG_RDX, REG_RAX,
				   REG_RCX, REG_RSP, REG_RIP, REG_EFL};
	static const char *const names[] = {"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi",
					    "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp", "rip",
					    "flags"};
	struct step_report *r = st.report;
	char what[64] = "";

	for (unsigned i = 0; i < sizeof regs / sizeof *regs && !what[0]; i++)
		if (st.before.regs[regs[i]] != st.after.regs[regs[i]])
			snprintf(what, sizeof what, "%s %#llx became %#llx", names[i],
				 st.before.regs[regs[i]], st.after.regs[regs[i]]);
	for (unsigned i = 0; i < XSTATE_MAX && !what[0]; i++)
		if (st.before.vector[i] != st.after.vector[i])
			snprintf(what, sizeof what, "byte %u of the XSAVE area %#x became %#x", i,
				 st.before.vector[i], st.after.vector[i]);
	if (!what[0])
		return;
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

static bool wait_until(_Atomic int *what)
{
	int64_t until = rt_now() + WAIT_NS;

	while (!atomic_load(what) && rt_now() < until)
		__builtin_ia32_pause();
	return atomic_load(what);
}

static void act(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;
	struct m *m = this_m();
	uintptr_t pc = (uintptr_t)regs[REG_RIP];

	st.report->passes++;
	st.covered[(pc - (uintptr_t)__start_rt_managed) % ADDRESSES] = 1;
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
	if (st.action == STEP_OTHER) {
		if (!wait_until(&st.blocker_waits))
			st.report->not_taken++;
		co_ready(st.blocker);
	}
	atomic_store(&m->p->preempt, 1);
	preempt_interrupted(m, u, false);
	if ((uintptr_t)regs[REG_RIP] == pc) {
		st.report->not_taken++;
		stop_tracing(regs, BACK);
		return;
	}
	atomic_store(&st.state, INJECTED);
}

/* A call out of managed text: to its return address at full speed. */
static void run_until_return(greg_t *regs)
{
	uint8_t *back;

	memcpy(&back, (void *)regs[REG_RSP], sizeof back);
	st.breakpoint = back;
	st.byte = *back;
	*back = 0xcc;
	regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void count(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;
	uintptr_t pc = (uintptr_t)regs[REG_RIP];

	if (pc >= (uintptr_t)step_call && pc < (uintptr_t)step_call_end)
		return;
	if (!is_managed(pc)) {
		run_until_return(regs);
		return;
	}
	if (++st.seen_n == st.target)
		act(u);
}

static void on_trap(int sig, siginfo_t *si, void *context)
{
	ucontext_t *u = context;
	greg_t *regs = u->uc_mcontext.gregs;

	if (st.breakpoint && (uint8_t *)regs[REG_RIP] == st.breakpoint + 1) {
		*st.breakpoint = st.byte;
		regs[REG_RIP] = (greg_t)(uintptr_t)st.breakpoint;
		regs[REG_EFL] |= TRAP_FLAG;
		st.breakpoint = NULL;
	}
	switch ((enum state)atomic_load(&st.state)) {
	case COUNT:
		count(u);
		return;
	case INJECTED:
		if (++st.traps == SAVED_FLAGS_AT)
			stop_tracing(regs, AWAY);
		return;
	case AWAY:
		look_at(u, &st.after);
		compare();
		st.report->moved += this_m() != st.from;
		stop_tracing(regs, BACK);
		return;
	case OFF:
	case BACK:
		regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
		return;
	}
}

/* Helpers and passes -------------------------------------------------------------------------- */

static bool announce(struct rt_co *co, void *arg)
{
	atomic_store(&st.blocker_waits, 1);
	return true;
}

/* Holds the thread that the worker left, until the worker is back elsewhere. */
static void *block(void *arg)
{
	while (!atomic_load(&st.end)) {
		int64_t until;

		co_park(WAIT_FOREVER, announce, NULL);
		atomic_store(&st.blocker_waits, 0);
		until = rt_now() + WAIT_NS;
		while (!atomic_load(&st.end) && atomic_load(&st.state) != BACK && rt_now() < until)
			__builtin_ia32_pause();
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

static uint64_t pass(const struct kernel *k, enum step_action a, uint64_t target, uint64_t seed)
{
	uint64_t value;

	st.worker = rt_self();
	st.action = a;
	st.target = target;
	st.seen_n = 0;
	atomic_store(&st.state, COUNT);
	value = step_call(k->fn, seed);
	atomic_store(&st.state, OFF);
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

void step_kernel(const struct kernel *k, enum step_action a, struct step_report *ret)
{
	const uint64_t seed = 0x9e3779b97f4a7c15;
	uint64_t want = k->fn(seed), first;
	struct rt_co *helper = NULL;

	memset(ret, 0, sizeof *ret);
	memset(st.covered, 0, sizeof st.covered);
	st.report = ret;
	atomic_store(&st.end, 0);
	atomic_store(&st.stop_wanted, 0);
	atomic_store(&st.blocker_waits, 0);
	if (a == STEP_OTHER)
		st.blocker = helper = rt_spawn(block, NULL, NULL);
	else if (a == STEP_STOP)
		helper = rt_spawn(stopper, NULL, NULL);
	first = pass(k, a, UINT64_MAX, seed);
	ret->instructions = st.seen_n;
	ret->wrong_value += first != want;
	for (uint64_t n = 1; n <= ret->instructions; n++) {
		uint64_t got;

		while (a == STEP_OTHER && !atomic_load(&st.blocker_waits))
			rt_yield();
		got = pass(k, a, n, seed);
		if (got != want && !ret->wrong_value++ && !ret->first_wrong[0])
			snprintf(ret->first_wrong, sizeof ret->first_wrong,
				 "at instruction %llu: the kernel's value is %#llx, not %#llx",
				 (unsigned long long)n, (unsigned long long)got, (unsigned long long)want);
	}
	for (unsigned i = 0; i < ADDRESSES; i++)
		ret->addresses += st.covered[i];
	atomic_store(&st.end, 1);
	if (a == STEP_OTHER) {
		while (!atomic_load(&st.blocker_waits))
			rt_yield();
		co_ready(helper);
	}
	if (helper)
		rt_join(helper, NULL);
}
