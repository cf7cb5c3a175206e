/*
 * Entered as if the interrupted instruction had called it, from below its red zone:
 *
 *     rsp + 136   the interrupted stack pointer
 *     rsp + 8     its red zone, 128 bytes
 *     rsp         the interrupted instruction
 *
 * Every register, the flags and the vector state are as they were when it returns. Meanwhile the
 * direction flag is clear, the x87 stack empty and the upper vector halves zero, as the ABI
 * promises to a function; the rounding modes are the coroutine's own.
 */
#include "asm.h"

#define SAVED 120 /* flags and 14 registers below the frame pointer */

FUNCTION(rt_preempt_entry)
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa %rsp, 136
	.cfi_offset %rip, -136
	pushq	%rbp
	.cfi_def_cfa_offset 144
	.cfi_offset %rbp, -144
	movq	%rsp, %rbp
	.cfi_def_cfa %rbp, 144
	pushfq
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movl	rt_xsave_bytes(%rip), %eax
	subq	%rax, %rsp
	andq	$-64, %rsp
	movl	rt_xsave_mask(%rip), %eax
	testl	%eax, %eax
	jz	1f
	/* XRSTOR refuses a header with anything in its reserved part. */
	xorl	%edx, %edx
	movq	%rdx, 512(%rsp)
	movq	%rdx, 520(%rsp)
	movq	%rdx, 528(%rsp)
	movq	%rdx, 536(%rsp)
	movq	%rdx, 544(%rsp)
	movq	%rdx, 552(%rsp)
	movq	%rdx, 560(%rsp)
	movq	%rdx, 568(%rsp)
	xsave64	(%rsp)
	cmpl	$0, rt_has_avx(%rip)
	je	2f
	vzeroupper
	jmp	2f
1:	fxsave64 (%rsp)
2:	pushq	$0
	fnstcw	(%rsp)
	fninit
	fldcw	(%rsp)
	addq	$8, %rsp
	call	rt_preempted
	movl	rt_xsave_mask(%rip), %eax
	testl	%eax, %eax
	jz	3f
	xorl	%edx, %edx
	xrstor64 (%rsp)
	jmp	4f
3:	fxrstor64 (%rsp)
4:	leaq	-SAVED(%rbp), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	popfq
	popq	%rbp
	.cfi_def_cfa %rsp, 136
	ret	$128
	.cfi_endproc
END(rt_preempt_entry)

	.section .note.GNU-stack, "", @progbits
