/*
 * memory - the limit that the kernel puts on this process, and how much of it is used
 *
 * Reads the memory cgroup on v1, v2 and hybrid hosts; a service that cannot see its limit finds
 * out by being killed.
 */
#pragma once

#include "util.h"

struct memory {
	int64_t limit_bytes; /* the tightest on the way to the root; INT64_MAX: none */
	int64_t used_bytes;  /* 0: unknown */
};

/* Finds the own group once, then reads two files a call. */
struct memory memory_now(void);
