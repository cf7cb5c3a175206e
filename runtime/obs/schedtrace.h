/*
 * schedtrace - the state of the scheduler, as the lines that Go 1.26 prints for GODEBUG=schedtrace
 *
 * Threads: any. Takes sched.lock for the time of formatting: tens of microseconds, with detail as
 *          long as there are coroutines to list
 */
#pragma once

#include "out.h"

#include <stdbool.h>

/* detailed: also a line for each P, M and coroutine. */
void schedtrace(struct out *o, bool detailed);
