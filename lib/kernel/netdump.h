/*
 * netdump - the state of a network namespace that faults could leave a trace in, as text
 *
 * One line each for devices, qdiscs, classes, chains and filters with their actions, sorted,
 * without counters, ages and timers: two dumps are equal exactly when nothing was changed. Long
 * option blocks appear as their length and hash.
 */
#pragma once

#include "../base/mem.h"
#include "netlink.h"

int netdump(struct netlink *nl, struct str *ret, struct err *e);

struct links;
/* The lines of all qdiscs; and those of the filters at a device's clsact, none where it has none. */
int netdump_qdiscs(struct netlink *nl, const struct links *links, struct strlist *ret,
		   struct err *e);
void netdump_filters(struct netlink *nl, const struct links *links, int ifindex,
		     struct strlist *ret);
