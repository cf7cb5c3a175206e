/*
 * scrub_x86_64 - void scrub(void): what earlier calls left on the stack below the caller's frame is zero then
 */
#pragma once

/* Not in C: compilers leave gaps between locals, sanitizers wider ones. One program includes it once. */
void scrub(void);
__asm__(".text\n"
	".p2align 4\n"
	".type scrub, @function\n"
	"scrub:\n"
	"	leaq	-24576(%rsp), %rdi\n"
	"	movl	$3072, %ecx\n"
	"	xorl	%eax, %eax\n"
	"	rep stosq\n"
	"	ret\n"
	".size scrub, . - scrub\n");
