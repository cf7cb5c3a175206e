/*
 * home - a lab's folder STATE_DIR/lab/NAME: who owns it, what must be swept when the owner is gone
 *
 * The folder is 0700 and holds the lock, the record of what was made outside of processes (cgroup
 * folders, written down before they are made), the control socket, hosts files and logs. The lock
 * is held while the supervisor lives: a folder whose lock is free belongs to a dead lab.
 *
 * Errors:  -EEXIST: the lab is up
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"
#include "../kernel/cgroup.h"

struct lab_home {
	char *dir;
	int lock_fd; /* held as long as it is open; -1: not ours */
	int groups_fd; /* the record once more, in memory: the folder may be deleted; -1: none */
};

char *lab_home_dir(const char *state_dir, const char *name);

/* Makes the folder and takes the lock; what a dead lab of this name left is swept first. */
int lab_home_take(const char *dir, struct lab_home *ret, struct err *e);

/* Replaces the record: these groups (and those below) are ours. */
int lab_home_record(const struct lab_home *h, const struct cgroup *groups, size_t n, struct err *e);

/* Kills what is left in the recorded groups and removes them and the folder. */
int lab_home_remove(struct lab_home *h, struct err *e);
/* Gives up the lock only. */
void lab_home_done(struct lab_home *h);

/* True when somebody has deleted the folder, which is nobody's now or another lab's. */
bool lab_home_is_deleted(const struct lab_home *h);
/* Kills what is left in the groups of a groups_fd, and removes them. */
int lab_home_sweep_groups(int groups_fd, struct err *e);

/* True when a supervisor holds the lock. */
bool lab_home_is_live(const char *dir);
/* Sweeps the folder if its lab is dead; 1 if there was something to sweep. */
int lab_home_sweep(const char *dir, struct err *e);
/* The same for all labs below STATE_DIR. */
int lab_home_sweep_all(const char *state_dir, struct err *e);
/* Names of the labs that are up, sorted. */
int lab_home_live(const char *state_dir, struct strlist *ret);
