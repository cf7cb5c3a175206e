/*
 * guard - the process that reverts when the owner is gone
 *
 * Re-executed from /proc/self/exe (role "__guard"), it inherits no database handle, no thread and
 * no stray descriptor. It opens its own journal and broker, is sent the run's lock and the
 * targets' namespaces over SCM_RIGHTS, and acknowledges before the first injection. It reverts
 * what the journal holds of the run when its socket closes, when the deadline passes, on SIGTERM,
 * and never otherwise; told to leave, it leaves.
 *
 * Threads: the loop's thread only
 * Errors:  a guard that died is told through on_death, once
 */
#pragma once

#include "lock.h"
#include "target/target.h"

struct guard;
struct sd_event;

#define GUARD_ROLE "__guard"
int guard_main(int argc, char **argv);

/* on_death is called on the loop when the guard has died without having been told to leave. */
int guard_start(const char *state_dir, const char *run_id, const struct lock *lock,
		struct sd_event *loop, void (*on_death)(void *data), void *data,
		struct guard **ret, struct err *e);
/*
 * Hands over the namespaces of targets and the time by which everything must be reverted
 * (CLOCK_MONOTONIC); done is called on the loop when the guard has acknowledged, with -EPIPE when
 * it has died instead.
 */
void guard_arm(struct guard *g, const struct target_list *targets, int64_t deadline_ns,
	       void (*done)(void *arg, int r), void *arg);
/* The guard lets go of a namespace: a held one keeps a dead pod's veth answering. */
void guard_forget(struct guard *g, struct netns_id id);
/* Everything is reverted: the deadline is off, however long the run goes on measuring. */
void guard_disarm(struct guard *g);
pid_t guard_pid(const struct guard *g);
/* False for one that has died, or reverts, though the loop has not heard of it yet. */
bool guard_lives(const struct guard *g);
/* Tells the guard to leave, without waiting for it. */
void guard_free(struct guard *g);
DEFINE_AUTOPTR(guard, guard_free);
