/*
 * Roots. A coroutine's words are its stack from the saved stack pointer up, its argument, its result and
 * its local values. The registers of one that does not run are on its stack: pushed by the switch, by
 * the injected call (vector registers too), or copied by rt_enter_syscall. Those of a running one are
 * in the frame of the signal handler that holds its thread, or on the stack above stop_hold().
 */
#include "roots.h"

#include "../sched/sched.h"
#include "../sync/chan.h"
#include "pins.h"
#include "pool.h"
#include "special.h"

#include <ucontext.h>

enum { SLICE = 64 }; /* coroutines that a marker takes at one time */

static struct {
	_Atomic uint64_t next; /* slice of stacks: see stack_slice() */
	_Atomic bool stacks_done, others_taken;
	_Atomic uint32_t at_work; /* that hold a share, or search a coroutine before they run it */
	_Atomic uint64_t stack_bytes;
} roots;

/* Coroutines ------------------------------------------------------------------------------------ */

static void search_values(struct marker *k, const struct rt_co *co)
{
	mark_word(k, (uintptr_t)co->arg);
	mark_word(k, (uintptr_t)co->result);
	for (unsigned i = 0; co->locals && i < KEYS_MAX; i++)
		mark_word(k, (uintptr_t)co->locals[i]);
}

static void search_stack(struct marker *k, const struct rt_co *co, uintptr_t sp)
{
	mark_range(k, sp, (uintptr_t)co);
	if (k->instead)
		return;
	atomic_fetch_add_explicit(&roots.stack_bytes, (uintptr_t)co - sp, memory_order_relaxed);
}

void roots_search_co(struct marker *k, struct rt_co *co)
{
	switch ((enum co_state)atomic_load_explicit(&co->state, memory_order_acquire)) {
	case CO_IDLE:
		return;
	case CO_SYSCALL:
		/* As it was at rt_enter_syscall: what it does until rt_exit_syscall touches no object that
		 * it did not have then. */
		for (unsigned i = 0; i < LEFT_REGS; i++)
			mark_word(k, co->left_regs[i]);
		search_stack(k, co, __atomic_load_n(&co->left_sp, __ATOMIC_RELAXED));
		break;
	case CO_DEAD:
		break;
	default:
		search_stack(k, co, (uintptr_t)co->saved.sp);
	}
	search_values(k, co);
}

uint32_t roots_searched_mark(void)
{
	return heap.cycle << 1;
}

/* true: the caller is to search it, and says roots_end_search() then. */
static bool begin_search(struct rt_co *co)
{
	uint32_t done = roots_searched_mark();
	uint32_t was = atomic_load_explicit(&co->searched, memory_order_acquire);

	/* acquire: pairs with the release in end_search() */
	return (was | 1) != (done | 1) &&
	       atomic_compare_exchange_strong_explicit(&co->searched, &was, done | 1,
						       memory_order_acquire, memory_order_acquire);
}

static void end_search(struct rt_co *co)
{
	/* release: pairs with the acquires of begin_search() and roots_before_run(): what the coroutine
	 * does next comes after the search */
	atomic_store_explicit(&co->searched, roots_searched_mark(), memory_order_release);
}

void roots_before_run(struct rt_co *co)
{
	uint32_t done = roots_searched_mark();
	struct marker k;

	if (atomic_load_explicit(&co->searched, memory_order_acquire) == done)
		return;
	/* Counted first: marking is not over before what is found here is in the lists. */
	atomic_fetch_add(&roots.at_work, 1);
	if (begin_search(co)) {
		marker_begin(&k);
		roots_search_co(&k, co);
		marker_end(&k);
		end_search(co);
		atomic_fetch_sub(&roots.at_work, 1);
		return;
	}
	atomic_fetch_sub(&roots.at_work, 1);
	/* A marker is at it; it is not stopped before it is through. */
	while (atomic_load_explicit(&co->searched, memory_order_acquire) != done)
		__builtin_ia32_pause();
}

static void search_parked(struct rt_co *co, void *arg)
{
	if (atomic_load_explicit(&co->state, memory_order_relaxed) == CO_IDLE || !begin_search(co))
		return;
	roots_search_co(arg, co);
	end_search(co);
}

/* Running ones, in a pause ----------------------------------------------------------------------- */

static void search_context(struct marker *k, const ucontext_t *u)
{
	const struct _libc_fpstate *fp = (const void *)u->uc_mcontext.fpregs;

	mark_range(k, (uintptr_t)u->uc_mcontext.gregs, (uintptr_t)(u->uc_mcontext.gregs + NGREG));
	if (!fp)
		return;
	/* The kernel writes the state's real size where the legacy area has room for it. */
	mark_range(k, (uintptr_t)fp,
		   (uintptr_t)fp + (fp->__glibc_reserved1[12] == 0x46505853 /* FP_XSTATE_MAGIC1 */
					    ? fp->__glibc_reserved1[13] : sizeof *fp));
}

static void search_from(struct marker *k, struct m *m, struct rt_co *co, uintptr_t sp)
{
	if (stack_holds(co, sp)) {
		search_stack(k, co, sp);
		return;
	}
	/* On the system stack, for rt_on_system_stack. */
	if (sp >= m->sys_lo && sp < m->sys_hi)
		mark_range(k, sp, (uintptr_t)m->saved.sp - SYSTEM_STACK_GAP);
	search_stack(k, co, co->left_sp);
}

