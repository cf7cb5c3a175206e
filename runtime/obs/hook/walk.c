/*
 * Managed code and the runtime are built with frame pointers: a walk is two loads a frame, can be
 * done in a signal handler and needs no tables. Debug information would cross libc too, but takes
 * locks and microseconds a frame. In libc the frame pointer may still be its caller's or hold
 * anything: there, the first word of the stack that follows a call instruction of the program's
 * own text names the caller, and the frame pointer is believed only if it lies above it.
 */
#include "../walk.h"

#include "../../sched/switch.h"

#include <link.h>
#include <string.h>
#include <ucontext.h>

enum { SCAN_WORDS = 512, NULL_PAGE = 4096, LEAF_MAX = 4096, ENTRY_BYTES = 128 };
enum { PUSH_RBP = 0x55, RET = 0xc3, CALL_MAX = 6 };
/* rt_preempt_entry: its length at most; the return address and red zone that it was entered below. */
enum { PREEMPT_BYTES = 512, PREEMPT_SKIPS = 8 + 128 };

void rt_preempt_entry(void);
extern const ElfW(Ehdr) __ehdr_start;

/* Reads words of a stack that are nobody's variables: sanitizers would object. */
#define RAW __attribute__((no_sanitize("address", "thread")))

static int walk_preempted(uintptr_t fp, uintptr_t hi, uintptr_t *pcs, int max);

static bool is_frame(uintptr_t fp, uintptr_t lo, uintptr_t hi)
{
	return fp >= lo && fp > NULL_PAGE && fp <= hi - 2 * sizeof(uintptr_t) && fp % sizeof(uintptr_t) == 0;
}

RAW int walk(uintptr_t fp, uintptr_t lo, uintptr_t hi, uintptr_t *pcs, int max)
{
	int n = 0;

	while (n < max && is_frame(fp, lo, hi)) {
		const uintptr_t *frame = (const uintptr_t *)fp;

		/* Every stack begins in co_entry(), which says nothing. */
		if (frame[1] < NULL_PAGE || frame[1] - (uintptr_t)co_entry < ENTRY_BYTES)
			break;
		if (n > 0 && pcs[n - 1] - (uintptr_t)rt_preempt_entry < PREEMPT_BYTES)
			return n + walk_preempted(fp, hi, pcs + n, max - n);
		pcs[n++] = frame[1];
		if (frame[0] <= fp)
			break;
		fp = frame[0];
	}
	return n;
}

uintptr_t walk_end_of_stack(void)
{
	struct m *m = this_m();
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (m && m->cur && stack_holds(m->cur, here))
		return (uintptr_t)m->cur;
	if (m && here >= m->sys_lo && here < m->sys_hi)
		return m->sys_hi;
	return here;
}

static int walk_from(uintptr_t pc, uintptr_t fp, uintptr_t lo, uintptr_t hi, uintptr_t *pcs, int max)
{
	if (max == 0 || !pc)
		return 0;
	pcs[0] = pc;
	return 1 + walk(fp, lo, hi, pcs + 1, max - 1);
}

/*
 * The program's own instructions, all of them mapped. What lies before them in the file is mapped
 * apart, with a hole between: the linker's __executable_start is no bound of what can be read.
 */
static uintptr_t text_lo, text_hi;

__attribute__((constructor)) static void find_text(void)
{
	const char *image = (const char *)&__ehdr_start;
	const ElfW(Phdr) *p = (const ElfW(Phdr) *)(image + __ehdr_start.e_phoff);
	uintptr_t base = 0;

	for (int i = 0; i < __ehdr_start.e_phnum; i++) {
		if (p[i].p_type == PT_LOAD && p[i].p_offset == 0)
			base = (uintptr_t)image - p[i].p_vaddr;
		if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_X) {
			text_lo = base + p[i].p_vaddr;
			text_hi = text_lo + p[i].p_memsz;
		}
	}
}

/* With room for the longest call before it. */
static bool in_program(uintptr_t pc)
{
	return pc >= text_lo + CALL_MAX && pc < text_hi;
}

