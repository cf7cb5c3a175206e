/*
 * cgroup - one process's control groups on v1, v2 and hybrid hosts
 *
 * Each controller is resolved from /proc/PID/cgroup and /proc/PID/mountinfo, never from a path
 * convention. A cgroup is addressed by the absolute path of its folder in brunt's own mount
 * namespace.
 *
 * Errors:  file and kernel's reason in the text ("memory.limit_in_bytes of /sys/...: Device busy")
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup {
	char *path;  /* "/sys/fs/cgroup/memory/lab/x"; owned */
	int version; /* 1 or 2 */
};

/* The cgroup of pid for a controller ("memory", "freezer", "pids", "cpu"; "" = the v2 tree). */
int cgroup_of_pid(pid_t pid, const char *controller, struct cgroup *ret, struct err *e);
/* The folder under which brunt makes its own groups for a controller: brunt's own cgroup. */
int cgroup_own(const char *controller, struct cgroup *ret, struct err *e);
void cgroup_done(struct cgroup *cg);

int cgroup_make(const struct cgroup *parent, const char *name, struct cgroup *ret, struct err *e);
int cgroup_remove(const struct cgroup *cg, struct err *e); /* empty groups below it too */
int cgroup_attach(const struct cgroup *cg, pid_t pid, struct err *e);
int cgroup_kill_all(const struct cgroup *cg, struct err *e); /* cgroup.kill, or freeze-kill-thaw */

/* One file; read strips the last newline. -ENOENT when the file does not exist. */
int cgroup_read(const struct cgroup *cg, const char *file, struct str *ret, struct err *e);
int cgroup_write(const struct cgroup *cg, const char *file, const char *value, struct err *e);
int cgroup_read_u64(const struct cgroup *cg, const char *file, uint64_t *ret, struct err *e);
/* One key of a flat keyed file: cgroup_read_key(cg, "memory.events", "oom_kill", &n, e). */
int cgroup_read_key(const struct cgroup *cg, const char *file, const char *key, uint64_t *ret,
		    struct err *e);
