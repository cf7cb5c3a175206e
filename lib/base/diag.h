/*
 * diag - every error of a file in one go
 *
 * Each line the user sees is "file:line:column: path: text"; path is the field's path
 * ("spec.faults[0].networkChaos.delay.latency") and may be empty.
 */
#pragma once

#include "err.h"

struct diag {
	char *file;
	int line, column; /* from 1; 0 when the error has no place */
	char *path;
	char *text;
};

struct diags {
	struct diag *items;
	size_t n;
	struct diag *warnings; /* nothing is refused for them */
	size_t n_warnings;
};

void diags_add(struct diags *d, const char *file, int line, int column, const char *path,
	       const char *fmt, ...) format_like(6, 7);
void diags_warn(struct diags *d, const char *file, int line, int column, const char *path,
		const char *fmt, ...) format_like(6, 7);
/* Sorts by file, line and column and drops doubles. */
void diags_sort(struct diags *d);
/* All lines, each ended by a newline; the caller frees. */
char *diags_text(const struct diags *d);
/* The warnings in the same form, "warning: " before each text. */
char *diags_warnings_text(const struct diags *d);
/* The first line as an error, with "and N more" when there are more. */
int diags_err(const struct diags *d, struct err *e);
void diags_done(struct diags *d);

#define autodiags __attribute__((cleanup(diags_done))) struct diags
