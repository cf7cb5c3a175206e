/* What a stack that has never run looks like to rt_switch(). */
#include "switch.h"

#include <string.h>

struct frame {
	uint32_t mxcsr;
	uint16_t x87_control, unused;
	uint64_t r15, r14, r13, r12, rbx, rbp;
	void (*entry)(void);
	uint64_t end; /* where a return address would be: backtraces end here */
};

void *switch_prepare(void *stack_top, void (*fn)(void))
{
	uintptr_t top = (uintptr_t)stack_top & ~(uintptr_t)15;
	struct frame *f = (struct frame *)(top - sizeof *f);

	*f = (struct frame){.mxcsr = 0x1f80, .x87_control = 0x037f, .entry = fn};
	return f;
}
