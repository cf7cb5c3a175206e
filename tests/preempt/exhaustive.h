/*
 * exhaustive - preempts a kernel at each of its instructions in turn
 *
 * At the k-th instruction of pass k the trap handler acts as the runtime's own signal handler would,
 * lets the coroutine go, and when it is back at that instruction compares every register, the flags
 * and the vector state with what they were; then the kernel runs to its end and its value is
 * compared. Another coroutine meanwhile sees whether the processor is in the state that the ABI
 * promises it. A stop is tried at instructions of foreign code too, at most 200 a kernel.
 *
 * Must be called by a coroutine, with as many Ps as the action wants.
 */
#pragma once

#include "actions.h"
#include "kernels.h"

#include <stdbool.h>

struct step_report {
	uint64_t instructions;     /* dynamic, in managed text */
	uint64_t addresses;        /* static, that were acted at */
	uint64_t foreign;          /* dynamic, in foreign code, that were acted at */
	uint64_t passes, moved;    /* moved: resumed on another thread than before */
	uint64_t wrong_value, wrong_state, not_taken;
	char first_wrong[160];     /* the first difference */
};

void step_init(void);
void step_kernel(const struct kernel *k, const struct action *a, struct step_report *ret);
