#include "../output.h"
#include "../verb.h"

#include "../../../lib/experiment.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

struct validate_options {
	struct strlist files;
	const char *output;
};

static const struct option_row options[] = {
	{"--filename", 'f', "FILE", "file, directory or - for stdin, as the arguments; may be repeated",
	 OPT_STRINGS, offsetof(struct validate_options, files)},
	{"--output", 'o', "FORMAT", "table (default), json or yaml", OPT_STRING,
	 offsetof(struct validate_options, output)},
};

static void add_text(void *data, const char *text)
{
	json_array_append_new(data, json_string(text));
}

static void print_warning(void *data, const char *text)
{
	fprintf(stderr, "%s: warning: %s\n", ((const struct experiment *)data)->file, text);
}

static json_t *resource_json(const struct experiment *x)
{
	json_t *faults = json_array(), *warnings = json_array();

	for (size_t i = 0; i < x->n_faults; i++)
		json_array_append_new(faults, json_string(x->faults[i].name));
	experiment_foresee(x, add_text, warnings);
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "file", x->file, "kind", x->kind, "name",
			 x->name, "faults", faults, "slos", (json_int_t)x->n_slos, "warnings", warnings);
}

static json_t *error_json(const struct diag *d)
{
	return json_pack("{s:s, s:i, s:i, s:s, s:s}", "file", d->file, "line", d->line, "column",
			 d->column, "path", d->path, "text", d->text);
}

static void print_data(enum output output, const struct experiment_set *set, const struct diags *d)
{
	json_t *resources = json_array(), *errors = json_array(), *warnings = json_array();
	json_t *all = json_pack("{s:b, s:o, s:o, s:o}", "valid", d->n == 0, "resources",
				resources, "errors", errors, "warnings", warnings);

	for (size_t i = 0; set && i < set->n; i++)
		json_array_append_new(resources, resource_json(set->items[i]));
	for (size_t i = 0; i < d->n; i++)
		json_array_append_new(errors, error_json(&d->items[i]));
	for (size_t i = 0; i < d->n_warnings; i++)
		json_array_append_new(warnings, error_json(&d->warnings[i]));
	output_data(output, all);
	json_decref(all);
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

static void print_resource(const struct experiment *x)
{
	printf("%s: %s %s is valid: %zu fault%s, %zu SLO%s\n", x->file, x->kind, x->name, x->n_faults,
	       plural(x->n_faults), x->n_slos, plural(x->n_slos));
}

static void print_lines(const struct globals *g, const struct experiment_set *set,
			const struct diags *d)
{
	autofree char *errors = diags_text(d), *warnings = diags_warnings_text(d);

	if (errors)
		fputs(errors, stderr);
	if (warnings && !g->quiet)
		fputs(warnings, stderr);
	if (d->n > 1)
		fprintf(stderr, "%zu errors; nothing was accepted\n", d->n);
	for (size_t i = 0; set && !g->quiet && i < set->n; i++)
		experiment_foresee(set->items[i], print_warning, set->items[i]);
	for (size_t i = 0; set && !g->quiet && i < set->n; i++)
		print_resource(set->items[i]);
}

static int run_validate(const struct globals *g, const void *opts, const struct strlist *args,
			struct err *e)
{
	const struct validate_options *o = opts;
	autoptr(experiment_set) set = NULL;
	struct strlist paths = {0};
	enum output output;
	autodiags d = {0};

	if (output_parse("validate", o->output, OUTPUT_TABLE | OUTPUT_JSON | OUTPUT_YAML, &output, e) < 0)
		return EXIT_USAGE;
	strlist_copy(&paths, &o->files);
	strlist_copy(&paths, args);
	if (paths.n == 0) {
		err_set(e, EINVAL, "validate: which file?");
		err_hint(e, "brunt validate FILE... (a directory, or - for stdin, will do)");
		return EXIT_USAGE;
	}
	experiment_load((const char *const *)paths.items, paths.n, &d, &set);
	strlist_done(&paths);
	if (output != OUTPUT_TABLE)
		print_data(output, set, &d);
	else
		print_lines(g, set, &d);
	return d.n ? EXIT_USAGE : EXIT_PASSED;
}

const struct verb verb_validate = {
	.name = "validate",
	.summary = "check manifests: every error of every file in one go",
	.usage = "[OPTIONS] FILE...",
	.doc = "Reads files, directories (*.yaml, *.yml) and - (stdin), and prints every error as "
	       "file:line:column: field: what is wrong, with the nearest valid name. Touches nothing "
	       "and needs no privileges. Warns of objectives that the rate and the window cannot give "
	       "the samples for.\n"
	       "Exit code 0 when all is valid, else 2.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct validate_options),
	.sandbox = SANDBOX_PARSER,
	.run = run_validate,
};
