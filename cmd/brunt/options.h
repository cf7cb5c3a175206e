/*
 * options - the command line's tables made into structs, usage texts and completions
 */
#pragma once

#include "verb.h"

/* Parses argv[2..] by the verb's table and the global one. opts holds v->options_size zeroed
 * bytes; strings borrow from argv. 0, or -EINVAL with e set; *ret_help: --help was asked for. */
int options_parse(const struct verb *v, int argc, char **argv, struct globals *g, void *opts,
		  struct strlist *args, bool *ret_help, struct err *e);

/* Releases what lists and arguments own. */
void options_done(const struct verb *v, void *opts, struct strlist *args);

/* The options common to all verbs. */
const struct option_row *options_global(size_t *ret_n);

/* "-o, --output FORMAT" aligned with its text, one line an option. */
void options_describe(const struct option_row *rows, size_t n, struct str *ret);
