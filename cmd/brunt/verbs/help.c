#include "../help.h"
#include "../verbs.h"

#include <errno.h>
#include <stdio.h>

static int run_help(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct verb *v = NULL;
	autostr text = {0};

	(void)g, (void)opts;
	if (args->n) {
		v = verb_find(args->items[0]);
		if (!v) {
			err_set(e, EINVAL, "no such verb: %s", args->items[0]);
			err_hint(e, "brunt help lists the verbs");
			return EXIT_USAGE;
		}
		if (v->subs && args->n > 1 && verb_find_sub(v, args->items[1]))
			v = verb_find_sub(v, args->items[1]);
		help_verb(v, &text);
	} else {
		help_overview(&text);
	}
	fputs(text.s, stdout);
	return EXIT_PASSED;
}

const struct verb verb_help = {
	.name = "help",
	.summary = "list the verbs, or tell about one",
	.usage = "[VERB]",
	.doc = "Lists the verbs, or the options of one verb.",
	.sandbox = SANDBOX_PARSER,
	.run = run_help,
};