#if defined(__x86_64__)
static bool follows_call(uintptr_t pc)
{
	const uint8_t *p = (const uint8_t *)pc;

	return p[-5] == 0xe8 ||                                 /* call rel32 */
	       (p[-2] == 0xff && (p[-1] & 0x38) == 0x10) ||     /* call *%reg */
	       (p[-3] == 0xff && (p[-2] & 0x38) == 0x10) ||     /* call *disp8(%reg) */
	       (p[-6] == 0xff && (p[-5] & 0x38) == 0x10);       /* call *disp32(%rip) */
}

/* In foreign code: the program's function that called it. Returns the word's address, 0: none. */
RAW static uintptr_t find_caller(uintptr_t sp, uintptr_t hi)
{
	const uintptr_t *word = (const uintptr_t *)(sp & ~(uintptr_t)7);

	for (int i = 0; i < SCAN_WORDS && (uintptr_t)(word + i + 1) <= hi; i++)
		if (in_program(word[i]) && follows_call(word[i]))
			return (uintptr_t)(word + i);
	return 0;
}

/* Whether the function at entry makes a frame first thing. */
static bool begins_with_frame(uintptr_t entry)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const uint8_t *code = (const uint8_t *)entry;

	return (memcmp(code, endbr64, sizeof endbr64) == 0 ? code[4] : code[0]) == PUSH_RBP;
}

/*
 * GCC makes no frame for a leaf that does not touch the stack, whatever it is told: its return
 * address stays on top. Recognised by the call before it, which leads to a frameless function that
 * begins just before pc.
 */
static bool in_frameless_leaf(uintptr_t pc, uintptr_t return_address)
{
	const uint8_t *after = (const uint8_t *)return_address;
	uintptr_t target;
	int32_t distance;

	if (!in_program(return_address) || after[-5] != 0xe8)
		return false;
	memcpy(&distance, after - sizeof distance, sizeof distance);
	target = return_address + (uintptr_t)(intptr_t)distance;
	return target <= pc && pc - target < LEAF_MAX && !begins_with_frame(target);
}

/*
 * Between a call and the frame of the called function the frame pointer is the caller's: then the
 * caller's return address is on top of the stack. Returns its word's address, 0: the frame is there.
 * rt_preempt_entry is entered as if the interrupted instruction had called it.
 */
RAW static uintptr_t unframed_caller(uintptr_t pc, uintptr_t sp)
{
	static const uint8_t mov_rsp_rbp[] = {0x48, 0x89, 0xe5};
	const uint8_t *code = (const uint8_t *)pc;

	if (*code == PUSH_RBP || *code == RET || in_frameless_leaf(pc, *(const uintptr_t *)sp))
		return sp;
	return code[-1] == PUSH_RBP && memcmp(code, mov_rsp_rbp, sizeof mov_rsp_rbp) == 0 ? sp + 8 : 0;
}

uintptr_t walk_pc(const void *context)
{
	return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
}

/* A thread stood at pc, in whatever code, with these registers. */
RAW static int walk_interrupted(uintptr_t pc, uintptr_t fp, uintptr_t sp, uintptr_t hi, uintptr_t *pcs,
			    int max)
{
	uintptr_t caller;

	if (sp % sizeof(uintptr_t) || sp + sizeof(uintptr_t) > hi)
		return 0;
	if (pc == (uintptr_t)rt_preempt_entry)
		return walk_interrupted(*(const uintptr_t *)sp, fp, sp + PREEMPT_SKIPS, hi, pcs, max);
	caller = in_program(pc) ? unframed_caller(pc, sp) : find_caller(sp, hi);
	if (in_program(pc) && !caller)
		return walk_from(pc + 1, fp, sp, hi, pcs, max);
	if (!caller || max < 2)
		return walk_from(pc + 1, 0, sp, hi, pcs, max);
	pcs[0] = pc + 1;
	return 1 + walk_from(*(const uintptr_t *)caller, fp > caller ? fp : 0, caller, hi, pcs + 1,
			     max - 1);
}

/* The frame that rt_preempt_entry made on top of the interrupted code, and what is below. */
RAW static int walk_preempted(uintptr_t fp, uintptr_t hi, uintptr_t *pcs, int max)
{
	const uintptr_t *frame = (const uintptr_t *)fp;

	return walk_interrupted(frame[1], frame[0], fp + sizeof *frame + PREEMPT_SKIPS, hi, pcs, max);
}

