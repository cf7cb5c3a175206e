/* What stays across a call that switches: the registers of the ABI and the rounding modes. */
#include "rt.h"

#include "tap.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
struct kept {
	uint64_t rbx, rbp, r12, r13, r14, r15;
	uint32_t mxcsr, x87_control;
};

/* Calls fn with the registers of *in, *out is what they are afterwards. */
void call_with(void (*fn)(void), const struct kept *in, struct kept *out);
__asm__(".text\n"
	".type call_with, @function\n"
	"call_with:\n\t"
	"pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n\t"
	"subq $16, %rsp\n\t"
	"stmxcsr (%rsp)\n\tfnstcw 4(%rsp)\n\t"
	"pushq %rdx\n\t"
	"movq (%rsi), %rbx; movq 8(%rsi), %rbp; movq 16(%rsi), %r12; movq 24(%rsi), %r13\n\t"
	"movq 32(%rsi), %r14; movq 40(%rsi), %r15\n\t"
	"ldmxcsr 48(%rsi)\n\tfldcw 52(%rsi)\n\t"
	"call *%rdi\n\t"
	"popq %rdx\n\t"
	"movq %rbx, (%rdx); movq %rbp, 8(%rdx); movq %r12, 16(%rdx); movq %r13, 24(%rdx)\n\t"
	"movq %r14, 32(%rdx); movq %r15, 40(%rdx)\n\t"
	"stmxcsr 48(%rdx)\n\tfnstcw 52(%rdx)\n\t"
	"ldmxcsr (%rsp)\n\tfldcw 4(%rsp)\n\t"
	"addq $16, %rsp\n\t"
	"popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n\t"
	"ret\n\t"
	".size call_with, . - call_with\n");

static struct kept pattern(uint64_t n)
{
	/* Round down or up, to single or double precision, exceptions masked. */
	static const uint32_t mxcsr[] = {0x1f80, 0x3f80, 0x5f80}, x87[] = {0x37f, 0x77f, 0x87f};

	return (struct kept){16 * n + 1, 16 * n + 2, 16 * n + 3, 16 * n + 4, 16 * n + 5, 16 * n + 6,
			     .mxcsr = mxcsr[n % 3], .x87_control = x87[n % 3]};
}

static bool differs(const struct kept *a, const struct kept *b)
{
	return memcmp(a, b, sizeof *a) != 0;
}

static struct rt_chan *turn;

static void send(void)
{
	rt_send(turn, NULL);
}

static void receive(void)
{
	rt_recv(turn, NULL);
}

static void lie_down(void)
{
	rt_sleep(10 * RT_USEC);
}

struct user {
	void (*fn)(void);
	uint64_t n;
	unsigned times;
};

/* What was lost in how many of its calls. */
static void *use(void *arg)
{
	const struct user *u = arg;
	struct kept in = pattern(u->n), out = {0};
	uintptr_t wrong = 0;

	for (unsigned i = 0; i < u->times; i++) {
		call_with(u->fn, &in, &out);
		out.mxcsr &= ~0x3fu; /* what has been raised is the function's to change */
		wrong += differs(&in, &out);
	}
	return (void *)wrong;
}

static uintptr_t side_by_side(struct user *u, size_t n)
{
	struct rt_co *co[8];
	uintptr_t wrong = 0;

	for (size_t i = 0; i < n; i++)
		co[i] = rt_spawn(use, &u[i], NULL);
	for (size_t i = 0; i < n; i++) {
		void *ret;

		rt_join(co[i], &ret);
		wrong += (uintptr_t)ret;
	}
	return wrong;
}

static void *everything(void *arg)
{
	struct user yields[] = {{rt_yield, 0, 3000}, {rt_yield, 1, 3000}, {rt_yield, 2, 3000}};
	struct user talks[] = {{send, 0, 3000}, {receive, 1, 3000}};
	struct user mixed[] = {{lie_down, 2, 300}, {rt_yield, 1, 3000}, {lie_down, 0, 300}};

	for (unsigned procs = 1; procs <= 2; procs++) {
		rt_set_procs(procs);
		CHECK(side_by_side(yields, 3) == 0,
		      "registers and rounding modes stay across a yield, procs %u", procs);
		CHECK(side_by_side(talks, 2) == 0, "and across a wait for a channel, procs %u", procs);
		CHECK(side_by_side(mixed, 3) == 0, "and across a sleep, procs %u", procs);
	}
	return NULL;
}

int main(void)
{
	int r;

	turn = rt_chan_new(0, 0);
	r = rt_run(NULL, everything, NULL, NULL);
	CHECK(r == 0, "the runtime ends");
	rt_chan_free(turn);
	return tap_done();
}
#else
int main(void)
{
	return tap_done();
}
#endif
