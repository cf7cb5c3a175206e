/*
 * help - what the tests of channels, locks and contexts share
 */
#pragma once

#include "rt.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT_OF(a) (sizeof(a) / sizeof(*(a)))

/* How often something that starts coroutines is repeated: a fiber costs TSan hundreds of KB. */
#if defined(__SANITIZE_THREAD__)
#define REPEAT(n) ((n) / 16)
#else
#define REPEAT(n) (n)
#endif

/* xorshift; *x is not 0 */
static inline uint32_t random_next(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	return *x ^= *x << 5;
}

/* Until the counter is n, at most a minute. */
static inline bool until(_Atomic int *counter, int n)
{
	int64_t deadline = rt_now() + 60 * RT_SEC;

	while (atomic_load(counter) != n) {
		if (rt_now() > deadline)
			return false;
		rt_sleep(100 * RT_USEC);
	}
	return true;
}

/* Lets others run until they wait: on one P, everybody who can run has run then. */
static inline void settle(void)
{
	for (int i = 0; i < 100; i++)
		rt_yield();
}

/* A deadline that is over soon, often before its wait has begun. */
static inline int64_t soon(uint32_t *x)
{
	return rt_now() + random_next(x) % 50000;
}

/* n coroutines run fn(arg) with their number, to the end. */
struct crew_member {
	void (*fn)(void *arg, int i);
	void *arg;
	int i;
	struct rt_co *co;
};

static inline void *crew_entry(void *arg)
{
	struct crew_member *c = arg;

	c->fn(c->arg, c->i);
	return NULL;
}

static inline void crew_start(struct crew_member *c, int n, void (*fn)(void *arg, int i), void *arg)
{
	for (int i = 0; i < n; i++) {
		c[i] = (struct crew_member){fn, arg, i, NULL};
		c[i].co = rt_spawn(crew_entry, &c[i], NULL);
	}
}

static inline void crew_join(struct crew_member *c, int n)
{
	for (int i = 0; i < n; i++)
		rt_join(c[i].co, NULL);
}
