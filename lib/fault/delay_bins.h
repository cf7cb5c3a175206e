/*
 * delay_bins - measured delays and how often each was seen, in bounded memory
 *
 * Errors:  -EINVAL a delay that no fault could add
 */
#pragma once

#include "../base/err.h"

#include <stddef.h>
#include <stdint.h>

struct delay_bin {
	int64_t delay_ns;
	uint64_t count;
};

struct delay_bins {
	struct delay_bin *items; /* the caller frees */
	size_t n;
	size_t merged; /* so many had no equals when they were last merged */
};

/* Takes a number, whatever it is; of more than half a million different delays neighbours become
 * one. */
int delay_bins_add(struct delay_bins *b, double delay_ns, uint64_t count, struct err *e);
/* In the order of their delays, each once. */
void delay_bins_merge(struct delay_bins *b);
