/*
 * expect - situations of several expectations each: one TAP line a situation
 *
 * Flow:    EXPECT() inside a situation notes what failed and goes on; run_situations() has one line
 *          for each. An argument of the program picks those whose name contains it.
 */
#pragma once

#include "tap.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct situation {
	const char *name;
	void (*fn)(void);
};

#define SITUATION(fn) {#fn, fn}

static _Atomic int expect_failures;

__attribute__((format(printf, 3, 4))) static inline void expect_failed(const char *file, int line,
								       const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	printf("# %s:%d: %s\n", file, line, text);
	fflush(stdout);
	atomic_fetch_add(&expect_failures, 1);
}

#define EXPECT(cond)                                                                               \
	do {                                                                                       \
		if (!(cond))                                                                       \
			expect_failed(__FILE__, __LINE__, "%s", #cond);                            \
	} while (0)

#define EXPECT_EQ(got, want)                                                                       \
	do {                                                                                       \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		if (got_ != want_)                                                                 \
			expect_failed(__FILE__, __LINE__, "%s is %lld, want %lld", #got, got_,     \
				      want_);                                                      \
	} while (0)

static inline void run_situations(const struct situation *list, size_t n, const char *only)
{
	for (size_t i = 0; i < n; i++) {
		int before = atomic_load(&expect_failures);

		if (only && !strstr(list[i].name, only))
			continue;
		list[i].fn();
		CHECK(atomic_load(&expect_failures) == before, "%s", list[i].name);
	}
}