static int walk_registers(const ucontext_t *uc, uintptr_t hi, uintptr_t *pcs, int max)
{
	return walk_interrupted(walk_pc(uc), (uintptr_t)uc->uc_mcontext.gregs[REG_RBP],
				(uintptr_t)uc->uc_mcontext.gregs[REG_RSP], hi, pcs, max);
}

static uintptr_t stack_pointer(const ucontext_t *uc)
{
	return (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
}

#elif defined(__aarch64__)
uintptr_t walk_pc(const void *context)
{
	return ((const ucontext_t *)context)->uc_mcontext.pc;
}

static int walk_registers(const ucontext_t *uc, uintptr_t hi, uintptr_t *pcs, int max)
{
	return walk_from(uc->uc_mcontext.pc + 4, uc->uc_mcontext.regs[29], uc->uc_mcontext.sp, hi, pcs,
			 max);
}

RAW static int walk_preempted(uintptr_t fp, uintptr_t hi, uintptr_t *pcs, int max)
{
	const uintptr_t *frame = (const uintptr_t *)fp;

	return walk_from(frame[1], frame[0], fp, hi, pcs, max);
}

static uintptr_t stack_pointer(const ucontext_t *uc)
{
	return uc->uc_mcontext.sp;
}
#endif

/* Where a switch left it. */
RAW static int walk_saved(const struct rt_co *co, uintptr_t *pcs, int max)
{
	uintptr_t sp = (uintptr_t)co->saved.sp, fp = (uintptr_t)co->saved.fp;

	/* It may run again meanwhile when the world does not stand still. */
	if (!stack_holds(co, sp))
		return 0;
	return walk_from((uintptr_t)co->saved.pc, fp, sp, (uintptr_t)co, pcs, max);
}

/* Where rt_enter_syscall() or rt_on_system_stack() left the coroutine's stack. */
RAW static int walk_left(const struct rt_co *co, uintptr_t *pcs, int max)
{
	uintptr_t fp = co->left_fp;

	return walk_from(co->left_pc, fp, fp, (uintptr_t)co, pcs, max);
}

int walk_context(struct m *m, const void *context, uintptr_t *pcs, int max)
{
	const struct rt_co *co = m->cur;
	uintptr_t sp = stack_pointer(context);
	int n;

	if (co && stack_holds(co, sp))
		return walk_registers(context, (uintptr_t)co, pcs, max);
	if (sp < m->sys_lo || sp >= m->sys_hi)
		return 0;
	n = walk_registers(context, m->sys_hi, pcs, max);
	/* The system stack works for the coroutine: its callers follow. */
	if (co && m->on_system_stack)
		n += walk_left(co, pcs + n, max - n);
	return n;
}

RAW static int walk_running(const struct rt_co *co, uintptr_t *pcs, int max)
{
	struct m *m = atomic_load_explicit(&co->m, memory_order_relaxed);
	const void *context = m ? atomic_load_explicit(&m->held_context, memory_order_acquire) : NULL;

	if (context)
		return walk_context(m, context, pcs, max);
	if (m && m->on_system_stack)
		return walk_left(co, pcs, max);
	return m ? walk(m->held_fp, m->held_fp, (uintptr_t)co, pcs, max) : 0;
}

RAW int walk_co(const struct rt_co *co, uintptr_t *pcs, int max)
{
	int n;

	switch ((enum co_state)atomic_load_explicit(&co->state, memory_order_acquire)) {
	case CO_RUNNABLE:
	case CO_WAITING:
	case CO_PREEMPTED:
		n = walk_saved(co, pcs, max);
		break;
	case CO_SYSCALL:
		n = walk_left(co, pcs, max);
		break;
	case CO_RUNNING:
		n = walk_running(co, pcs, max);
		break;
	default:
		return 0;
	}
	if (n == 1 && pcs[0] == (uintptr_t)co_entry) /* it has not run yet */
		pcs[0] = (uintptr_t)co->fn.plain + 1;
	return n;
}
