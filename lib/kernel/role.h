/*
 * role - a helper process that is brunt itself, re-executed
 *
 * It inherits no thread, lock, open database or stray descriptor: only the descriptors it is
 * given, as 3, 4, ... In a program other than brunt (a unit test), which has no roles, the forked
 * child calls the role's main directly.
 */
#pragma once

#include "../base/err.h"

#include <sys/types.h>

enum { ROLE_FD_FIRST = 3, ROLE_FDS_MAX = 8 };

/* fds are borrowed; the child leads a session of its own, away from the terminal's signals.
 * Returns a pidfd. */
int role_spawn(const char *role, int (*role_main)(int argc, char **argv), const int *fds, size_t n,
	       pid_t *ret_pid, struct err *e);
