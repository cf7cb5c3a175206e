/*
 * seen - what a coroutine can see of the processor, and whether it is as it should be
 *
 * Threads: any; the texts that the functions give are constant or the caller's
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define TRAP_FLAG 0x100
#define DIRECTION_FLAG 0x400
#define RESUME_FLAG 0x10000

enum { XSTATE_MAX = 8192 };

/* Registers, flags and vector state in one form whatever XSAVE left out. */
struct seen {
	greg_t regs[NGREG];
	uint8_t vector[XSTATE_MAX];
};

void seen_take(const ucontext_t *u, struct seen *to);
/* true: they differ, and what (n bytes) says where. */
bool seen_differ(const struct seen *a, const struct seen *b, char *what, size_t n);

/* What another coroutine has left behind for the caller, which has just been resumed and uses the
 * default modes: a text, NULL when there is nothing. Repairs it. */
const char *seen_foreign_state(void);
/* rt_yield() with control words of the caller's own, and a full use of the x87 stack. */
const char *seen_across_yield(void);
