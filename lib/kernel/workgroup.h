/*
 * workgroup - the control group of what a run starts: its load, its SLO commands, their children
 *
 * A process cannot leave it by a fork, a session of its own or its parent's death, so that ending
 * the group ends all. It is named after the run and made below brunt's own group, in the v2 tree or,
 * where nothing can be made there, in v1's freezer or pids hierarchy.
 *
 * Threads: any; ending it waits a moment
 */
#pragma once

#include "cgroup.h"

struct workgroup {
	struct cgroup cg;
	int procs_fd; /* of its cgroup.procs, for children to write themselves in */
};

/* Where it will be, for a record made before it is; -ENOENT: no hierarchy takes groups here. */
int workgroup_plan(const char *run_id, char **ret_path, struct err *e);
int workgroup_make(const char *path, struct workgroup **ret, struct err *e);
/* The calling process goes in; async-signal-safe, for a child between fork and exec. NULL: 0. */
int workgroup_join(const struct workgroup *w);
/* Kills what is in it, removes it and frees w. */
void workgroup_end(struct workgroup *w);
/* The same for a group that a run's dead owner left; a path that is no run's group is refused.
 * 0 also when it has gone already. */
int workgroup_end_at(const char *path, const char *run_id, struct err *e);
