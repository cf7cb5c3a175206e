/*
 * group_record - what faults on control groups have in common: finding them, and their undo records
 *
 * A record is {"groups": [{"path", "version", "ino", what the driver adds}, ...]}, one a target. A
 * group that was made anew under the same path has another inode number and is another group.
 *
 * Owns:    nothing; a struct cgroup that is returned is the caller's
 * Errors:  as struct fault_driver has it
 */
#pragma once

#include "../kernel/cgroup.h"
#include "driver.h"

/* Calls fn for each process of the chosen containers (names, or all); an error when a target has
 * none, which says that it has no `what` to limit. */
int group_each_process(const struct fault *f, const char *what,
		       int (*fn)(struct fault *f, struct target *t, pid_t pid, void *data, struct err *e),
		       void *data, struct err *e);
/* True when brunt itself is in the group or below it. */
bool group_holds_brunt(const struct cgroup *cg, const char *controller);

/* {path, version, ino}; NULL with err set when the group is gone. */
json_t *group_record_new(const struct cgroup *cg, struct err *e);
/* -ENOENT when it is gone or was made anew. */
int group_record_find(const json_t *record, struct cgroup *ret);

/* Makes the records: add appends those of a target's groups. */
int group_prepare(struct fault *f,
		  int (*add)(const struct fault *f, const struct target *t, json_t *groups, struct err *e),
		  struct err *e);

/* For `vet`: each group's path is one of a control group, and one accepts the rest of its record. */
int group_vet(const struct undo *u, int (*one)(const json_t *record, struct err *e), struct err *e);
/* What the file of a limit can hold: numbers, "max", and what is between them. */
bool group_is_limit(const json_t *text);

int group_revert(const struct undo *undo, size_t n, struct undo_result *results,
		 enum undo_outcome (*one)(const json_t *record, char *text, size_t size));
/* snapshot prints one group; -ENOENT: it is gone, and differs in nothing. */
int group_resnapshot(const struct undo *u, struct str *ret,
		     int (*snapshot)(const json_t *record, struct str *ret, struct err *e),
		     struct err *e);