static void search_running(struct marker *k, struct m *m)
{
	struct rt_co *co = m->cur;
	const ucontext_t *u = atomic_load_explicit(&m->held_context, memory_order_relaxed);

	if (u) {
		search_context(k, u);
		search_from(k, m, co, (uintptr_t)u->uc_mcontext.gregs[REG_RSP] - 128 /* red zone */);
	} else {
		search_from(k, m, co, m->held_sp);
	}
	search_values(k, co);
}

/* But for the stopper's own coroutine: it is the collector's, and knows no object. */
void roots_search_running(struct marker *k, void (*then)(struct rt_co *co, void *arg))
{
	struct m *own = this_m();

	for (unsigned i = 0; i < atomic_load(&sched.n_made); i++) {
		struct m *m = atomic_load(&sched.ps[i]->m);

		if (m && m != own && m->cur &&
		    atomic_load_explicit(&sched.ps[i]->held_in_handler, memory_order_relaxed)) {
			search_running(k, m);
			then(m->cur, k);
		}
	}
	then(own->cur, k);
}

static void set_searched(struct rt_co *co, void *arg)
{
	end_search(co);
}

void roots_search_own(struct marker *k, uintptr_t sp)
{
	struct m *m = this_m();

	search_from(k, m, m->cur, sp);
	search_values(k, m->cur);
}

/* Globals ------------------------------------------------------------------------------------------ */

extern const char __data_start[] __attribute__((weak)), _edata[] __attribute__((weak));
extern const char __bss_start[] __attribute__((weak)), _end[] __attribute__((weak));
/* The runtime's own, which hold no objects but those that it searches otherwise. */
extern const char __start_rt_bss[] __attribute__((weak, visibility("hidden")));
extern const char __stop_rt_bss[] __attribute__((weak, visibility("hidden")));

static void search_without_own(struct marker *k, const char *lo, const char *hi)
{
	const char *own_lo = __start_rt_bss, *own_hi = __stop_rt_bss;

	if (!lo || !hi)
		return;
	if (!own_lo || own_hi <= lo || own_lo >= hi) {
		mark_range(k, (uintptr_t)lo, (uintptr_t)hi);
		return;
	}
	if (own_lo > lo)
		mark_range(k, (uintptr_t)lo, (uintptr_t)own_lo);
	if (own_hi < hi)
		mark_range(k, (uintptr_t)own_hi, (uintptr_t)hi);
}

static void search_globals(struct marker *k)
{
	search_without_own(k, __data_start, _edata);
	search_without_own(k, __bss_start, _end);
}

/* All together ---------------------------------------------------------------------------------------- */

void roots_begin(struct marker *k)
{
	atomic_store(&roots.next, 0);
	atomic_store(&roots.stack_bytes, 0);
	atomic_store(&roots.stacks_done, false);
	atomic_store(&roots.others_taken, false);
	roots_search_running(k, set_searched);
	search_globals(k);
	pins_search_ranges(k);
	pool_search(k);
}

bool roots_left(void)
{
	return !atomic_load(&roots.stacks_done) || !atomic_load(&roots.others_taken) ||
	       atomic_load(&roots.at_work);
}

bool roots_some(struct marker *k)
{
	uint64_t at = atomic_load(&roots.next);
	bool more = true;

	if (atomic_load(&roots.stacks_done) && atomic_load(&roots.others_taken))
		return false;
	atomic_fetch_add(&roots.at_work, 1);
	if (!atomic_exchange(&roots.others_taken, true)) {
		pins_search(k);
		special_search(k);
		chan_search_all(k);
	} else if (stack_next_slice(&roots.next, &at, SLICE)) {
		stack_slice(at, SLICE, search_parked, k);
	} else {
		atomic_store(&roots.stacks_done, true);
		more = false;
	}
	atomic_fetch_sub(&roots.at_work, 1);
	return more;
}

static void search_any(struct rt_co *co, void *arg)
{
	if (atomic_load(&co->state) != CO_RUNNING)
		roots_search_co(arg, co);
}

static void search_any_values(struct rt_co *co, void *arg)
{
	if (atomic_load(&co->state) != CO_IDLE)
		search_values(arg, co);
}

void roots_fixed(struct marker *k)
{
	search_globals(k);
	pins_search_ranges(k);
	pool_search(k);
	pins_search(k);
}

void roots_own_bss(uintptr_t *ret_lo, uintptr_t *ret_hi)
{
	*ret_lo = (uintptr_t)__start_rt_bss;
	*ret_hi = (uintptr_t)__stop_rt_bss;
}

void roots_without_stacks(struct marker *k)
{
	roots_fixed(k);
	special_search(k);
	chan_search_all(k);
	stack_each(search_any_values, k);
}

void roots_all(struct marker *k)
{
	roots_without_stacks(k);
	roots_search_running(k, set_searched);
	stack_each(search_any, k);
}

uint64_t roots_stack_bytes(void)
{
	return atomic_load(&roots.stack_bytes);
}
