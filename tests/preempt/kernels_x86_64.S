/* State that a compiler would not keep live for long: flags, the red zone, vector halves, x87, MXCSR. */

#define FUNCTION(name) .text; .p2align 4; .globl name; .type name, @function; name:
#define END(name) .size name, . - name

/* uint64_t kernel_red_zone(uint64_t seed): 16 words below the stack pointer, no frame */
FUNCTION(kernel_red_zone)
	movq	%rdi, %rax
	.irp	slot, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	imulq	$0x5851f42d, %rax, %rax
	addq	$\slot, %rax
	movq	%rax, -\slot(%rsp)
	.endr
	xorl	%eax, %eax
	.irp	slot, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128
	rolq	$7, %rax
	xorq	-\slot(%rsp), %rax
	.endr
	ret
END(kernel_red_zone)

/* Every general register live, the carry carried through a chain of adc. */
FUNCTION(kernel_flags)
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movl	$6, %ecx
	movq	%rdi, %rax
	.irp	reg, rbx, rbp, rsi, rdx, r8, r9, r10, r11, r12, r13, r14, r15
	imulq	$0x2545f491, %rax, %rax
	addq	$77, %rax
	movq	%rax, %\reg
	.endr
1:	addq	%rbx, %rax
	.irp	reg, rbp, rsi, rdx, r8, r9, r10, r11, r12, r13, r14, r15
	adcq	%rax, %\reg
	movq	%\reg, %rax
	.endr
	setc	%bl
	seto	%bh
	sets	%dl
	setp	%dh
	leaq	(%rax, %rbx), %rax
	stc
	rcrq	$3, %rax
	decl	%ecx
	jnz	1b
	.irp	reg, rbx, rbp, rsi, rdx, r8, r9, r10, r11, r12, r13, r14, r15
	rolq	$5, %rax
	xorq	%\reg, %rax
	.endr
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret
END(kernel_flags)

/* The direction flag set across instructions. */
FUNCTION(kernel_direction)
	movq	%rdi, %rax
	leaq	-8(%rsp), %rdi
	movl	$8, %ecx
	std
1:	stosq
	imulq	$0x5851f42d, %rax, %rax
	addq	$3, %rax
	decl	%ecx
	jnz	1b
	leaq	-8(%rsp), %rsi
	movl	$8, %ecx
	xorl	%edx, %edx
2:	lodsq
	rolq	$9, %rdx
	xorq	%rax, %rdx
	decl	%ecx
	jnz	2b
	cld
	movq	%rdx, %rax
	ret
END(kernel_direction)

/* Sixteen XMM registers live, rounding towards zero in MXCSR. */
FUNCTION(kernel_sse)
	subq	$24, %rsp
	stmxcsr	(%rsp)
	movl	(%rsp), %eax
	orl	$0x6000, %eax
	movl	%eax, 4(%rsp)
	ldmxcsr	4(%rsp)
	movq	%rdi, %rax
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	imulq	$0x2545f491, %rax, %rax
	addq	$\n, %rax
	movq	%rax, %xmm\n
	punpcklqdq %xmm\n, %xmm\n
	.endr
	movl	$3, %ecx
1:	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	paddq	%xmm0, %xmm\n
	pshufd	$0x1b, %xmm\n, %xmm0
	.endr
	decl	%ecx
	jnz	1b
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	pxor	%xmm\n, %xmm0
	.endr
	cvtsi2sdq %rdi, %xmm1
	movl	$3, %eax
	cvtsi2sdq %rax, %xmm2
	divsd	%xmm2, %xmm1
	cvtsd2ss %xmm1, %xmm3
	movq	%xmm0, %rax
	movq	%xmm1, %rdx
	xorq	%rdx, %rax
	movd	%xmm3, %edx
	rolq	$13, %rax
	xorq	%rdx, %rax
	ldmxcsr	(%rsp)
	addq	$24, %rsp
	ret
END(kernel_sse)

/* The upper halves of YMM registers. Only where the processor has AVX. */
FUNCTION(kernel_avx)
	movq	%rdi, %rax
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	imulq	$0x2545f491, %rax, %rax
	addq	$\n, %rax
	vmovq	%rax, %xmm\n
	vpunpcklqdq %xmm\n, %xmm\n, %xmm\n
	vinsertf128 $1, %xmm\n, %ymm\n, %ymm\n
	.endr
	movl	$3, %ecx
1:	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vxorps	%ymm0, %ymm\n, %ymm\n
	vperm2f128 $1, %ymm\n, %ymm\n, %ymm0
	vpermilps $0x93, %ymm0, %ymm0
	.endr
	decl	%ecx
	jnz	1b
	.irp	n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vxorps	%ymm\n, %ymm0, %ymm0
	.endr
	vmovq	%xmm0, %rax
	vextractf128 $1, %ymm0, %xmm1
	vmovq	%xmm1, %rdx
	rolq	$17, %rax
	xorq	%rdx, %rax
	vzeroupper
	ret
END(kernel_avx)

/* Values on the x87 stack, single precision and rounding up in its control word. */
FUNCTION(kernel_x87)
	subq	$24, %rsp
	fnstcw	(%rsp)
	movzwl	(%rsp), %eax
	andl	$0xf0ff, %eax
	orl	$0x0800, %eax
	movw	%ax, 2(%rsp)
	fldcw	2(%rsp)
	shrq	$8, %rdi
	movq	%rdi, 8(%rsp)
	fildq	8(%rsp)
	fldpi
	fld1
	fldl2e
	movl	$5, %ecx
1:	fmul	%st(1), %st
	fadd	%st(2), %st
	fdivr	%st(3), %st
	fxch	%st(2)
	fsqrt
	decl	%ecx
	jnz	1b
	faddp
	faddp
	faddp
	fstpl	8(%rsp)
	movq	8(%rsp), %rax
	fldcw	(%rsp)
	addq	$24, %rsp
	ret
END(kernel_x87)

	.section .note.GNU-stack, "", @progbits
