/*
 * Preemption: a coroutine leaves its thread at a poll, or between any two instructions of managed
 * text.
 *
 * The signal handler does not switch: it changes the interrupted context so that the thread,
 * back from the handler, has called rt_preempt_entry (preempt_x86_64.S), which saves every register,
 * leaves through the scheduler like any other coroutine, and later restores and returns to the
 * interrupted instruction. The call skips the red zone.
 *
 * Only managed text may be left so: elsewhere the thread may hold a lock of libc or an address of
 * the thread's own. There the poll word stays set, and the next poll, at the latest the end of the
 * next call of rt.h, does it.
 */
#include "../obs/obs.h"
#include "switch.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	STACK_ROOM = 4 << 10, /* left for the scheduler's own frames */
	/* x87, SSE, AVX, and AVX-512's three parts; not PKRU, which is the thread's */
	XSAVE_WANTED = 0xe7,
	XSAVE_LEGACY_BYTES = 512 + 64,
};

/* A page of its own, so that it can be closed. */
volatile uint32_t rt_poll_word[PAGE / sizeof(uint32_t)]
	__attribute__((aligned(PAGE), section(".bss.rt_poll")));
/* The same word where the page is never closed. */
static volatile uint32_t *poll_word = rt_poll_word;

/* Of preempt_x86_64.S. */
void rt_preempt_entry(void);
extern uint32_t rt_xsave_mask, rt_xsave_bytes, rt_has_avx;
uint32_t rt_xsave_mask, rt_xsave_bytes, rt_has_avx;

/* Text that runtime/managed and the runtime's own build have put aside. */
extern const char __start_rt_managed[] __attribute__((weak, visibility("hidden")));
extern const char __stop_rt_managed[] __attribute__((weak, visibility("hidden")));
extern const char __start_rt_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_rt_text[] __attribute__((weak, visibility("hidden")));

static bool is_in(uintptr_t pc, const char *start, const char *stop)
{
	return start && pc >= (uintptr_t)start && pc < (uintptr_t)stop;
}

static void map_page_twice(void)
{
	int fd = memfd_create("rt_poll", MFD_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd >= 0 && ftruncate(fd, PAGE) == 0)
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED ||
	    mmap((void *)rt_poll_word, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		rt_fatal("cannot map the polling page: %s", strerror(errno));
	close(fd);
	poll_word = p;
}

bool preempt_is_managed(uintptr_t pc)
{
	return is_in(pc, __start_rt_managed, __stop_rt_managed);
}

void preempt_init(enum rt_preempt_mode mode)
{
	uint32_t a, b, c, d, end = XSAVE_LEGACY_BYTES;

	sched.mode = mode;
	if (mode == RT_PREEMPT_PAGE)
		map_page_twice();
	*poll_word = 0;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) {
		rt_xsave_mask = 0; /* FXSAVE */
		rt_xsave_bytes = 512;
		return;
	}
	__asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	rt_xsave_mask = a & XSAVE_WANTED;
	rt_has_avx = !!(a & 4);
	for (unsigned i = 2; i < 32; i++) {
		uint32_t size, offset;

		if (!(rt_xsave_mask & 1u << i))
			continue;
		__cpuid_count(0xd, i, size, offset, c, d);
		if (offset + size > end)
			end = offset + size;
	}
	rt_xsave_bytes = (end + 63) & ~63u;
}

/* Asking -------------------------------------------------------------------------------------- */

bool preempt_has_polls(void)
{
	return sched.mode != RT_PREEMPT_SIGNAL;
}

static bool signals_work(void)
{
	return sched.mode == RT_PREEMPT_ALL || sched.mode == RT_PREEMPT_SIGNAL;
}

void preempt_flag(struct p *p)
{
	/* seq_cst: pairs with preempt_poll_settle(), which clears the word and then looks here */
	atomic_store(&p->preempt, 1);
	if (preempt_has_polls())
		__atomic_store_n(poll_word, 1, __ATOMIC_SEQ_CST);
}

void preempt_signal(struct p *p)
{
	struct m *m = atomic_load_explicit(&p->m, memory_order_acquire);

	/* Threads end only when the runtime does, and their ids with them. */
	if (signals_work() && m && !atomic_load_explicit(&m->exited, memory_order_acquire))
		syscall(SYS_tgkill, getpid(), m->tid, SIGURG);
}

void preempt_ask(struct p *p)
{
	preempt_flag(p);
	preempt_signal(p);
}

static bool anybody_asked(void)
{
	if (atomic_load(&sched.stopping))
		return true;
	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++)
		if (atomic_load(&sched.ps[i]->preempt) && /* of others it means nothing any more */
		    atomic_load(&sched.ps[i]->state) == P_RUNNING)
			return true;
	return false;
}

