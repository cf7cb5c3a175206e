/*
 * groups - the lab's control groups: LAB/POD/CONTAINER in each hierarchy that has one of memory,
 * cpu, cpuacct, pids and freezer
 *
 * On v1 these are up to five hierarchies, on v2 one, on hybrid hosts a mixture. A container's
 * groups stay while its pod lives, so a limit that a fault changed outlives a restart.
 */
#pragma once

#include "home.h"
#include "manifest.h"

enum { LAB_HIERARCHIES_MAX = 5 };

/* One group in each hierarchy. */
struct lab_group {
	struct cgroup in[LAB_HIERARCHIES_MAX];
	size_t n;
};

/* Makes the lab's own group, named after name and id, and writes it down in home first. */
int lab_groups_open(const struct lab_home *home, const char *name, unsigned id,
		    struct lab_group *ret, struct err *e);
/* A group below, in each hierarchy. */
int lab_group_make(const struct lab_group *parent, const char *name, struct lab_group *ret,
		   struct err *e);
/* Hands memory, cpu and pids on to the groups below (v2). */
void lab_group_hand_on(const struct lab_group *g);
int lab_group_limit(const struct lab_group *g, const struct lab_resources *limits, struct err *e);
int lab_group_attach(const struct lab_group *g, pid_t pid, struct err *e);
void lab_group_kill(const struct lab_group *g);
/* OOM kills counted so far in the group; 0 when nothing counts them. */
uint64_t lab_group_oom_kills(const struct lab_group *g);
void lab_group_done(struct lab_group *g);
