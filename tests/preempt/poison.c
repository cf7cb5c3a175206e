#include "poison.h"

#include "../../runtime/sched/sched.h"

#include <string.h>

#define POISON_BYTES 512

static void poison(struct rt_co *co, void *arg)
{
	uint32_t state = atomic_load(&co->state);
	uintptr_t sp = (uintptr_t)co->saved.sp, lo;
	volatile uint64_t sum = 0;

	if ((state != CO_RUNNABLE && state != CO_WAITING) || !stack_holds(co, sp))
		return;
	lo = sp - co->stack_lo > POISON_BYTES ? sp - POISON_BYTES : co->stack_lo;
	memset((void *)lo, 0xa5, sp - lo);
	for (uintptr_t at = sp & ~(uintptr_t)7; at < (uintptr_t)co; at += 8)
		sum += *(uint64_t *)at;
}

void poison_dead_stacks(void *arg)
{
	stack_each(poison, NULL);
}
