#include "../output.h"
#include "../runs.h"
#include "../table.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/base/units.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct status_options {
	const char *output;
};

static const struct option_row options[] = {
	{"--output", 'o', "FORMAT", "table (default), wide, json, yaml or name", OPT_STRING,
	 offsetof(struct status_options, output)},
};

/* One run that holds something, with its pending records. */
static json_t *run_json(const struct globals *g, struct journal *j, const char *run_id,
			struct err *e)
{
	struct lock_holder h = {0};
	struct undo_list undo = {0};
	struct run_row row = {0};
	json_t *faults = json_array(), *run;
	int r = journal_pending(j, run_id, &undo, e);

	if (r == 0)
		r = journal_run(j, run_id, &row, e);
	for (size_t i = 0; r == 0 && i < undo.n; i++)
		json_array_append_new(faults, json_pack("{s:s, s:s, s:s}", "fault", undo.items[i].fault,
							"kind", undo.items[i].driver->kind, "target",
							undo.items[i].target));
	if (r == 0 && lock_holder_read(g->state_dir, run_id, &h, NULL) < 0)
		h.live = false;
	run = r < 0 ? NULL
		    : json_pack("{s:s, s:s, s:b, s:i, s:i, s:I, s:o}", "run", run_id, "experiment",
				row.experiment, "live", h.live, "owner", (int)h.owner, "guard",
				(int)h.guard, "for_ms",
				(json_int_t)((clock_wall_ns() - row.started_ns) / NSEC_PER_MSEC),
				"injected", json_incref(faults));
	json_decref(faults);
	lock_holder_done(&h);
	run_row_done(&row);
	undo_list_done(&undo);
	return run;
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static void print_names(const struct strlist *ids)
{
	for (size_t i = 0; i < ids->n; i++)
		puts(ids->items[i]);
}

static void print_table(const struct globals *g, const json_t *runs, bool wide)
{
	static const char *const headings[] = {"RUN", "EXPERIMENT", "OWNER", "FOR", "FAULT", "~TARGET",
					       NULL};
	static const char *const wide_headings[] = {"RUN",   "EXPERIMENT", "OWNER", "FOR", "FAULT",
						    "~TARGET", "KIND",	   "GUARD", NULL};
	autoptr(table) t = table_new(g, wide ? wide_headings : headings);
	const json_t *run, *f;
	size_t i, k;

	json_array_foreach(runs, i, run) {
		const json_t *faults = json_object_get(run, "injected");
		char since[UNITS_TEXT_MAX];
		bool live = json_is_true(json_object_get(run, "live"));
		autofree char *owner =
			live ? xasprintf("pid %d", (int)json_integer_value(json_object_get(run, "owner")))
			     : xstrdup("dead");
		autofree char *guard =
			xasprintf("pid %d", (int)json_integer_value(json_object_get(run, "guard")));
		const char *cells[] = {
			text_of(run, "run"), text_of(run, "experiment"), owner,
			units_duration(json_integer_value(json_object_get(run, "for_ms")) * NSEC_PER_MSEC,
				       since),
			"(none)", "", "", live ? guard : ""};

		json_array_foreach(faults, k, f) {
			cells[4] = text_of(f, "fault");
			cells[5] = text_of(f, "target");
			cells[6] = text_of(f, "kind");
			table_row(t, cells, live ? NULL : "red");
		}
		if (json_array_size(faults) == 0)
			table_row(t, cells, NULL);
		if (!live)
			printf("run %s has no owner any more: brunt recover %s\n", text_of(run, "run"),
			       text_of(run, "run"));
	}
	table_print(t);
}

static int run_status(const struct globals *g, const void *opts, const struct strlist *args,
		      struct err *e)
{
	const struct status_options *o = opts;
	autoptr(journal) j = NULL;
	struct strlist ids = {0};
	json_t *runs;
	enum output output;
	int r;

	if (output_parse("status", o->output, OUTPUT_TABLE | OUTPUT_WIDE | OUTPUT_JSON | OUTPUT_YAML |
						      OUTPUT_NAME, &output, e) < 0)
		return EXIT_USAGE;
	runs = json_array();
	r = journal_open(g->state_dir, &j, e);
	if (r == 0)
		r = args->n ? runs_named(j, args, &ids, e) : runs_unfinished(j, &ids, e);
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		bool table = output == OUTPUT_TABLE || output == OUTPUT_WIDE;
		json_t *run;

		if (table && args->n && runs_has_ended(j, ids.items[i]))
			continue;
		run = run_json(g, j, ids.items[i], e);
		r = run ? json_array_append_new(runs, run) : -EIO;
	}
	if (r == 0 && output == OUTPUT_NAME)
		print_names(&ids);
	else if (r == 0 && !output_data(output, runs) && ids.n == 0)
		puts("nothing is injected");
	else if (r == 0 && json_array_size(runs) && (output == OUTPUT_TABLE || output == OUTPUT_WIDE))
		print_table(g, runs, output == OUTPUT_WIDE);
	strlist_done(&ids);
	json_decref(runs);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_status = {
	.name = "status",
	.summary = "what is injected now, and by whom",
	.usage = "[OPTIONS] [RUN...]",
	.doc = "Lists the runs that hold targets, with the faults that the journal has not seen undone.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct status_options),
	.run = run_status,
};
