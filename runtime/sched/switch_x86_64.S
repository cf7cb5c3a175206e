/* The System V ABI's callee-saved state: six registers, MXCSR and the x87 control word. */
#include "asm.h"

/* void rt_switch(void **save, void *load) */
FUNCTION(rt_switch)
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	subq	$8, %rsp
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movl	(%rsp), %eax
	movzwl	4(%rsp), %ecx
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	/* Loading the control registers is dear and rarely needed: most code leaves them alone. */
	cmpl	%eax, (%rsp)
	jne	2f
1:	cmpw	%cx, 4(%rsp)
	jne	3f
4:	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	/* Not ret: the return predictor knows the other stack's callers. */
	popq	%rdx
	jmp	*%rdx
2:	ldmxcsr	(%rsp)
	jmp	1b
3:	fldcw	4(%rsp)
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
