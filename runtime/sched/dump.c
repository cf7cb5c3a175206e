/*
 * What there is to say about coroutines when something is wrong: written with write(2) alone, since it
 * may be a signal handler that says it.
 */
#include "sched.h"

#include <execinfo.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { FRAMES = 64 };

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *fmt, ...)
{
	char buf[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof buf - 1)
		n = sizeof buf - 1;
	if (write(fd, buf, (size_t)n) < 0)
		return; /* nobody is there to be told */
}

static size_t walk(const struct rt_co *co, uintptr_t fp, uintptr_t *ret_pcs, size_t n, size_t max)
{
	while (n < max && stack_holds(co, fp) && fp % 8 == 0 && stack_holds(co, fp + 15)) {
		const uintptr_t *frame = (const uintptr_t *)fp;

		if (!frame[1])
			break;
		ret_pcs[n++] = frame[1];
		if (frame[0] <= fp)
			break;
		fp = frame[0];
	}
	return n;
}

size_t dump_frames(const struct rt_co *co, uintptr_t *ret_pcs, size_t max)
{
	/* rt_switch() keeps rbp above six words, and above it where it returns to */
	const uintptr_t *saved = co->sp;

	if (co == this_co())
		return walk(co, (uintptr_t)__builtin_frame_address(0), ret_pcs, 0, max);
	if (!stack_holds(co, (uintptr_t)saved) || max == 0)
		return 0;
	ret_pcs[0] = saved[7];
	return walk(co, saved[6], ret_pcs, 1, max);
}

static void say_stack(int fd, const uintptr_t *pcs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		void *pc = (void *)(pcs[i] - (i > 0));

		say(fd, "\t");
		backtrace_symbols_fd(&pc, 1, fd);
	}
}

static void say_one(int fd, struct rt_co *co)
{
	enum co_state s = atomic_load_explicit(&co->state, memory_order_acquire);
	const char *why = s == CO_WAITING ? wait_reason_name(co->reason) : co_state_name(s);

	say(fd, "goroutine %llu [%s]:%s%s\n", (unsigned long long)co->id, why, co->name ? " " : "",
	    co->name ? co->name : "");
}

static void say_origin(int fd, const struct rt_co *co)
{
	void *pc = (void *)(co->created_at - 1);

	say(fd, "created by coroutine %llu at\t", (unsigned long long)co->parent_id);
	backtrace_symbols_fd(&pc, 1, fd);
}

static void dump_one(struct rt_co *co, void *arg)
{
	enum co_state s = atomic_load_explicit(&co->state, memory_order_acquire);
	int fd = *(int *)arg;
	uintptr_t pcs[FRAMES];

	if (s == CO_IDLE)
		return;
	say_one(fd, co);
	if (s != CO_RUNNING || co == this_co())
		say_stack(fd, pcs, dump_frames(co, pcs, FRAMES));
	else
		say(fd, "\ton thread, stack not available\n");
	say_origin(fd, co);
	say(fd, "\n");
}

void rt_dump(int fd)
{
	stack_each(dump_one, &fd);
}

_Noreturn void rt_fatal(const char *fmt, ...)
{
	struct rt_co *self = this_co();
	char text[400];
	va_list ap;
	int fd = STDERR_FILENO;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	say(fd, "fatal error: %s\n\n", text);
	if (self)
		dump_one(self, &fd);
	abort();
}

void dump_deadlock(void)
{
	say(STDERR_FILENO, "fatal error: all coroutines are asleep - deadlock!\n\n");
	rt_dump(STDERR_FILENO);
	abort();
}

_Noreturn void dump_overflow(struct rt_co *co, uintptr_t addr, void *context)
{
	const ucontext_t *u = context;
	uintptr_t pcs[FRAMES] = {(uintptr_t)u->uc_mcontext.gregs[REG_RIP]};
	size_t n = walk(co, (uintptr_t)u->uc_mcontext.gregs[REG_RBP], pcs, 1, FRAMES);
	int fd = STDERR_FILENO;

	say(fd, "fatal error: stack overflow: coroutine %llu%s%s touched %#lx, below its stack of %zu KiB\n"
	    "next step: give it more with rt_attr.stack_bytes, or use less: deep recursion, large arrays\n\n",
	    (unsigned long long)co->id, co->name ? " " : "", co->name ? co->name : "",
	    (unsigned long)addr, ((uintptr_t)co - co->stack_lo) >> 10);
	say_one(fd, co);
	say_stack(fd, pcs, n);
	say_origin(fd, co);
	signal(SIGABRT, SIG_DFL);
	abort();
}
