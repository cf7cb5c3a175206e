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
