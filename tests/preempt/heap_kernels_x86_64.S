/* The only reference to an object is in one register, or in the red zone, across many instructions. */

#define FUNCTION(name) .text; .p2align 4; .globl name; .type name, @function; name:
#define END(name) .size name, . - name

/* What a call may have left. */
.macro forget
	xorl	%eax, %eax
	.irp	reg, ecx, edx, esi, edi, r8d, r9d, r10d, r11d
	movl	%eax, %\reg
	.endr
	.irp	slot, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	movq	%rax, -\slot(%rsp)
	.endr
.endm

.macro time_passes
	.rept	6
	leaq	1(%rcx, %rcx), %rcx
	.endr
	xorl	%ecx, %ecx
.endm

/* uint64_t kernel_heap_register(uint64_t seed): %r12, then the red zone */
FUNCTION(kernel_heap_register)
	pushq	%r12
	call	heap_make
	movq	%rax, %r12
	forget
	time_passes
	movq	%r12, -64(%rsp)
	xorl	%r12d, %r12d
	time_passes
	movq	-64(%rsp), %rdi
	movq	$0, -64(%rsp)
	popq	%r12
	jmp	heap_finish
END(kernel_heap_register)

/* uint64_t kernel_heap_vector(uint64_t seed): the upper half of %ymm15, then the lower one */
FUNCTION(kernel_heap_vector)
	subq	$8, %rsp
	call	heap_make
	vmovq	%rax, %xmm14
	vpxor	%xmm15, %xmm15, %xmm15
	vinsertf128 $1, %xmm14, %ymm15, %ymm15
	vpxor	%xmm14, %xmm14, %xmm14
	forget
	time_passes
	vextractf128 $1, %ymm15, %xmm15
	time_passes
	vmovq	%xmm15, %rdi
	vpxor	%xmm15, %xmm15, %xmm15
	vzeroupper
	addq	$8, %rsp
	jmp	heap_finish
END(kernel_heap_vector)

	.section .note.GNU-stack, "", @progbits
