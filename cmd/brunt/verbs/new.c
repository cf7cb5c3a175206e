#include "../verb.h"

#include "../../../lib/experiment.h"

#include <errno.h>
#include <stdio.h>

static int run_new(const struct globals *g, const void *opts, const struct strlist *args,
		   struct err *e)
{
	autofree char *text = args->n == 1 ? experiment_template(args->items[0]) : NULL;
	autofree char *ignored = NULL;

	(void)g, (void)opts;
	if (text) {
		fputs(text, stdout);
		return EXIT_PASSED;
	}
	if (args->n == 1)
		experiment_explain(args->items[0], &ignored, e);
	else
		err_set(e, EINVAL, "new: which kind?");
	err_hint(e, "brunt explain lists the kinds");
	return EXIT_USAGE;
}

const struct verb verb_new = {
	.name = "new",
	.summary = "print a commented template of a kind",
	.usage = "KIND",
	.doc = "Prints a manifest that is valid as it is, with every field that the kind has; what is "
	       "optional is commented out: brunt new Experiment > checkout.yaml.",
	.sandbox = SANDBOX_PARSER,
	.run = run_new,
};
