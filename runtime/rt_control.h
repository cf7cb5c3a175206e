/*
 * rt_control - a socket through which a service lets itself be disturbed, for experiments
 *
 * Opt-in: a service that does not call this has no such socket. It listens at a path, mode 0600, and
 * answers root and its own user only. What is asked for is under a lease: it ends by itself when
 * the connection that asked closes or stops renewing. control/protocol.h has the lines.
 *
 * Owns:    the path, from serve to stop; a stale socket of an earlier process is taken over
 * Threads: a thread of its own answers, so that it does while the scheduler stalls
 */
#pragma once

#include <stdint.h>

struct rt_control_options {
	const char *path;
	int64_t probe_ns; /* how often, on average, a stop measures the time to safepoint; 0: 20 ms */
};

/* One at a time. For coroutines; no safepoint. Errors: -EALREADY; -EADDRINUSE somebody answers there;
 * -EEXIST something else than a socket is there; -ENAMETOOLONG; the kernel's own */
int rt_control_serve(const struct rt_control_options *o);
/* Ends what is under way; to be called before the first coroutine returns. Does nothing without a
 * serve. For coroutines. */
void rt_control_stop(void);
