#include "help.h"

#include "options.h"
#include "verbs.h"

#include "../../lib/base/explain.h"

void help_overview(struct str *ret)
{
	const struct verb *const *verbs;
	size_t n;

	str_add(ret, "brunt - breaks exactly what you name, measures whether the service kept its "
		     "promises,\n        and puts everything back\n\nUsage: brunt VERB [OPTIONS] "
		     "[ARGUMENTS]\n\nVerbs:\n");
	verbs = verbs_all(&n);
	for (size_t i = 0; i < n; i++)
		if (!verbs[i]->hidden)
			str_addf(ret, "  %-12s %s\n", verbs[i]->name, verbs[i]->summary);
	str_add(ret, "\nbrunt VERB --help tells more. Start with: brunt doctor; brunt new "
		     "Experiment > e.yaml; brunt run e.yaml\n");
}

void help_verb(const struct verb *v, struct str *ret)
{
	const struct option_row *rows;
	size_t n;

	str_addf(ret, "Usage: brunt %s%s%s\n\n", v->name, *v->usage ? " " : "", v->usage);
	explain_paragraphs(v->doc, ret);
	if (v->subs)
		str_add(ret, "\nVerbs:\n");
	for (const struct verb *const *sub = v->subs; sub && *sub; sub++)
		str_addf(ret, "  brunt %-17s %s\n", (*sub)->name, (*sub)->summary);
	if (v->n_options) {
		str_add(ret, "\nOptions:\n");
		options_describe(v->options, v->n_options, ret);
	}
	str_add(ret, "\nCommon options:\n");
	rows = options_global(&n);
	options_describe(rows, n, ret);
}
