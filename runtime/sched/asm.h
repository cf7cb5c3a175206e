/* asm - the frame of an assembly function; they count as the runtime's own text */
#pragma once

#define FUNCTION(name)                                                                             \
	.section rt_text, "ax", @progbits;                                                         \
	.p2align 4;                                                                                \
	.globl name;                                                                               \
	.hidden name;                                                                              \
	.type name, @function;                                                                     \
	name:
#define END(name) .size name, . - name
