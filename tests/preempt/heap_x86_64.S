/* void *heap_read_in_call(void *bytes): heap_read() in a system call, where %rbx alone knows the bytes */
	.text
	.p2align 4
	.globl	heap_read_in_call
	.type	heap_read_in_call, @function
heap_read_in_call:
	pushq	%rbx
	movq	%rdi, %rbx
	call	rt_enter_syscall
	movq	%rbx, %rdi
	call	heap_read
	call	rt_exit_syscall
	movq	%rbx, %rax
	popq	%rbx
	ret
	.size	heap_read_in_call, . - heap_read_in_call

	.section .note.GNU-stack, "", @progbits
