/*
 * verb - one file and one row of verbs.def for each verb of the command line
 *
 * A verb's options are a table too: usage, completion, man page and parsing read it.
 */
#pragma once

#include "../../lib/base/err.h"
#include "../../lib/base/mem.h"
#include "../../lib/kernel/sandbox.h"

#include <stdbool.h>

enum exit_code {
	EXIT_PASSED = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_ERROR = 3,
	EXIT_NOT_RESTORED = 4,
	EXIT_INCONCLUSIVE = 5,
	EXIT_INTERRUPTED = 130,
};

/* Options common to all verbs, parsed before the verb's own. */
struct globals {
	const char *state_dir; /* never NULL */
	bool quiet, verbose, no_color, help;
	bool color; /* stdout is a terminal and nobody asked for plain output */
};

struct option_row {
	const char *name; /* "--report" */
	char letter;      /* 'o', or 0 */
	const char *arg;  /* "F"; NULL: a flag */
	const char *doc;
	enum { OPT_FLAG, OPT_STRING, OPT_STRINGS, OPT_DURATION, OPT_INT } type;
	size_t offset; /* into the verb's options struct: bool, const char *, struct strlist, int64_t */
};

struct verb {
	const char *name;
	const char *summary; /* one line */
	const char *usage;   /* "[OPTIONS] FILE..." */
	const char *doc;     /* paragraphs for --help and the man page */
	const struct option_row *options;
	size_t n_options;
	size_t options_size;
	bool hidden;
	bool args_verbatim; /* options end at the first argument */
	bool holds; /* faults or pods while it runs: its output waits for no reader (sink.h) */
	enum sandbox_role sandbox; /* entered before run */
	/* NULL-terminated: the next word chooses one of these ("lab up"); no run of its own. */
	const struct verb *const *subs;
	/* opts points to the verb's options struct; args are what is left. Returns an exit code;
	 * e is printed when set. */
	int (*run)(const struct globals *g, const void *opts, const struct strlist *args,
		   struct err *e);
};
