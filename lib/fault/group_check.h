/*
 * group_check - is what a fault wrote into a control group still there, and the target in the group?
 *
 * The files are watched by inotify too, which tells of writes between two looks, also on cgroup v1.
 *
 * Owns:    a watch owns its descriptor
 */
#pragma once

#include "../kernel/cgroup.h"
#include "driver.h"

struct group_watch {
	int fd;    /* inotify's; 0 or -1: none */
	ino_t ino; /* of the group: one that was made anew has another */
};
/* files: NULL-terminated; those that the group lacks are left out. */
void group_watch_begin(struct group_watch *w, const struct cgroup *cg, const char *const *files);
void group_watch_done(struct group_watch *w);
/* Somebody has written to a file since this was last asked; after one's own writes, ask. */
bool group_watch_take(struct group_watch *w);

/* Each adds a line for what is not as it was set. */
bool group_check_there(const struct group_watch *w, const struct cgroup *cg, struct str *ret);
void group_check_file(const struct cgroup *cg, const char *file, const char *want, struct str *ret);
/* known: a path is that of one of the fault's groups, or below it. Returns how many of the target's
 * processes run. */
size_t group_check_processes(const struct fault *f, const struct target *t, const char *controller,
			     bool (*known)(const struct fault *f, const char *path),
			     struct str *ret);
/* path is that of the group, or below it. */
bool group_covers(const struct cgroup *cg, const char *path);
