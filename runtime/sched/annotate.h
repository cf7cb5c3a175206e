/*
 * annotate - tells ASan, TSan and valgrind which stack a thread is on; nothing in other builds
 *
 * TSan keeps 830 KB for a fiber and delays signals: its builds run cooperatively and with few
 * coroutines.
 */
#pragma once

#include "sched.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif
#ifdef RT_VALGRIND /* a build with tests: meson.build */
#include <valgrind/memcheck.h>
#else
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#define VALGRIND_MAKE_MEM_UNDEFINED(addr, len) ((void)0)
#endif

/* A slot is made, and stays one. A few instructions once a slot outside of valgrind. */
static inline void annotate_slot(struct rt_co *co)
{
	(void)VALGRIND_STACK_REGISTER(co->stack_lo, co);
}

/* Before the switch. A coroutine that ends leaves its fake stack for good: from's state says so. */
static inline void annotate_leave(struct m *m, struct rt_co *from, struct rt_co *to)
{
#if defined(__SANITIZE_ADDRESS__)
	uintptr_t lo = to ? to->stack_lo : m->sys_lo;
	uintptr_t hi = to ? (uintptr_t)to : m->sys_hi;
	void **keep = from ? &from->sanitizer : &m->sys_sanitizer;

	__sanitizer_start_switch_fiber(from && from->ending ? NULL : keep, (void *)lo, hi - lo);
#elif defined(__SANITIZE_THREAD__)
	__tsan_switch_to_fiber(to ? to->sanitizer : m->sys_sanitizer, 0);
#endif
}

/* After it, on the other stack, or when from goes on. */
static inline void annotate_arrive(struct rt_co *from, bool first)
{
#if defined(__SANITIZE_ADDRESS__)
	struct m *m = this_m();
	void *keep = first ? NULL : from ? from->sanitizer : m->sys_sanitizer;

	__sanitizer_finish_switch_fiber(keep, NULL, NULL);
#endif
}

/* Around a call on the system stack: TSan changes the fiber outside the function that runs there,
 * whose entry and exit it counts, and ASan inside. */
static inline void annotate_call(struct m *m, struct rt_co *co, bool back)
{
	/* valgrind sees the stack and the return address below it in one step, which it takes for a switch
	 * to what is there already. */
	if (!back)
		VALGRIND_MAKE_MEM_UNDEFINED((char *)m->saved.sp - SYSTEM_STACK_GAP - 64, 64);
#if defined(__SANITIZE_THREAD__)
	__tsan_switch_to_fiber(back ? co->sanitizer : m->sys_sanitizer, 0);
#elif defined(__SANITIZE_ADDRESS__)
	if (back)
		annotate_arrive(co, false);
	else
		annotate_leave(m, co, NULL);
#endif
}

static inline void annotate_called(struct m *m, struct rt_co *co, bool back)
{
#if defined(__SANITIZE_ADDRESS__)
	if (back)
		annotate_leave(m, NULL, co);
	else
		annotate_arrive(NULL, false);
#endif
}

static inline void annotate_thread(struct m *m)
{
	m->valgrind_stack = VALGRIND_STACK_REGISTER(m->sys_lo, m->sys_hi);
#if defined(__SANITIZE_THREAD__)
	m->sys_sanitizer = __tsan_get_current_fiber();
#endif
}

static inline void annotate_thread_ends(struct m *m)
{
	VALGRIND_STACK_DEREGISTER(m->valgrind_stack);
}

static inline void annotate_start(struct rt_co *co)
{
#if defined(__SANITIZE_THREAD__)
	co->sanitizer = __tsan_create_fiber(0);
#elif defined(__SANITIZE_ADDRESS__)
	co->sanitizer = NULL;
	/* The last owner of this stack did not return from its frames. */
	__asan_unpoison_memory_region((void *)co->stack_lo, (uintptr_t)co - co->stack_lo);
#endif
}

/* On another stack. */
static inline void annotate_end(struct rt_co *co)
{
#if defined(__SANITIZE_THREAD__)
	__tsan_destroy_fiber(co->sanitizer);
#endif
}
