/*
 * err - an error with its context, of fixed size, that never allocates
 *
 * The innermost function names the object and the kernel's reason (err_set, err_errno); each
 * caller prepends its own context (err_wrap). The text is one line: "outer: inner: reason".
 * A hint says what the user can do next; it is printed on its own line.
 *
 * Every function accepts a NULL struct err and then only passes the code through.
 */
#pragma once

#include "own.h"

enum { ERR_TEXT_MAX = 768, ERR_HINT_MAX = 256 };

struct err {
	int code; /* positive errno, 0 when unset */
	char text[ERR_TEXT_MAX];
	char hint[ERR_HINT_MAX];
};

/* Sets the text and returns -code. */
int err_set(struct err *e, int code, const char *fmt, ...) format_like(3, 4);

/* As err_set, with ": " and the system's text for code appended. */
int err_errno(struct err *e, int code, const char *fmt, ...) format_like(3, 4);

/* Prepends "fmt: " and returns the negative code that e already holds (-EIO if it holds none). */
int err_wrap(struct err *e, const char *fmt, ...) format_like(2, 3);

/* Sets the next step for the user; returns the negative code that e holds. */
int err_hint(struct err *e, const char *fmt, ...) format_like(2, 3);

void err_clear(struct err *e);
