/*
 * util - the few helpers that liveroom needs: it shares no code with the injector that breaks it
 */
#pragma once

#include "../../runtime/rt.h"

#include <stdlib.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void free_pointer_(void *p)
{
	free(*(void **)p);
}

static inline void close_fd_(int *fd)
{
	if (*fd >= 0)
		rt_close_fd(*fd);
}

#define autofree __attribute__((cleanup(free_pointer_)))
#define autofd __attribute__((cleanup(close_fd_)))
