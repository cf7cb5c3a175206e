/*
 * What there is to say about coroutines when something is wrong: written with write(2) alone, since it
 * may be a signal handler that says it.
 */
#include "../obs/dump.h"
#include "../obs/walk.h"

#include <execinfo.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

_Noreturn void rt_fatal(const char *fmt, ...)
{
	struct rt_co *self = this_co();
	uintptr_t pcs[WALK_MAX];
	char text[400];
	va_list ap;
	int fd = STDERR_FILENO;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	say(fd, "fatal error: %s\n\n", text);
	if (self)
		dump_one(fd, self, pcs, walk_here(pcs, WALK_MAX));
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
	uintptr_t pcs[WALK_MAX];
	int n = walk_context(this_m(), context, pcs, WALK_MAX);
	int fd = STDERR_FILENO;

	say(fd, "fatal error: stack overflow: coroutine %llu%s%s touched %#lx, below its stack of %zu KiB\n"
	    "next step: give it more with rt_attr.stack_bytes, or use less: deep recursion, large arrays\n\n",
	    (unsigned long long)co->id, co->name ? " " : "", co->name ? co->name : "",
	    (unsigned long)addr, ((uintptr_t)co - co->stack_lo) >> 10);
	signal(SIGABRT, SIG_DFL);
	/* In libc the thread may hold malloc's lock: symbols cannot be looked up then. */
	if (preempt_is_managed(walk_pc(context)))
		dump_one(fd, co, pcs, n);
	else
		backtrace_symbols_fd((void **)pcs, n, fd);
	abort();
}
