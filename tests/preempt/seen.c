#include "seen.h"

#include "rt.h"

#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { MXCSR_USUAL = 0x1f80, X87_USUAL = 0x37f, MXCSR_OWN = 0x3f80, X87_OWN = 0x67f };

static void take_vector(const uint8_t *x, uint8_t *to)
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

void seen_take(const ucontext_t *u, struct seen *to)
{
	memcpy(to->regs, u->uc_mcontext.gregs, sizeof to->regs);
	to->regs[REG_EFL] &= ~(greg_t)(TRAP_FLAG | RESUME_FLAG);
	take_vector((const uint8_t *)u->uc_mcontext.fpregs, to->vector);
}

bool seen_differ(const struct seen *a, const struct seen *b, char *what, size_t n)
{
	static const int regs[] = {REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14,
				   REG_R15, REG_RDI, REG_RSI, REG_RBP, REG_RBX, REG_RDX, REG_RAX,
				   REG_RCX, REG_RSP, REG_RIP, REG_EFL};
	static const char *const names[] = {"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
					    "rdi", "rsi", "rbp", "rbx", "rdx", "rax", "rcx", "rsp",
					    "rip", "flags"};

	for (unsigned i = 0; i < sizeof regs / sizeof *regs; i++)
		if (a->regs[regs[i]] != b->regs[regs[i]]) {
			snprintf(what, n, "%s %#llx became %#llx", names[i], a->regs[regs[i]],
				 b->regs[regs[i]]);
			return true;
		}
	for (unsigned i = 0; i < XSTATE_MAX; i++)
		if (a->vector[i] != b->vector[i]) {
			snprintf(what, n, "byte %u of the XSAVE area %#x became %#x", i, a->vector[i],
				 b->vector[i]);
			return true;
		}
	return false;
}

/* What another coroutine may see ------------------------------------------------------------- */

static bool flags_are_wrong(void)
{
	if (!(__builtin_ia32_readeflags_u64() & DIRECTION_FLAG))
		return false;
	__asm__ volatile("cld");
	return true;
}

/* Eight values fit if nobody's lie there: else the stack overflows, which the status word says. */
static bool x87_is_occupied(void)
{
	uint16_t status;

	__asm__ volatile("fnclex\n\t"
			 "fldz; fldz; fldz; fldz; fldz; fldz; fldz; fldz\n\t"
			 "fnstsw %0\n\t"
			 "fstp %%st(0); fstp %%st(0); fstp %%st(0); fstp %%st(0)\n\t"
			 "fstp %%st(0); fstp %%st(0); fstp %%st(0); fstp %%st(0)\n\t"
			 "fnclex"
			 : "=a"(status)
			 :
			 : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
	return status & 0x40; /* stack fault */
}

static const char *look(uint32_t mxcsr_wanted, uint16_t x87_wanted)
{
	uint32_t mxcsr, status_bits = 0x3f;
	uint16_t x87;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87));
	if (flags_are_wrong())
		return "the direction flag is set in another coroutine";
	if ((mxcsr & ~status_bits) != mxcsr_wanted)
		return "MXCSR is another coroutine's";
	if (x87 != x87_wanted)
		return "the x87 control word is another coroutine's";
	if (x87_is_occupied())
		return "the x87 stack holds another coroutine's values";
	return NULL;
}

static void set_control(uint32_t mxcsr, uint16_t x87)
{
	__asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(mxcsr), "m"(x87));
}

const char *seen_foreign_state(void)
{
	const char *wrong = look(MXCSR_USUAL, X87_USUAL);

	set_control(MXCSR_USUAL, X87_USUAL);
	return wrong;
}

const char *seen_across_yield(void)
{
	const char *wrong;

	set_control(MXCSR_OWN, X87_OWN);
	rt_yield();
	wrong = look(MXCSR_OWN, X87_OWN);
	set_control(MXCSR_USUAL, X87_USUAL);
	return wrong;
}
