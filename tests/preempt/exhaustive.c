/*
 * The first pass steps through the kernel and records its program counters; pass k runs at full
 * speed to a breakpoint at the k-th of them (a trap costs 60 us in a virtual machine: stepping anew
 * every time would take hours). The trap handler is a small state machine:
 *
 *   RECORD    stepping; calls out of managed text run at full speed to their return address
 *   RUN       full speed, until the breakpoint has been hit as often as in the recorded trace:
 *             then the action is done (actions.h)
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
 */
#include "exhaustive.h"

#include "../../runtime/sched/sched.h"

#include "actions.h"
#include "seen.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define SEED 0x9e3779b97f4a7c15

enum {
	TRACE_MAX = 1 << 14,
	SAVED_FLAGS_AT = 4,
	TRIES = 50,
	FOREIGN_MAX = 200,
	RECORDS_MIN = 4,
	RECORDS_MAX = 200,
};

uint64_t step_call(uint64_t (*fn)(uint64_t seed), uint64_t seed);
extern const char step_call_end[], __start_rt_managed[], __stop_rt_managed[], __start_rt_text[],
	__stop_rt_text[];

enum state { OFF, RECORD, RUN, OVER, WALK, INJECTED, AWAY, BACK };

/* Not global variables, which the collector would search in its pauses. */
static struct {
	uintptr_t pc[TRACE_MAX], shortest[TRACE_MAX];
	uint32_t foreign_after[TRACE_MAX]; /* instructions of foreign code up to the next managed one */
	struct seen before, after;
} *big;