void preempt_poll_settle(void)
{
	if (!__atomic_load_n(poll_word, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(poll_word, 0, __ATOMIC_SEQ_CST);
	if (anybody_asked())
		__atomic_store_n(poll_word, 1, __ATOMIC_SEQ_CST);
}

/* The page -------------------------------------------------------------------------------------- */

void preempt_page_close(void)
{
	if (sched.mode == RT_PREEMPT_PAGE)
		mprotect((void *)rt_poll_word, PAGE, PROT_NONE);
}

void preempt_page_open(void)
{
	if (sched.mode == RT_PREEMPT_PAGE)
		mprotect((void *)rt_poll_word, PAGE, PROT_READ);
}

bool preempt_is_poll_page(uintptr_t addr)
{
	return addr - (uintptr_t)rt_poll_word < PAGE;
}

/* Answering ------------------------------------------------------------------------------------- */

static void after_preempt(struct m *m, struct rt_co *co)
{
	co_set(co, CO_PREEMPTED, CO_RUNNABLE);
	global_put(co);
	schedule_wake_one();
}

static void leave(struct m *m)
{
	obs_trace(TRACE_PREEMPT, m->cur->id, 0);
	co_set(m->cur, CO_RUNNING, CO_PREEMPTED);
	schedule_leave(m, after_preempt);
}

static bool may_leave(const struct m *m)
{
	return m && m->cur && m->p && !m->on_system_stack &&
	       atomic_load_explicit(&m->locks, memory_order_relaxed) == 0;
}

void rt_poll_slow(void)
{
	struct m *m = this_m();

	if (!may_leave(m))
		return;
	if (!atomic_load(&sched.stopping) && !atomic_load(&m->p->preempt) &&
	    !atomic_load(&m->p->retiring) && !atomic_load(&sched.exiting)) {
		preempt_poll_settle(); /* it was somebody else's, and is over perhaps */
		return;
	}
	if (m->cur->off) {
		m->cur->off_pending = true;
		return;
	}
	if (atomic_load(&sched.stopping)) {
		stop_hold(m, m->p, NULL);
		if (!atomic_load(&m->p->preempt))
			return;
	}
	leave(m);
}

/* Called by rt_preempt_entry with all registers saved. */
void rt_preempted(void);
void rt_preempted(void)
{
	struct m *m = this_m();

	if (may_leave(m) && m->cur->off == 0)
		leave(m);
}

static uintptr_t stack_pointer(const ucontext_t *u)
{
	return (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
}

static bool has_room(const struct rt_co *co, uintptr_t sp)
{
	return sp - co->stack_lo >= STACK_ROOM + rt_xsave_bytes + 512;
}

static void inject(ucontext_t *u)
{
	greg_t *r = u->uc_mcontext.gregs;
	uintptr_t sp = stack_pointer(u);

	sp -= 128 + 8; /* the red zone, and the return address */
	memcpy((void *)sp, &r[REG_RIP], 8);
	r[REG_RSP] = (greg_t)sp;
	r[REG_RIP] = (greg_t)(uintptr_t)rt_preempt_entry;
}

/* Where the poll word is not the request itself, it is set for the next poll when a signal came at the
 * wrong moment: a coroutine that is in the runtime most of the time would be hit elsewhere by chance
 * only. */
static void leave_flag(void)
{
	if (!preempt_has_polls())
		__atomic_store_n(poll_word, 1, __ATOMIC_SEQ_CST);
}

static bool hold(struct m *m, ucontext_t *u, bool at_poll)
{
	uintptr_t pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];

	/* It stands still already, at a poll, in libc's futex call: it arrives once. */
	if (atomic_load(&m->p->state) != P_RUNNING)
		return false;
	if (!at_poll && is_in(pc, __start_rt_text, __stop_rt_text)) {
		leave_flag();
		return false;
	}
	stop_hold(m, m->p, u);
	return true;
}

bool preempt_interrupted(struct m *m, void *context, bool at_poll)
{
	ucontext_t *u = context;
	struct rt_co *co;

	/* A handler of the program's own runs on the signal stack: not a place to stand still at, for
	 * whoever reads the coroutine's stack then, nor to be left. */
	if (!may_leave(m) || !stack_holds(m->cur, stack_pointer(u))) {
		leave_flag();
		return false;
	}
	co = m->cur;
	if (atomic_load(&co->state) != CO_RUNNING)
		return false;
	if (co->off) {
		co->off_pending = true;
		return false;
	}
	if (atomic_load(&sched.stopping))
		return hold(m, u, at_poll);
	if (!atomic_load(&m->p->preempt) || !has_room(co, stack_pointer(u)) ||
	    !preempt_is_managed((uintptr_t)u->uc_mcontext.gregs[REG_RIP])) {
		leave_flag();
		return false;
	}
	inject(u);
	return true;
}

void rt_preempt_off(void)
{
	struct rt_co *self = this_co();

	if (self)
		self->off++;
}

void rt_preempt_on(void)
{
	struct rt_co *self = this_co();

	if (!self)
		return;
	if (self->off == 0)
		rt_fatal("rt_preempt_on without rt_preempt_off");
	if (--self->off == 0 && self->off_pending) {
		self->off_pending = false;
		rt_poll_slow();
	}
	poll_here();
}
