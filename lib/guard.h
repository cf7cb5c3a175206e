/*
 * guard - the process that reverts when the owner is gone
 *
 * Re-executed from /proc/self/exe (role "__guard"), it inherits no database handle, no thread and
 * no stray descriptor. It opens its own journal and broker, is sent the run's lock, the targets'
 * namespaces and a copy of the undo records, and acknowledges before the first injection. It reverts
 * the run when its socket closes, when the deadline passes, on SIGTERM, and never otherwise; told to
 * leave, it leaves. It reverts from its own copy first, so a damaged journal loses nothing.
 *
 * The owner pings it, and kills it when it gives no answer: a stopped guard is no guard.
 *
 * Threads: the loop's thread only
 * Errors:  a guard that died is told through on_death, once
 */
#pragma once

#include "fault/driver.h"
#include "lock.h"

struct guard;
struct sd_event;

#define GUARD_ROLE "__guard"
int guard_main(int argc, char **argv);

/* on_death is called on the loop when the guard has died without having been told to leave. */
int guard_start(const char *state_dir, const char *run_id, const struct lock *lock,
		struct sd_event *loop, void (*on_death)(void *data), void *data,
		struct guard **ret, struct err *e);
/*
 * Hands over the namespaces of targets, the undo records, and the time by which everything must be
 * reverted (CLOCK_MONOTONIC); done is called on the loop when the guard has acknowledged, with -EPIPE
 * when it has died instead.
 */
void guard_arm(struct guard *g, const struct target_list *targets, const struct undo_list *undo,
	       int64_t deadline_ns, void (*done)(void *arg, int r), void *arg);
/* Records that the owner has undone; ids are the journal's. */
void guard_undone(struct guard *g, const int64_t *ids, size_t n);
/*
 * The owner changes targets only between these two. -EOWNERDEAD: the guard has died or has begun to
 * revert, and from now on nothing may be changed but back.
 */
int guard_enter(struct guard *g, struct err *e);
void guard_exit(struct guard *g);
/* A process of the owner's that the guard ends after it, should it not end by itself. */
void guard_see_off(struct guard *g, int pidfd);
/* The guard lets go of a namespace: a held one keeps a dead pod's veth answering. */
void guard_forget(struct guard *g, struct netns_id id);
/* Everything is reverted: the deadline is off, however long the run goes on measuring. */
void guard_disarm(struct guard *g);
pid_t guard_pid(const struct guard *g);
/* False for one that has died, or reverts, though the loop has not heard of it yet. */
bool guard_lives(const struct guard *g);
/* How it came to its end, for the user; only after on_death. */
const char *guard_fate(const struct guard *g);
/* Tells the guard to leave; one that does not is killed. */
void guard_free(struct guard *g);
DEFINE_AUTOPTR(guard, guard_free);
