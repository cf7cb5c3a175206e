/*
 * cgroup - one process's control groups on v1, v2 and hybrid hosts
 *
 * Each controller is resolved from /proc/PID/cgroup and the mounts that brunt itself sees, never
 * from a path convention. A cgroup is addressed by the absolute path of its folder in brunt's own
 * mount namespace.
 *
 * Files are written only where they lie in a cgroup file system, whatever the path says.
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
/* The same from the texts of /proc/PID/cgroup and /proc/self/mountinfo. -ENOENT: the controller is
 * in no hierarchy, or no mount shows the group. */
int cgroup_resolve(const char *cgroups, const char *mountinfo, const char *controller,
		   struct cgroup *ret, struct err *e);
/* The folder under which brunt makes its own groups for a controller: brunt's own cgroup. On v2,
 * where a group with processes cannot hand a controller on, its nearest ancestor that does. */
int cgroup_own(const char *controller, struct cgroup *ret, struct err *e);
/* That a path which was written down is one of a group: absolute, over no link, in a file system of
 * that version. -ENOENT: no such folder; -EPERM: it is something else. */
int cgroup_check(const struct cgroup *cg, struct err *e);
void cgroup_done(struct cgroup *cg);
#define autocgroup __attribute__((cleanup(cgroup_done))) struct cgroup

/* An existing group of that name is taken over. name has no slash. */
int cgroup_make(const struct cgroup *parent, const char *name, struct cgroup *ret, struct err *e);
/* Empty groups below it too; 0 also when it is gone already, -EBUSY while processes are in it. */
int cgroup_remove(const struct cgroup *cg, struct err *e);
int cgroup_attach(const struct cgroup *cg, pid_t pid, struct err *e);
/* SIGKILL to every process in the group and below: cgroup.kill on v2; on v1 passes until none is
 * left, frozen during the first one in the freezer hierarchy. Waits 50 ms at most for their end:
 * cgroup_remove succeeds once they are gone. */
int cgroup_kill_all(const struct cgroup *cg, struct err *e);
/* The processes of the group itself; the caller frees *ret. */
int cgroup_pids(const struct cgroup *cg, pid_t **ret, size_t *ret_n, struct err *e);

/* One file; read strips the last newline. -ENOENT when the file does not exist. */
int cgroup_read(const struct cgroup *cg, const char *file, struct str *ret, struct err *e);
int cgroup_write(const struct cgroup *cg, const char *file, const char *value, struct err *e);
/* "max" reads as UINT64_MAX. */
int cgroup_read_u64(const struct cgroup *cg, const char *file, uint64_t *ret, struct err *e);
/* One key of a flat keyed file: cgroup_read_key(cg, "memory.events", "oom_kill", &n, e). */
int cgroup_read_key(const struct cgroup *cg, const char *file, const char *key, uint64_t *ret,
		    struct err *e);

/* What lies below this path passes for a cgroup file system, for tests. */
extern const char *cgroup_root_for_tests;
