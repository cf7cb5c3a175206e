/*
 * lock - what a run holds: its own file while one of its processes lives, and names
 *
 * STATE_DIR/locks/RUN says in JSON whose run it is, with which processes and names. Owner and
 * guard share one open file description, so the lock is free only when both are gone. Names
 * ("experiment/NAME", "target/...") are bytes of one file, locked at the hash of the name: any
 * number of them costs one descriptor, and the guard keeps them all by holding a copy.
 *
 * A name is held against the runs of one state directory, or against those of the whole machine.
 * The latter's file lies in /run/brunt (for a user, in XDG_RUNTIME_DIR), where each run has a link
 * to its own file; where that cannot be written, the state directory has to do.
 *
 * Owns:    a struct lock owns its descriptors and its file; lock_free gives everything back
 * Threads: the loop's thread only
 * Errors:  -EBUSY: another run holds the name; the text says which
 */
#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lock;

int lock_new(const char *state_dir, const char *run_id, const char *experiment, struct lock **ret,
	     struct err *e);
void lock_free(struct lock *l); /* removes the run's file */
DEFINE_AUTOPTR(lock, lock_free);

enum lock_scope { LOCK_STATE_DIR, LOCK_MACHINE };
/* Taking a name twice is no error. */
int lock_name(struct lock *l, enum lock_scope scope, const char *name, struct err *e);
void lock_drop_names(struct lock *l);
/* Writes the guard's identity into the run's file, for stop. */
int lock_set_guard(struct lock *l, pid_t pid, struct err *e);
/* Writes that the owner has heard and ends the run: stop then leaves it to the owner. */
void lock_note_ending(struct lock *l);
/* Writes down the control group of what the run starts, before that is made. */
int lock_set_group(struct lock *l, const char *path, struct err *e);
/* Ends what a run with dead processes had started, as its file says; before lock_forget. */
int lock_end_group(const char *state_dir, const char *run_id, struct err *e);
/* Descriptors for the guard, borrowed. */
enum { LOCK_FDS = 3 };
void lock_fds(const struct lock *l, int ret[LOCK_FDS]);

/* A run as its lock file tells. */
struct lock_holder {
	char *run_id, *experiment;
	pid_t owner, guard;                 /* 0: none, or gone */
	unsigned long long owner_start, guard_start; /* pidfd_start_time, against reused pids */
	bool live;                          /* the lock is held */
	bool ending;                        /* the owner was asked to end the run, and does */
};
void lock_holder_done(struct lock_holder *h);
int lock_holder_read(const char *state_dir, const char *run_id, struct lock_holder *ret,
		     struct err *e);
/* False too for one that has died and was not yet reaped. */
bool lock_holder_lives(pid_t pid, unsigned long long start_time);
/* A pidfd of the owner or the guard, or -ESRCH when that process has gone. */
int lock_holder_pidfd(pid_t pid, unsigned long long start_time, struct err *e);

/* Takes over the run's lock when nobody holds it: 1, with the fd; 0 when the run is live. */
int lock_take_over(const char *state_dir, const char *run_id, int *ret_fd, struct err *e);
/* Removes the file of a run that was taken over. */
void lock_forget(const char *state_dir, const char *run_id);

/* Runs of a state directory whose lock is held, whatever its journal says of them. */
void lock_live_runs(const char *state_dir, struct strlist *ret);
/* A run that a folder of the machine lists: /run/brunt, and for root each user's own. */
struct lock_run {
	char *state_dir, *run_id;
	uid_t uid; /* whose the state directory is */
};
void lock_machine_runs(struct lock_run **ret, size_t *ret_n);
void lock_runs_free(struct lock_run *runs, size_t n);
/* Other state directories of this user whose runs hold something. */
void lock_other_state_dirs(const char *state_dir, struct strlist *ret);
