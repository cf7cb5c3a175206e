/*
 * metrics - lines of OpenMetrics text that the parts of the runtime write alike; private to runtime/
 */
#pragma once

#include "ttsp.h"

#include <stdio.h>

void metrics_gauge(FILE *f, const char *name, const char *help, int64_t value);
void metrics_counter(FILE *f, const char *name, const char *help, uint64_t value);
/* In seconds, as a histogram is: name ends in _seconds. */
void metrics_seconds_counter(FILE *f, const char *name, const char *help, int64_t ns);
void metrics_histogram_head(FILE *f, const char *name, const char *help);
/* label: as cause="stop", or empty; per_octave: bounds to a doubling, 1, 2, 4, 8 or 16. */
void metrics_histogram(FILE *f, const char *name, const char *label, const struct ttsp *t,
		       int per_octave);

void metrics_of_heap(FILE *f); /* mem/metrics.c */
