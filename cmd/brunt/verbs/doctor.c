#include "../output.h"
#include "../table.h"

#include "../../../lib/doctor.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

struct doctor_options {
	const char *output;
};

static const struct option_row options[] = {
	{"--output", 'o', "FORMAT", "table (default), json or yaml", OPT_STRING,
	 offsetof(struct doctor_options, output)},
};

static const char *word(const struct capability *c)
{
	return c->ok ? "ok" : c->needed ? "MISSING" : "absent";
}

static void print_data(enum output output, const struct capability_list *l)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < l->n; i++) {
		const struct capability *c = &l->items[i];

		json_array_append_new(rows, json_pack("{s:s, s:s, s:b, s:b, s:s, s:s*}", "area",
						      c->area, "name", c->name, "ok", c->ok,
						      "needed", c->needed, "detail", c->detail,
						      "fix", c->fix));
	}
	output_data(output, rows);
	json_decref(rows);
}

static void print_table(const struct globals *g, const struct capability_list *l)
{
	static const char *const headings[] = {"AREA", "WHAT", "STATE", "~SEEN", NULL};
	autoptr(table) t = table_new(g, headings);

	for (size_t i = 0; i < l->n; i++) {
		const struct capability *c = &l->items[i];
		const char *cells[] = {c->area, c->name, word(c), c->detail};

		table_row(t, cells, c->ok ? NULL : c->needed ? "red" : "yellow");
	}
	table_print(t);
	for (size_t i = 0; i < l->n; i++)
		if (!l->items[i].ok && l->items[i].fix)
			printf("%s: %s: %s\n", l->items[i].area, l->items[i].name,
			       l->items[i].fix);
}

static int run_doctor(const struct globals *g, const void *opts, const struct strlist *args,
		      struct err *e)
{
	const struct doctor_options *o = opts;
	autocapabilities list = {0};
	enum output output;
	bool healthy = true;

	(void)args;
	if (output_parse("doctor", o->output, OUTPUT_TABLE | OUTPUT_JSON | OUTPUT_YAML, &output, e) < 0)
		return EXIT_USAGE;
	if (doctor_run(g->state_dir, &list, e) < 0)
		return EXIT_ERROR;
	if (output != OUTPUT_TABLE)
		print_data(output, &list);
	else
		print_table(g, &list);
	for (size_t i = 0; i < list.n; i++)
		healthy &= list.items[i].ok || !list.items[i].needed;
	return healthy ? EXIT_PASSED : EXIT_ERROR;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.summary = "what this kernel and user can do, tried in a scratch namespace",
	.usage = "[-o json]",
	.doc = "Tries every fault in a scratch network namespace or cgroup, reads it back and removes\n"
	       "it. Says what is missing and how to get it. Exit code 3 when something needed is\n"
	       "missing; an absent better way (netem where the delay engine serves) is no failure.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct doctor_options),
	.run = run_doctor,
};
