/* The System V ABI's callee-saved state: the caller of context_switch() saves the registers that it
 * needs; here are its stack, its frame, where it goes on, MXCSR and the x87 control word. */
#include "asm.h"

/* rt_switch: jumped to with %rdi struct context to save into, %rsi the one to load, %rdx the
 * address to save. A jump, not a call: each call is answered by the ret that the return predictor
 * expects, if the other coroutine left by the same way. */
FUNCTION(rt_switch)
	movq	%rsp, (%rdi)
	movq	%rbp, 8(%rdi)
	movq	%rdx, 16(%rdi)
	stmxcsr	24(%rdi)
	fnstcw	28(%rdi)
	movl	24(%rdi), %eax
	movzwl	28(%rdi), %ecx
	/* Loading the control registers is dear and rarely needed: most code leaves them alone. */
	cmpl	%eax, 24(%rsi)
	jne	2f
1:	cmpw	%cx, 28(%rsi)
	jne	3f
4:	movq	(%rsi), %rsp
	movq	8(%rsi), %rbp
	jmp	*16(%rsi)
2:	ldmxcsr	24(%rsi)
	jmp	1b
3:	fldcw	28(%rsi)
	jmp	4b
END(rt_switch)

/* void rt_enter_syscall(void): the caller's registers, as they are kept for it, go to the collector. */
FUNCTION(rt_enter_syscall)
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	(%rbp), %rax
	movq	%rax, 40(%rsp)
	movq	%rbp, %rdi
	movq	%rsp, %rsi
	call	syscall_enter
	leave
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
END(rt_enter_syscall)

/* void *rt_call_on(void *sp, void *(*fn)(void *arg), void *arg) */
FUNCTION(rt_call_on)
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	movq	%rdi, %rsp
	andq	$-16, %rsp
	movq	%rdx, %rdi
	call	*%rsi
	movq	%rbp, %rsp
	popq	%rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
END(rt_call_on)

	.section .note.GNU-stack, "", @progbits
