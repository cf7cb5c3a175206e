/*
 * pidfd - processes by handle, never by bare pid
 */
#pragma once

#include "../base/err.h"

#include <stdbool.h>
#include <sys/types.h>

int pidfd_open_pid(pid_t pid, struct err *e); /* fd, or -ESRCH */
int pidfd_signal(int pidfd, int sig, struct err *e);
/* Waits until the process has exited; 1 exited, 0 timed out. timeout_ms -1: forever. */
int pidfd_wait(int pidfd, int timeout_ms);
/* Start time in clock ticks since boot, to tell a reused pid; from /proc/PID/stat. */
int pidfd_start_time(pid_t pid, unsigned long long *ret);
/*
 * Stopped, traced, dead or gone: it will not answer by itself. Any other process is at work or waits
 * for the CPU, however late its answer is.
 */
bool pidfd_stands_still(pid_t pid);
