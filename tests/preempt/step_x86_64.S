/* uint64_t step_call(uint64_t (*fn)(uint64_t), uint64_t seed): with the trap flag set inside */
	.text
	.globl	step_call, step_call_end
	.type	step_call, @function
step_call:
	pushq	%rbp
	movq	%rsp, %rbp
	movq	%rdi, %rax
	movq	%rsi, %rdi
	pushfq
	orq	$0x100, (%rsp)
	popfq
	call	*%rax
	pushfq
	andq	$~0x100, (%rsp)
	popfq
	popq	%rbp
	ret
step_call_end:
	.size	step_call, . - step_call
	.section .note.GNU-stack, "", @progbits
