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

/* Pushes the callee-saved registers, MXCSR and the x87 control word; stores the stack pointer in
 * *save, takes load. Every stack that is not running looks like this. */
void rt_switch(void **save, void *load);
/* fn(arg) on the stack that ends at sp. */
void *rt_call_on(void *sp, void *(*fn)(void *arg), void *arg);

/* Registers on a fresh stack, so that the first switch to it enters fn. */
void *switch_prepare(void *stack_top, void (*fn)(void));

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
	void **save = from ? &from->sp : &m->sys_sp;

	annotate_leave(m, from, to);
	rt_switch(save, to ? to->sp : m->sys_sp);
	annotate_arrive(from, false);
	switch_finish();
}
