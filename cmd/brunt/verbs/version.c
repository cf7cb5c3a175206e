#include "../verb.h"

#include <stdio.h>

static int run_version(const struct globals *g, const void *opts, const struct strlist *args,
		       struct err *e)
{
	(void)g, (void)opts, (void)args, (void)e;
	puts("brunt " BRUNT_VERSION);
	return EXIT_PASSED;
}

const struct verb verb_version = {
	.name = "version",
	.summary = "print the version",
	.usage = "",
	.doc = "Prints brunt's version.",
	.sandbox = SANDBOX_PARSER,
	.run = run_version,
};
