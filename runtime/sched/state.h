/*
 * state - the states of a coroutine and of a scheduling context, and who may follow whom
 *
 * Every change goes through co_set() or p_set(): debug builds (RT_CHECKS) refuse a change that is
 * not in the table. runtime/README.md draws both machines.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define RT_CO_STATES(X)                                                                            \
	X(IDLE, "idle")           /* its slot is free */                                           \
	X(RUNNABLE, "runnable")   /* in one run queue */                                           \
	X(RUNNING, "running")     /* on a thread with a P */                                       \
	X(SYSCALL, "syscall")     /* on a thread that may have lost its P */                       \
	X(WAITING, "waiting")     /* somebody has promised to call co_ready() */                   \
	X(PREEMPTED, "preempted") /* taken off between two instructions, on its way to a queue */  \
	X(DEAD, "dead")           /* ended, its handle not given up */

#define RT_P_STATES(X)                                                                             \
	X(IDLE, "idle")       /* in the idle list */                                               \
	X(RUNNING, "running") /* held by a thread */                                               \
	X(SYSCALL, "syscall") /* its thread is in a system call; whoever changes this has it */    \
	X(STOPPED, "stopped") /* by a stopped world */                                             \
	X(DEAD, "dead")       /* beyond the number of Ps in use */

#define RT_ENUM_CO(name, text) CO_##name,
#define RT_ENUM_P(name, text) P_##name,
enum co_state { RT_CO_STATES(RT_ENUM_CO) CO_STATES };
enum p_state { RT_P_STATES(RT_ENUM_P) P_STATES };

struct rt_co;
struct p;

const char *co_state_name(enum co_state s);
const char *p_state_name(enum p_state s);
bool co_may(enum co_state from, enum co_state to);
bool p_may(enum p_state from, enum p_state to);

/* The caller owns the P in state from. */
void p_set(struct p *p, enum p_state from, enum p_state to);
/* Several may try; true for the one that made the change. */
bool p_try(struct p *p, enum p_state from, enum p_state to);
