/*
 * util - the few helpers that liveroom needs: it shares no code with the injector that breaks it
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000LL
#define NSEC_PER_MSEC 1000000LL
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static inline void free_pointer_(void *p)
{
	free(*(void **)p);
}

static inline void close_fd_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define autofree __attribute__((cleanup(free_pointer_)))
#define autofd __attribute__((cleanup(close_fd_)))
