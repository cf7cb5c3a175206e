/*
 * openmetrics - reads the text that /metrics pages are made of
 *
 * Takes OpenMetrics and Prometheus' own text format: samples with labels, timestamps, exemplars;
 * of the comments only TYPE is used. A page is read as a whole or not at all: the first line that
 * is neither is an error with its number.
 *
 * Bounds: 64 labels a sample; names and values as long as the page
 * Source: OpenMetrics 1.0.0; Prometheus, "Exposition formats", text version 0.0.4
 */
#pragma once

#include "../base/err.h"

#include <regex.h>
#include <stdbool.h>

enum { OPENMETRICS_LABELS_MAX = 64, OPENMETRICS_BYTES_MAX = 8 << 20 };

struct openmetrics_label {
	const char *name, *value; /* value without its escapes */
};

struct openmetrics_sample {
	const char *name;
	struct openmetrics_label labels[OPENMETRICS_LABELS_MAX];
	size_t n_labels;
	double value;
	double stamp; /* its timestamp in the page's own unit; 0: none */
	bool counter; /* by its TYPE, or by its name where there is none */
};

/* Calls fn for each sample, which lives during the call. text is changed while it is read and must
 * have a NUL at text[len]. */
int openmetrics_parse(char *text, size_t len,
		      void (*fn)(void *data, const struct openmetrics_sample *s), void *data,
		      struct err *e);

/* name, or name{label="x",other!="y",code=~"5..",path!~"/health.*"} as in PromQL; regular
 * expressions are POSIX extended and match the whole value. */
struct openmetrics_matcher {
	char *label, *value;
	bool negated, is_regex;
	regex_t regex;
};

struct openmetrics_selector {
	char *name;
	struct openmetrics_matcher *matchers;
	size_t n_matchers;
};

int openmetrics_selector_parse(const char *text, struct openmetrics_selector *ret, struct err *e);
bool openmetrics_selector_matches(const struct openmetrics_selector *sel,
				  const struct openmetrics_sample *s);
void openmetrics_selector_done(struct openmetrics_selector *sel);