static struct {
	_Atomic int state;
	const struct action *action;
	uint64_t n_trace, target; /* from 1 */
	uint64_t foreign; /* to act at, from 1 after the target; 0: at the target itself */
	bool polled_slowly; /* the pass that is recorded: it does not count */
	bool walks;       /* the first pass steps through foreign code as well */
	uint64_t hits_wanted, hits, walked;
	unsigned traps;
	struct m *from;
	uint8_t *breakpoint, byte; /* NULL: none is set */
	struct rt_co *worker;
	struct step_report *report;
	const char *why_not; /* taken */
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

static void act(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;
	uintptr_t pc = (uintptr_t)regs[REG_RIP];
	const char *why_not;

	st.report->passes++;
	seen_take(u, &big->before);
	st.from = this_m();
	st.traps = 0;
	why_not = st.action->act(st.from, u);
	if (why_not)
		note_not_taken(why_not);
	if ((uintptr_t)regs[REG_RIP] == pc) {
		stop_tracing(regs, BACK);
		return;
	}
	trace_on(regs);
	atomic_store(&st.state, INJECTED);
}

/* One would make a poll take its slow way. So would one to another P, and on a busy machine it stands
 * for long: its thread must have a processor to answer. sysmon repeats it. */
static void forget_requests(void)
{
	struct p *p = this_m()->p;

	if (p)
		atomic_store(&p->preempt, 0);
	*rt_poll_word = 0;
}

/* Stepping is slow: without this sysmon asks. Not at each breakpoint: many ticks are many switches to the
 * scheduler, which then looks at the global queue first. */
static void be_new_to_sysmon(void)
{
	struct p *p = this_m()->p;

	if (p)
		count_up(&p->tick);
	forget_requests();
}

/* In the first pass: an instruction was executed, and this is where the next one is. */
static void record(greg_t *regs)
{
	uintptr_t pc = (uintptr_t)regs[REG_RIP], back;

	if (pc >= (uintptr_t)step_call && pc < (uintptr_t)step_call_end)
		return;
	be_new_to_sysmon();
	st.polled_slowly |= pc == (uintptr_t)rt_poll_slow;
	if (is_managed(pc)) {
		if (st.n_trace < TRACE_MAX) {
			big->foreign_after[st.n_trace] = 0;
			big->pc[st.n_trace++] = pc;
		}
		return;
	}
	if (st.walks && !is_runtime(pc)) {
		if (st.n_trace)
			big->foreign_after[st.n_trace - 1]++;
		return;
	}
	/* A call out of managed text. */
	memcpy(&back, (void *)regs[REG_RSP], sizeof back);
	if (is_managed(back)) /* else it is the kernel's last, a jump */
		set_breakpoint(back);
	regs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void on_breakpoint(ucontext_t *u)
{
	greg_t *regs = u->uc_mcontext.gregs;

	*st.breakpoint = st.byte;
	regs[REG_RIP] = (greg_t)(uintptr_t)st.breakpoint;
	forget_requests();
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

	seen_take(u, &big->after);
	if (seen_differ(&big->before, &big->after, what, sizeof what))
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
		forget_requests();
		set_breakpoint(big->pc[st.target - 1]);
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

/* Passes -------------------------------------------------------------------------------------- */

struct rt_co *worker_co(void)
{
	return st.worker;
}

bool worker_is_away(void)
{
	return atomic_load(&st.state) == AWAY;
}

bool worker_is_back(void)
{
	return atomic_load(&st.state) == BACK || atomic_load(&st.state) == OFF;
}

void worker_note(const char *wrong_state)
{
	if (wrong_state)
		note_state(wrong_state);
}

void worker_not_taken(const char *why)
{
	note_not_taken(why);
}

/* The shortest trace that came twice, of passes in which no poll took its slow way. */
static bool record_pass(const struct kernel *k, uint64_t seed, uint64_t *ret_value)
{
	uint64_t n_shortest = UINT64_MAX;

	for (int i = 0; i < RECORDS_MAX; i++) {
		bool same;

		st.n_trace = 0;
		st.polled_slowly = false;
		atomic_store(&st.state, RECORD);
		*ret_value = step_call(k->fn, seed);
		atomic_store(&st.state, OFF);
		if (st.polled_slowly)
			continue;
		same = st.n_trace == n_shortest &&
		       !memcmp(big->pc, big->shortest, n_shortest * sizeof *big->pc);
		if (same && i >= RECORDS_MIN)
			return true;
		if (st.n_trace < n_shortest) {
			n_shortest = st.n_trace;
			memcpy(big->shortest, big->pc, n_shortest * sizeof *big->pc);
		}
	}
	return false;
}

static uint64_t count_hits(uint64_t n)
{
	uint64_t hits = 0;

	for (uint64_t i = 0; i < n; i++)
		hits += big->pc[i] == big->pc[n - 1];
	return hits;
}

static uint64_t run_to(const struct kernel *k, uint64_t n, uint64_t foreign, uint64_t seed)
{
	uint64_t value;

	if (st.action->settle)
		st.action->settle();
	st.target = n;
	st.foreign = foreign;
	st.hits = 0;
	st.hits_wanted = count_hits(n);
	atomic_store(&st.state, RUN);
	if (st.action->prepare)
		st.action->prepare();
	be_new_to_sysmon();
	set_breakpoint(big->pc[n - 1]);
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

/* One turn in 61 the scheduler looks at the global queue first, and the worker stays where it was; and a
 * request between two traps makes a poll take its slow way. */
static uint64_t pass(const struct kernel *k, uint64_t n, uint64_t foreign, uint64_t seed)
{
	uint64_t moved = st.report->moved, not_taken = st.report->not_taken;
	uint64_t value = run_to(k, n, foreign, seed);

	for (int i = 0; i < TRIES && (st.report->not_taken > not_taken ||
				      (st.action->moves && st.report->moved == moved)); i++) {
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

	big = calloc(1, sizeof *big);
	if (!big)
		abort();
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
		all += big->foreign_after[i];
	every = all / FOREIGN_MAX + 1;
	for (uint64_t i = 0; i < st.n_trace; i++)
		for (uint32_t f = 1; f <= big->foreign_after[i]; f++)
			if (++seen % every == 0) {
				st.report->foreign++;
				check_pass(k, i + 1, f, want);
			}
}

void step_kernel(const struct kernel *k, const struct action *a, struct step_report *ret)
{
	uint64_t want = k->fn(SEED), got;

	memset(ret, 0, sizeof *ret);
	memset(&st, 0, sizeof st);
	st.worker = this_co();
	st.report = ret;
	st.action = a;
	st.walks = a->anywhere && k->calls_foreign;
	a->begin();
	if (!record_pass(k, SEED, &got) && ++ret->not_taken)
		snprintf(ret->first_wrong, sizeof ret->first_wrong, "no two passes went the same way");
	ret->wrong_value += got != want;
	ret->instructions = st.n_trace;
	ret->addresses = count_addresses();
	for (uint64_t n = 1; n <= ret->instructions; n++)
		check_pass(k, n, 0, want);
	check_foreign(k, want);
	a->end();
}
