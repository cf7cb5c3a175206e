#include "../runs.h"
#include "../table.h"
#include "../view.h"

#include "../../../lib/base/clock.h"
#include "../../../lib/report.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct report_options {
	const char *output;
	int64_t keep;
};

static const struct option_row options[] = {
	{"--keep", 0, "N", "with prune: how many of the newest runs stay (200)", OPT_INT,
	 offsetof(struct report_options, keep)},
	{"--output", 'o', "FORMAT", "table (default), json or junit", OPT_STRING,
	 offsetof(struct report_options, output)},
};

static void list_table(const struct globals *g, const struct run_row *rows, size_t n)
{
	static const char *const headings[] = {"RUN", "EXPERIMENT", "STARTED", "STATE", "VERDICT", NULL};
	autoptr(table) t = table_new(g, headings);

	for (size_t i = 0; i < n; i++) {
		char started[CLOCK_TEXT_MAX];
		const char *cells[] = {rows[i].id, rows[i].experiment,
				       clock_rfc3339(rows[i].started_ns, started), rows[i].state,
				       rows[i].verdict};

		table_row(t, cells, streq(rows[i].verdict, "passed") ? NULL : "red");
	}
	table_print(t);
}

static void list_json(const struct run_row *rows, size_t n)
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
	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}

static int list(const struct globals *g, const struct report_options *o, struct journal *j,
		struct err *e)
{
	struct run_row *rows = NULL;
	size_t n = 0;
	int r = journal_runs(j, &rows, &n, e);

	if (r == 0 && streq(o->output, "json"))
		list_json(rows, n);
	else if (r == 0 && n == 0)
		puts("no runs yet");
	else if (r == 0)
		list_table(g, rows, n);
	for (size_t i = 0; i < n; i++)
		run_row_done(&rows[i]);
	free(rows);
	return r;
}

static void print_record(const struct globals *g, const struct report_options *o, json_t *record)
{
	if (streq(o->output, "json")) {
		json_dumpf(record, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (streq(o->output, "junit")) {
		autofree char *text = report_junit((const json_t *const *)&record, 1);

		fputs(text, stdout);
	} else {
		view_record(g, record);
	}
}

static int show(const struct globals *g, const struct report_options *o, struct journal *j,
		const char *id, struct err *e)
{
	struct run_row row = {0};
	json_t *record = NULL;
	int r = journal_run(j, id, &row, e);

	if (r < 0)
		return err_hint(e, "brunt report lists the runs");
	if (row.record)
		record = json_loads(row.record, 0, NULL);
	if (record)
		print_record(g, o, record);
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
	int r = 0;

	if (o->keep < 0 || (o->output && !streq(o->output, "table") && !streq(o->output, "json") &&
			    !streq(o->output, "junit"))) {
		err_set(e, EINVAL, "report: want --keep N >= 0 and -o table, json or junit");
		return EXIT_USAGE;
	}
	r = journal_open(g->state_dir, &j, e);
	if (r < 0)
		return EXIT_ERROR;
	if (args->n == 0)
		r = list(g, o, j, e);
	else if (streq(args->items[0], "prune"))
		r = journal_prune(j, o->keep ? (size_t)o->keep : 200, e);
	else
		for (size_t i = 0; r == 0 && i < args->n; i++)
			r = show(g, o, j, args->items[i], e);
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
