/*
 * runtime_undo - a RuntimeChaos driver's revert, resnapshot and lease; private to runtime_chaos
 *
 * Errors:  as struct fault_driver has it
 */
#pragma once

#include "driver.h"

struct runtime_control;

/* What of the run is still under way at a socket, in snapshot's form: no path, no counters. */
int runtime_snapshot(struct runtime_control *c, const char *tag, struct str *ret, struct err *e);

int runtime_vet(const struct undo *u, struct err *e);
int runtime_revert(const struct undo *undo, size_t n, struct broker *broker,
		   struct undo_result *results, struct err *e);
int runtime_resnapshot(const struct undo *u, struct broker *broker, struct str *ret, struct err *e);
int runtime_lease_left(const struct undo *u, struct broker *broker, int64_t *ret_ns, struct err *e);
