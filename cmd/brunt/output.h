/*
 * output - the forms that a verb's result takes: -o table|wide|json|yaml|name|junit
 */
#pragma once

#include "../../lib/base/err.h"

#include <jansson.h>
#include <stdbool.h>

enum output {
	OUTPUT_TABLE = 1 << 0,
	OUTPUT_WIDE = 1 << 1, /* a table with every column */
	OUTPUT_JSON = 1 << 2,
	OUTPUT_YAML = 1 << 3,
	OUTPUT_NAME = 1 << 4, /* one name a line, for scripts */
	OUTPUT_JUNIT = 1 << 5,
};

/* The option as written (NULL: table), which must be one of allowed. 0, or -EINVAL with the words
 * that the verb has. */
int output_parse(const char *verb, const char *text, unsigned allowed, enum output *ret,
		 struct err *e);

/* Prints to standard output when o is JSON or YAML, a document each; false when it is neither. */
bool output_data(enum output o, const json_t *value);

/* YAML 1.2 that 1.1 reads alike: what could be anything but a text is quoted. The caller frees. */
char *output_yaml(const json_t *value);
