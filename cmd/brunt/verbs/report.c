#include "../output.h"
#include "../runs.h"
#include "../table.h"
#include "../view.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/base/units.h"
#include "../../../lib/report.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct report_options {
	const char *output, *keep;
};

static const struct option_row options[] = {
	{"--keep", 0, "N", "with prune: how many of the newest runs stay (200)", OPT_STRING,
	 offsetof(struct report_options, keep)},
	{"--output", 'o', "FORMAT", "table (default), json, yaml; of the list wide, name; of a run junit",
	 OPT_STRING, offsetof(struct report_options, output)},
};

static void list_table(const struct globals *g, const struct run_row *rows, size_t n, bool wide)
{
	static const char *const headings[] = {"RUN", "EXPERIMENT", "STARTED", "STATE", "VERDICT", NULL};
	static const char *const wide_headings[] = {"RUN",     "EXPERIMENT", "STARTED", "STATE",
						    "VERDICT", ">TOOK",	     ">PID",	NULL};
	autoptr(table) t = table_new(g, wide ? wide_headings : headings);

	for (size_t i = 0; i < n; i++) {
		char started[CLOCK_TEXT_MAX], took[UNITS_TEXT_MAX] = "";
		autofree char *pid = xasprintf("%lld", (long long)rows[i].pid);
		const char *cells[] = {rows[i].id, rows[i].experiment,
				       clock_rfc3339(rows[i].started_ns, started), rows[i].state,
				       rows[i].verdict, took, pid};

		if (rows[i].ended_ns)
			units_duration(MAX_OF(rows[i].ended_ns - rows[i].started_ns, (int64_t)0), took);

		table_row(t, cells, streq(rows[i].verdict, "passed") ? NULL : "red");
	}
	table_print(t);
}

static void list_data(enum output output, const struct run_row *rows, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++) {
		char started[CLOCK_TEXT_MAX];

		json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:s, s:s?}", "run", rows[i].id, "experiment",
				       rows[i].experiment, "started",
				       clock_rfc3339(rows[i].started_ns, started), "state", rows[i].state,
				       "verdict", rows[i].verdict));
	}
	output_data(output, all);
	json_decref(all);
}

static void list_names(const struct run_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		puts(rows[i].id);
}

static int list(const struct globals *g, enum output output, struct journal *j, struct err *e)
{
	struct run_row *rows = NULL;
	size_t n = 0;
	int r = journal_runs(j, &rows, &n, e);

	if (r == 0 && output == OUTPUT_NAME)
		list_names(rows, n);
	else if (r == 0 && (output == OUTPUT_JSON || output == OUTPUT_YAML))
		list_data(output, rows, n);
	else if (r == 0 && n == 0)
		puts("no runs yet");
	else if (r == 0)
		list_table(g, rows, n, output == OUTPUT_WIDE);
	for (size_t i = 0; i < n; i++)
		run_row_done(&rows[i]);
	free(rows);
	return r;
}

static void print_record(const struct globals *g, enum output output, json_t *record)
{
	if (output == OUTPUT_JUNIT) {
		autofree char *text = report_junit((const json_t *const *)&record, 1);

		fputs(text, stdout);
	} else if (!output_data(output, record)) {
		view_record(g, record);
	}
}

static int show(const struct globals *g, enum output output, struct journal *j, const char *id,
		struct err *e)
{
	struct run_row row = {0};
	json_t *record = NULL;
	int r = journal_run(j, id, &row, e);

	if (r < 0)
		return err_hint(e, "brunt report lists the runs");
	if (row.record)
		record = json_loads(row.record, 0, NULL);
	if (record)
		print_record(g, output, record);
	else
		r = err_set(e, ENODATA, "run %s has no record: it is %s", row.id, row.state);
	json_decref(record);
	run_row_done(&row);
	return r;
}

static int run_report(const struct globals *g, const void *opts, const struct strlist *args,
		      struct err *e)
{
	const struct report_options *o = opts;
	autoptr(journal) j = NULL;
	const unsigned of_list = OUTPUT_TABLE | OUTPUT_WIDE | OUTPUT_JSON | OUTPUT_YAML | OUTPUT_NAME;
	const unsigned of_run = OUTPUT_TABLE | OUTPUT_JSON | OUTPUT_YAML | OUTPUT_JUNIT;
	enum output output;
	int64_t keep = JOURNAL_KEEP;
	int r = 0;

	if (o->keep && (units_parse_int(o->keep, &keep, NULL) < 0 || keep < 0)) {
		err_set(e, EINVAL, "report: --keep: \"%s\" is not a number of runs", o->keep);
		return EXIT_USAGE;
	}
	if (output_parse("report", o->output, args->n ? of_run : of_list, &output, e) < 0) {
		if (output_parse("report", o->output, of_run | of_list, &output, NULL) == 0)
			err_hint(e, args->n ? "that is for the list: brunt report -o %s"
					    : "that is for one run: brunt report latest -o %s",
				 o->output);
		return EXIT_USAGE;
	}
	r = journal_open(g->state_dir, &j, e);
	if (r < 0)
		return EXIT_ERROR;
	if (args->n == 0)
		r = list(g, output, j, e);
	else if (streq(args->items[0], "prune"))
		r = journal_prune(j, (size_t)keep, e);
	else
		for (size_t i = 0; r == 0 && i < args->n; i++)
			r = show(g, output, j, args->items[i], e);
	return r < 0 ? EXIT_ERROR : EXIT_PASSED;
}

const struct verb verb_report = {
	.name = "report",
	.summary = "the history of runs, or one of them",
	.usage = "[OPTIONS] [RUN...|latest|prune]",
	.doc = "Without an argument lists the runs. With RUN (the beginning of an id, or latest) shows its\n"
	       "record as tables, JSON or JUnit XML. `brunt report prune --keep N` bounds the database.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct report_options),
	.sandbox = SANDBOX_READER,
	.run = run_report,
};
