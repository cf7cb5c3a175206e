/*
 * runtime_control - a service's control socket, as its client sees it
 *
 * The socket is looked up as the service sees its files and opened without following links out of
 * there; who answers must be the expected process, one below it, or one of its PID namespace.
 *
 * Owns:    the connection: what was asked for through it ends when it closes
 * Threads: the caller's; runtime_control_fd may be written to by another
 * Errors:  the path and what to do about it; -ENOENT no socket, -ECONNREFUSED nobody listens on it
 * Source:  runtime/control/protocol.h has the lines. No code is shared with the runtime.
 */
#pragma once

#include "../base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { RUNTIME_CONTROL_VERSION = 1, RUNTIME_LINE_MAX = 4096 };

struct runtime_control;

int runtime_control_open(pid_t pid, const char *path, struct runtime_control **ret, struct err *e);
/* No answer is waited for beyond that time (CLOCK_MONOTONIC), how many ever are asked for. */
int runtime_control_open_until(pid_t pid, const char *path, int64_t deadline_ns,
			       struct runtime_control **ret, struct err *e);
void runtime_control_close(struct runtime_control *c);
DEFINE_AUTOPTR(runtime_control, runtime_control_close);
int runtime_control_fd(const struct runtime_control *c);
pid_t runtime_control_peer(const struct runtime_control *c);

/* Sends a command and waits for its answer, without "ok " or as the error; at most two seconds. */
int runtime_control_ask(struct runtime_control *c, const char *command, char ret[RUNTIME_LINE_MAX],
			struct err *e);
/* Waits for nothing. next: 1 with a line, 0 none yet, -EPIPE closed. */
int runtime_control_send(struct runtime_control *c, const char *command, struct err *e);
int runtime_control_next(struct runtime_control *c, char ret[RUNTIME_LINE_MAX]);

/* What an answer to `status` says. */
struct runtime_status {
	unsigned procs, live, parked;
	uint64_t probes;
	/* -1: the service does not tell. percent < 0: no collections (RT_GOGC=off); 0: it does not tell */
	int64_t coroutines, cycles, allocated, percent;
	int64_t slow_calls, slow_us; /* delayed so far, and the time that it took */
	char actions[RUNTIME_LINE_MAX];
};
int runtime_status_parse(const char *text, struct runtime_status *ret, struct err *e);

/* One item of actions; *at moves on. False at the end. */
struct runtime_action {
	char name[64], tag[128];
	int64_t lease_ms, worst_us;
};
bool runtime_action_next(const char **at, struct runtime_action *ret);
/* The action of this tag. */
bool runtime_status_find(const struct runtime_status *s, const char *tag, struct runtime_action *ret);
