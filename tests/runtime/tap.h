/*
 * tap - a test program of the runtime says "ok N - SITUATION" for each check, and 1..N at the end
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int tap_n, tap_failed;

/* n coroutines, or as many as there is room for: a TSan fiber costs 830 KB, and valgrind looks for a
 * stack among all. tests/run sets the variable there. */
static inline int tap_many(int n)
{
	return getenv("RT_FEW_COROUTINES") && n > 1000 ? 1000 : n;
}
#define MANY(n) tap_many(n)

/* Printed at once: a program that dies shows how far it came. */
#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		int tap_good_ = !!(cond);                                                          \
		tap_failed += !tap_good_;                                                          \
		printf("%sok %d - ", tap_good_ ? "" : "not ", ++tap_n);                            \
		printf(__VA_ARGS__);                                                               \
		printf("\n");                                                                      \
		if (!tap_good_)                                                                    \
			printf("# %s:%d: %s\n", __FILE__, __LINE__, #cond);                        \
		fflush(stdout);                                                                    \
	} while (0)

static inline int tap_done(void)
{
	printf("1..%d\n", tap_n);
	return tap_failed != 0;
}
