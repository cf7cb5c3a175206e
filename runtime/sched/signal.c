/*
 * Signals: SIGURG asks a thread to leave what it runs (nobody else uses it, and it is ignored by
 * default, as Go found); SIGSEGV and SIGBUS are a closed polling page, a stack overflow, or not the
 * runtime's business; SIGQUIT dumps. Handlers run on a stack of their own.
 */
#include "../obs/dump.h"
#include "sched.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static const int taken[] = {SIGURG, SIGSEGV, SIGBUS, SIGQUIT};
enum { N_TAKEN = sizeof taken / sizeof *taken };
static struct sigaction before[N_TAKEN];
static sigset_t caller_mask;

static void on_urgent(int sig, siginfo_t *si, void *context)
{
	int saved = errno;

	preempt_interrupted(this_m(), context, false);
	errno = saved;
}

static const struct sigaction *before_of(int sig)
{
	unsigned i = 0;

	while (taken[i] != sig)
		i++;
	return &before[i];
}

/* A fault: back to what the process had, the instruction is run again and dies as it should. */
static void pass_on_fault(int sig)
{
	sigaction(sig, before_of(sig), NULL);
}

/* Nothing is run again after a signal that somebody sent. */
static void pass_on_sent(int sig, siginfo_t *si, void *context)
{
	const struct sigaction *sa = before_of(sig);

	if (sa->sa_flags & SA_SIGINFO) {
		sa->sa_sigaction(sig, si, context);
	} else if (sa->sa_handler == SIG_DFL) {
		sigaction(sig, sa, NULL);
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig); /* when this handler returns */
	} else if (sa->sa_handler != SIG_IGN) {
		sa->sa_handler(sig);
	}
}

static void on_fault(int sig, siginfo_t *si, void *context)
{
	uintptr_t addr = (uintptr_t)si->si_addr;
	struct m *m = this_m();
	struct rt_co *co;
	int saved = errno;

	if (si->si_code <= 0) {
		pass_on_sent(sig, si, context);
	} else if (preempt_is_poll_page(addr)) {
		/* Where it may not stand still, the poll must come through: the flag serves those that come
		 * later. */
		if (!preempt_interrupted(m, context, true))
			preempt_page_open();
	} else {
		co = stack_guarded_by(addr);
		if (co)
			dump_overflow(co, addr, context);
		pass_on_fault(sig);
	}
	errno = saved;
}

static void on_quit(int sig, siginfo_t *si, void *context)
{
	int saved = errno;

	dump_ask(STDERR_FILENO);
	errno = saved;
}

void signals_init(void)
{
	static void (*const handler[N_TAKEN])(int, siginfo_t *, void *) = {on_urgent, on_fault, on_fault,
									    on_quit};

	pthread_sigmask(SIG_SETMASK, NULL, &caller_mask);
	for (unsigned i = 0; i < N_TAKEN; i++) {
		struct sigaction sa = {
			.sa_sigaction = handler[i],
			.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART,
		};

		sigfillset(&sa.sa_mask);
		sigaction(taken[i], &sa, &before[i]);
	}
}

void signals_done(void)
{
	for (unsigned i = 0; i < N_TAKEN; i++)
		sigaction(taken[i], &before[i], NULL);
}

void signals_init_thread(struct m *m)
{
	size_t bytes = getauxval(AT_MINSIGSTKSZ);
	stack_t st = {0};
	sigset_t mask;

	bytes = ((bytes ? bytes : 4096) + (64 << 10)) & ~(size_t)4095;
	st.ss_sp = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (st.ss_sp == MAP_FAILED)
		rt_fatal("no memory for a signal stack");
	st.ss_size = bytes;
	sigaltstack(&st, NULL);
	m->alt_stack = st.ss_sp;
	m->alt_stack_bytes = bytes;
	/* As the caller of rt_run has it, but for the runtime's own. */
	mask = caller_mask;
	for (unsigned i = 0; i < N_TAKEN; i++)
		sigdelset(&mask, taken[i]);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

void signals_done_thread(struct m *m)
{
	stack_t off = {.ss_flags = SS_DISABLE};
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	sigaltstack(&off, NULL);
	munmap(m->alt_stack, m->alt_stack_bytes);
}
