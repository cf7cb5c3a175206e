/*
 * memory_undo - a MemoryChaos driver's revert and resnapshot; private to memory_limit
 *
 * Errors:  as struct fault_driver has it for both
 */
#pragma once

#include "driver.h"

int memory_vet(const struct undo *u, struct err *e);
int memory_revert(const struct undo *undo, size_t n, struct broker *broker,
		  struct undo_result *results, struct err *e);
int memory_resnapshot(const struct undo *u, struct broker *broker, struct str *ret, struct err *e);
