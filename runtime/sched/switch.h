/*
 * switch - from one stack to another
 *
 * A coroutine that is left becomes available to others only after its registers are saved: what
 * makes it so (m->after) is done by whoever the thread runs next, in switch_finish(), which is the
 * first thing after every switch.
 */
#pragma once

#include "annotate.h"
#include "sched.h"

/* fn(arg) on the stack that ends at sp. */
void *rt_call_on(void *sp, void *(*fn)(void *arg), void *arg);

/* On a fresh stack, so that the first switch to it enters fn. */
void context_prepare(struct context *c, void *stack_top, void (*fn)(void));

/* Returns when somebody loads what is saved here. The compiler keeps what it needs on the stack, as
 * the only copy: no other code saves registers. */
static inline __attribute__((always_inline)) void context_switch(struct context *save,
								  const struct context *load)
{
#if defined(__x86_64__)
	__asm__ volatile("leaq 1f(%%rip), %%rdx\n\tjmp rt_switch\n1:"
			 : "+D"(save), "+S"(load)
			 :
			 : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
			   "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
#else
#error "the switch has not been written for this machine"
#endif
}

static inline void switch_finish(void)
{
	struct m *m = this_m();
	void (*after)(struct m *m, struct rt_co *left) = m->after;

	if (!after)
		return;
	m->after = NULL;
	after(m, m->left);
}

/* from or to NULL: the scheduler on the thread's system stack. */
static inline void switch_to(struct m *m, struct rt_co *from, struct rt_co *to)
{
	annotate_leave(m, from, to);
	context_switch(from ? &from->saved : &m->saved, to ? &to->saved : &m->saved);
	annotate_arrive(from, false);
	switch_finish();
}
