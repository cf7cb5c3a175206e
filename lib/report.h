/*
 * report - the record of a run for other programs
 *
 * Flow:    verdict -> [report]
 * Owns:    nothing; strings returned are the caller's
 */
#pragma once

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

/* Whether the SLO is there to be breached: then it is held when one of its objectives is broken. */
bool report_expects_breach(const json_t *slo);

/* What the record says of an SLO's recovery. */
struct report_recovery {
	char objective[64], text[64]; /* "recovers within 3.00 s", "held again after 812 ms" */
	const char *state;	      /* "held", "breached", "inconclusive"; "measured" if not asked */
};
/* False when it was not asked for and none was measured. */
bool report_recovery(const json_t *slo, struct report_recovery *ret);

/* JUnit XML of one or more records (docs/record.md): a suite an experiment, a case for each
 * objective, for each fault's effect and for the restoration. */
char *report_junit(const json_t *const *records, size_t n);

/* Whether report_write could write there: asked before the run, not found out after it. */
int report_check(const char *path, struct err *e);

/* Writes text to path so that a reader sees the old file or the whole new one. */
int report_write(const char *path, const char *text, struct err *e);
