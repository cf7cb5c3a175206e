/* What a stack that has never run looks like to context_switch(). */
#include "switch.h"

enum { MXCSR_AT_START = 0x1f80, X87_CONTROL_AT_START = 0x037f };

void context_prepare(struct context *c, void *stack_top, void (*fn)(void))
{
	uint64_t *top = (uint64_t *)((uintptr_t)stack_top & ~(uintptr_t)15) - 1;

	*top = 0; /* where a return address would be: backtraces end here */
	*c = (struct context){
		.sp = top,
		.pc = (void *)(uintptr_t)fn,
		.mxcsr = MXCSR_AT_START,
		.x87_control = X87_CONTROL_AT_START,
	};
}
