/*
 * memory_group - the memory limits of one control group, on v1 and v2
 *
 * Units:   bytes; UINT64_MAX is unlimited (-1 and 9223372036854771712 on v1, "max" on v2)
 * Owns:    a struct memory_group owns its cgroup and strings
 * Errors:  file and kernel's reason; -EBUSY on v1 when less than that cannot be reclaimed
 * Source:  Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst
 */
#pragma once

#include "../kernel/cgroup.h"

#include <jansson.h>

struct memory_group {
	struct cgroup cg;
	bool has_memsw;  /* v1 with swap accounting */
};

/* What the group counts. */
struct memory_counts {
	uint64_t usage_bytes;
	uint64_t met;       /* times the limit was met: failcnt, or max and high of memory.events */
	uint64_t oom_kills;
};

int memory_group_of_pid(pid_t pid, struct memory_group *ret, struct err *e);
int memory_group_of(struct cgroup *cg, struct memory_group *ret); /* takes cg; -ENOENT: gone */
void memory_group_done(struct memory_group *g);

int memory_group_limit(const struct memory_group *g, bool high, uint64_t *ret, struct err *e);
int memory_group_counts(const struct memory_group *g, struct memory_counts *ret, struct err *e);

/* Shrinks the limit (v2: memory.max, or memory.high), memsw after it. -EBUSY changes nothing. */
int memory_group_shrink(const struct memory_group *g, bool high, uint64_t bytes, struct err *e);

/* The files of its limits, NULL-terminated, and whether shrinking writes one. */
const char *const *memory_group_files(const struct memory_group *g);
bool memory_group_writes(const struct memory_group *g, bool high, const char *file);
/* The limits as they are; and putting back those that memory_group_shrink writes, memsw before
 * limit. */
/* Whether memory_group_save keeps that file of a group of this version. */
bool memory_group_saves(int version, const char *file);
int memory_group_save(const struct memory_group *g, json_t **ret, struct err *e);
int memory_group_restore(const struct memory_group *g, bool high, const json_t *saved,
			 struct err *e);
/* The first saved file that shrinking leaves alone and that says something else by now, or NULL. */
const char *memory_group_changed(const struct memory_group *g, bool high, const json_t *saved);
/* v1's memory+swap alone, for when somebody else took over the other. -ENOENT: not accounted. */
int memory_group_memsw(const struct memory_group *g, uint64_t *ret);
int memory_group_restore_memsw(const struct memory_group *g, const json_t *saved, struct err *e);

/* Every file that a fault may touch, "path file: value" a line. */
int memory_group_snapshot(const struct memory_group *g, struct str *ret, struct err *e);
