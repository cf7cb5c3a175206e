/*
 * own - ownership that is visible at the declaration
 *
 * autofd, autofree and autoptr(type) release on every path out of a scope; take(p) hands
 * ownership on and leaves NULL behind. A type joins with DEFINE_AUTOPTR(type, destructor); the
 * destructor accepts NULL and half-built objects.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define NSEC_PER_SEC 1000000000LL
#define NSEC_PER_MSEC 1000000LL
#define NSEC_PER_USEC 1000LL

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#define format_like(f, a) __attribute__((format(printf, f, a)))

static inline void own_free_(void *p)
{
	free(*(void **)p);
}

static inline void own_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define autofree __attribute__((cleanup(own_free_)))
#define autofd __attribute__((cleanup(own_close_)))

/* Gives autoptr(type) to struct type, released by fn(struct type *). */
#define DEFINE_AUTOPTR(type, fn)                                                                   \
	static inline void own_auto_##type##_(struct type **p)                                     \
	{                                                                                          \
		fn(*p);                                                                            \
	}                                                                                          \
	struct own_semicolon_##type##_
#define autoptr(type) __attribute__((cleanup(own_auto_##type##_))) struct type *

#define take(p)                                                                                    \
	({                                                                                         \
		__typeof__(p) *own_pp_ = &(p);                                                     \
		__typeof__(p) own_v_ = *own_pp_;                                                   \
		*own_pp_ = NULL;                                                                   \
		own_v_;                                                                            \
	})
#define take_fd(fd)                                                                                \
	({                                                                                         \
		int *own_pfd_ = &(fd);                                                             \
		int own_fd_ = *own_pfd_;                                                           \
		*own_pfd_ = -1;                                                                    \
		own_fd_;                                                                           \
	})

static inline int streq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}
