#include "../verb.h"

#include "../../../lib/experiment.h"

#include <errno.h>
#include <stdio.h>

static void list_kinds(void)
{
	const char *const *kinds = experiment_kinds();

	for (size_t i = 0; kinds[i]; i++)
		printf("%-16s %-24s %s\n", kinds[i], experiment_api_version(kinds[i]),
		       experiment_schema(kinds[i])->doc);
}

static int run_explain(const struct globals *g, const void *opts, const struct strlist *args,
		       struct err *e)
{
	(void)g, (void)opts;
	if (args->n == 0)
		list_kinds();
	for (size_t i = 0; i < args->n; i++) {
		autofree char *text = NULL;

		if (experiment_explain(args->items[i], &text, e) < 0) {
			err_hint(e, "brunt explain lists the kinds, brunt explain KIND its fields");
			return EXIT_USAGE;
		}
		printf("%s%s", i ? "\n" : "", text);
	}
	return EXIT_PASSED;
}

const struct verb verb_explain = {
	.name = "explain",
	.summary = "what a kind or one of its fields means",
	.usage = "[KIND[.FIELD...]]...",
	.doc = "Prints type, default, range and meaning of a field and of the fields below it: "
	       "brunt explain NetworkChaos.delay, brunt explain Experiment.slos.indicator.http. "
	       "Without an argument it lists the kinds.",
	.sandbox = SANDBOX_PARSER,
	.run = run_explain,
};
