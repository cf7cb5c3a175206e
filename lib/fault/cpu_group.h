/*
 * cpu_group - the CPU quota of one control group, on v1 and v2
 *
 * Units:   microseconds; a quota of INT64_MAX is none (-1 on v1, "max" on v2)
 * Errors:  file and kernel's reason
 * Source:  Documentation/scheduler/sched-bwc.rst, cgroup-v2.rst (cpu.max, cpu.stat)
 */
#pragma once

#include "../kernel/cgroup.h"

struct cpu_quota {
	int64_t quota_us, period_us;
	int64_t burst_us; /* 0 where the kernel has none */
};
int cpu_group_read(const struct cgroup *cg, struct cpu_quota *ret, struct err *e);

/* The one file that a quota is written to, its text now, and the text that stands for a quota. */
const char *cpu_group_file(const struct cgroup *cg);
/* All that say how much CPU time the group has: that one first; v1: then the period. NULL ends it. */
const char *const *cpu_group_files(const struct cgroup *cg);
char *cpu_group_text(const struct cgroup *cg, int64_t quota_us, int64_t period_us);

struct cpu_counts {
	uint64_t periods, throttled; /* in how many of them the group had to wait */
	uint64_t throttled_ns;
	bool has_used;
	uint64_t used_ns; /* by the group and those below it */
};
int cpu_group_counts(const struct cgroup *cg, struct cpu_counts *ret, struct err *e);

/* Every file that a fault may touch or trip over, "path file: value" a line. */
int cpu_group_snapshot(const struct cgroup *cg, struct str *ret, struct err *e);
