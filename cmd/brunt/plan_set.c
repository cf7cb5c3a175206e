#include "plan_set.h"

#include <stdio.h>

struct printer {
	enum output output;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void print_fault(const json_t *f)
{
	const json_t *list, *item;
	size_t i;

	list = json_object_get(f, "targets");
	printf("\nfault %s: %s%s%s, %zu target%s\n", text_of(f, "name"), text_of(f, "kind"),
	       *text_of(f, "backend") ? " by " : "", text_of(f, "backend"), json_array_size(list),
	       json_array_size(list) == 1 ? "" : "s");
	json_array_foreach(list, i, item)
		printf("  on %s\n", json_string_value(item));
	json_array_foreach(json_object_get(f, "ops"), i, item)
		printf("    %s\n", json_string_value(item));
}

static void after_plan(void *data, const struct engine *en)
{
	const struct printer *p = data;
	const json_t *plan = engine_plan(en), *f;
	const struct err *why = engine_error(en);
	size_t i;

	if (why) {
		fprintf(stderr, "brunt: %s: %s\n", engine_experiment(en), why->text);
		if (why->hint[0])
			fprintf(stderr, "next step: %s\n", why->hint);
	}
	if (!plan)
		return;
	if (output_data(p->output, plan))
		return;
	printf("experiment %s: blast radius %lld target%s\n", text_of(plan, "experiment"),
	       (long long)json_integer_value(json_object_get(plan, "targets")),
	       json_integer_value(json_object_get(plan, "targets")) == 1 ? "" : "s");
	json_array_foreach(json_object_get(plan, "faults"), i, f)
		print_fault(f);
}

int plan_set(const struct globals *g, const struct experiment_set *set,
	     const struct engine_options *o, enum output output, struct err *e)
{
	struct printer p = {.output = output};
	const struct session_hooks hooks = {.after = after_plan, .data = &p};
	int code = session_run(set, o, 0, &hooks, e);

	(void)g;
	return code;
}
