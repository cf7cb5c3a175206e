/*
 * hold_x86_64 - functions that hold a pointer in one place while they wait; for test_gc_keep.c
 */
#pragma once

#include "keep.h"

/* Each says *ready, waits for *go, and gives h back. */
hidden hold_in_xmm15(hidden h, _Atomic int *go, _Atomic int *ready);
hidden hold_in_r11(hidden h, _Atomic int *go, _Atomic int *ready);
hidden hold_in_red_zone(hidden h, _Atomic int *go, _Atomic int *ready);
hidden hold_in_syscall(hidden h, _Atomic int *go, _Atomic int *ready);
__asm__(".text\n"
	".p2align 4\n"
	".type hold_in_xmm15, @function\n"
	"hold_in_xmm15:\n"
	"	notq	%rdi\n"
	"	movq	%rdi, %xmm15\n"
	"	xorl	%edi, %edi\n"
	"	movl	$1, (%rdx)\n"
	"1:	pause\n"
	"	cmpl	$0, (%rsi)\n"
	"	je	1b\n"
	"	movq	%xmm15, %rax\n"
	"	notq	%rax\n"
	"	pxor	%xmm15, %xmm15\n"
	"	ret\n"
	".size hold_in_xmm15, . - hold_in_xmm15\n"
	".type hold_in_r11, @function\n"
	"hold_in_r11:\n"
	"	movq	%rdi, %r11\n"
	"	notq	%r11\n"
	"	xorl	%edi, %edi\n"
	"	movl	$1, (%rdx)\n"
	"1:	pause\n"
	"	cmpl	$0, (%rsi)\n"
	"	je	1b\n"
	"	movq	%r11, %rax\n"
	"	notq	%rax\n"
	"	xorl	%r11d, %r11d\n"
	"	ret\n"
	".size hold_in_r11, . - hold_in_r11\n"
	".type hold_in_red_zone, @function\n"
	"hold_in_red_zone:\n"
	"	notq	%rdi\n"
	"	movq	%rdi, -120(%rsp)\n"
	"	xorl	%edi, %edi\n"
	"	movl	$1, (%rdx)\n"
	"1:	pause\n"
	"	cmpl	$0, (%rsi)\n"
	"	je	1b\n"
	"	movq	-120(%rsp), %rax\n"
	"	notq	%rax\n"
	"	movq	$0, -120(%rsp)\n"
	"	ret\n"
	".size hold_in_red_zone, . - hold_in_red_zone\n"
	/* In a register that a called function keeps, while the thread is in a system call. */
	".type hold_in_syscall, @function\n"
	"hold_in_syscall:\n"
	"	pushq	%rbx\n"
	"	pushq	%r12\n"
	"	pushq	%r13\n"
	"	movq	%rdi, %rbx\n"
	"	notq	%rbx\n"
	"	movq	%rsi, %r12\n"
	"	movq	%rdx, %r13\n"
	"	xorl	%edi, %edi\n"
	"	call	rt_enter_syscall@PLT\n"
	"	movl	$1, (%r13)\n"
	"1:	pause\n"
	"	cmpl	$0, (%r12)\n"
	"	je	1b\n"
	"	call	rt_exit_syscall@PLT\n"
	"	movq	%rbx, %rax\n"
	"	notq	%rax\n"
	"	popq	%r13\n"
	"	popq	%r12\n"
	"	popq	%rbx\n"
	"	ret\n"
	".size hold_in_syscall, . - hold_in_syscall\n");

struct held {
	hidden (*hold)(hidden h, _Atomic int *go, _Atomic int *ready);
	hidden what;
	_Atomic int go, ready;
};

static void *hold(void *arg)
{
	struct held *h = arg;

	h->hold(h->what, &h->go, &h->ready);
	return NULL;
}

static bool is_lost(hidden (*how)(hidden h, _Atomic int *go, _Atomic int *ready))
{
	hidden what[FEW];
	struct held h = {.hold = how};
	struct rt_co *co;
	bool lost;

	make(what);
	h.what = what[0];
	co = rt_spawn(hold, &h, NULL);
	until(&h.ready, 1);
	rt_gc();
	lost = !is_there(what[0]);
	h.go = 1;
	rt_join(co, NULL);
	return lost;
}

/* On a busy machine the one that is to be held is preempted at times. */
static int held_lost(hidden (*how)(hidden h, _Atomic int *go, _Atomic int *ready))
{
	int lost = 0;

	for (int i = 0; i < 8; i++)
		lost += is_lost(how);
	return lost;
}
