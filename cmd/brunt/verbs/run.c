#include "../output.h"
#include "../plan_set.h"
#include "../view.h"

#include "../../../lib/report.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct run_options {
	struct session_scope scope;
	struct strlist files, reports;
	const char *output, *net_backend, *lab, *source;
	int64_t jitter_ns, lease_ns, evaluation_ns;
	bool wait, allow_empty, allow_host_network, dry_run;
};

#define OPTION(f) offsetof(struct run_options, f)

static const struct option_row options[] = {
	{"--all-namespaces", 'A', NULL, "selectors that name no namespaces look in all", OPT_FLAG,
	 OPTION(scope.all)},
	{"--allow-empty", 0, NULL, "skip a fault whose selection is empty", OPT_FLAG, OPTION(allow_empty)},
	{"--allow-host-network", 0, NULL, "let faults onto the host's own network namespace", OPT_FLAG,
	 OPTION(allow_host_network)},
	{"--dry-run", 0, NULL, "only the plan: see brunt plan", OPT_FLAG, OPTION(dry_run)},
	{"--evaluation-period", 0, "D", "how often SLOs and abort conditions are looked at (250ms)",
	 OPT_DURATION, OPTION(evaluation_ns)},
	{"--filename", 'f', "FILE", "file, directory or - for stdin, as the arguments; may be repeated",
	 OPT_STRINGS, OPTION(files)},
	{"--jitter", 0, "D", "start at a random moment within this time", OPT_DURATION, OPTION(jitter_ns)},
	{"--lab", 0, "NAME", "take targets from this running lab", OPT_STRING, OPTION(lab)},
	{"--lease", 0, "D", "how long a network or runtime fault may outlive its owner (2s; at least 200ms)",
	 OPT_DURATION, OPTION(lease_ns)},
	{"--namespace", 'n', "NS", "where selectors look that name no namespaces (default)", OPT_STRING,
	 OPTION(scope.ns)},
	{"--net-backend", 0, "B", "auto, netem or engine: what carries delays", OPT_STRING,
	 OPTION(net_backend)},
	{"--output", 'o', "FORMAT", "table (default), json or yaml: the record", OPT_STRING, OPTION(output)},
	{"--report", 0, "KIND=F,...", "write junit=FILE and json=FILE", OPT_STRINGS, OPTION(reports)},
	{"--source", 0, "S", "where targets come from: lab or netns", OPT_STRING, OPTION(source)},
	{"--wait", 0, NULL, "queue behind a run of the same experiment or on the same target", OPT_FLAG,
	 OPTION(wait)},
};

/* What --report asked for. */
struct reports {
	char *junit, *json;
};

static int parse_report(const char *text, struct reports *r, struct err *e)
{
	autofree char *copy = xstrdup(text);
	char *save = NULL;

	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		char **slot = strncmp(p, "junit=", 6) == 0  ? &r->junit
			      : strncmp(p, "json=", 5) == 0 ? &r->json
							    : NULL;

		if (!slot || !strchr(p, '=')[1])
			return err_set(e, EINVAL, "run: --report: \"%s\" is none of junit=FILE and json=FILE",
				       p);
		free(*slot);
		*slot = xstrdup(strchr(p, '=') + 1);
	}
	return 0;
}

static int check_word(const char *option, const char *value, const char *const *words, struct err *e)
{
	autostr all = {0};

	if (!value)
		return 0;
	for (size_t i = 0; words[i]; i++)
		if (streq(value, words[i]))
			return 0;
	for (size_t i = 0; words[i]; i++)
		str_addf(&all, "%s%s", i ? ", " : "", words[i]);
	return err_set(e, EINVAL, "run: %s: \"%s\" is not one of %s", option, value, all.s);
}

static int check_options(const struct run_options *o, struct reports *r, enum output *ret_output,
			 struct err *e)
{
	static const char *const backends[] = {"auto", "netem", "engine", NULL};

	for (size_t i = 0; i < o->reports.n; i++)
		if (parse_report(o->reports.items[i], r, e) < 0)
			return -EINVAL;
	if ((r->junit && report_check(r->junit, e) < 0) || (r->json && report_check(r->json, e) < 0))
		return -EINVAL;
	if (o->lease_ns && (o->lease_ns < 200 * NSEC_PER_MSEC || o->lease_ns > 60 * NSEC_PER_SEC))
		return err_set(e, EINVAL, "run: --lease: want 200ms to 60s");
	if (o->evaluation_ns &&
	    (o->evaluation_ns < 10 * NSEC_PER_MSEC || o->evaluation_ns > 10 * NSEC_PER_SEC))
		return err_set(e, EINVAL, "run: --evaluation-period: want 10ms to 10s");
	if (o->lab && o->source && !streq(o->source, "lab"))
		return err_set(e, EINVAL, "run: --lab %s and --source %s exclude each other", o->lab,
			       o->source);
	if (o->source && !target_source_find(o->source))
		return err_set(e, EINVAL, "run: --source: no such target source: %s (want lab or netns)",
			       o->source);
	if (output_parse("run", o->output, OUTPUT_TABLE | OUTPUT_JSON | OUTPUT_YAML, ret_output, e) < 0)
		return -EINVAL;
	return check_word("--net-backend", o->net_backend, backends, e);
}

/* One `brunt run`: what its hooks share. */
struct run {
	const struct globals *g;
	const struct run_options *o;
	enum output output;
	struct view *view;
	json_t **records;
	size_t n_records;
};

static int before_run(void *data, struct engine *en, struct sd_event *loop, struct err *e)
{
	struct run *run = data;

	return view_attach(run->view, en, loop, e);
}

static void after_run(void *data, const struct engine *en)
{
	struct run *run = data;
	json_t *record = json_incref((json_t *)engine_record(en));
	const struct err *why = engine_error(en);

	view_finish(run->view);
	if (!record)
		return;
	*array_push(run->records, run->n_records) = record;
	if (!output_data(run->output, record))
		view_record(run->g, record);
	fflush(stdout);
	/* The table's last sentence says it too. */
	if (why && why->hint[0] && run->output != OUTPUT_TABLE)
		fprintf(stderr, "next step: %s\n", why->hint);
}

static int write_reports(const struct run *run, const struct reports *r, struct err *e)
{
	int ret = 0;

	if (r->junit) {
		autofree char *text = report_junit((const json_t *const *)run->records, run->n_records);

		ret = report_write(r->junit, text, e);
	}
	if (ret == 0 && r->json) {
		json_t *all = run->n_records == 1 ? json_incref(run->records[0]) : json_array();
		autofree char *text = NULL;

		for (size_t i = 0; run->n_records != 1 && i < run->n_records; i++)
			json_array_append(all, run->records[i]);
		text = json_dumps(all, JSON_INDENT(2));
		ret = report_write(r->json, text, e);
		json_decref(all);
	}
	return ret;
}

static int run_set(const struct globals *g, const struct run_options *o,
		   enum output output, const struct experiment_set *set, const struct reports *r,
		   struct err *e)
{
	autoptr(view) view = view_new(g, output != OUTPUT_TABLE);
	struct run run = {.g = g, .o = o, .output = output, .view = view};
	struct engine_options eo = {
		.state_dir = g->state_dir,
		.net_backend = o->net_backend,
		.lease_ns = o->lease_ns,
		.evaluation_ns = o->evaluation_ns,
		.allow_empty = o->allow_empty,
		.allow_host_network = o->allow_host_network,
		.wait = o->wait,
		.lab = o->lab,
		.source = o->source,
		.listener = view_listener(view),
	};
	const struct session_hooks hooks = {.before = before_run, .after = after_run, .data = &run};
	int code = session_run(set, &eo, o->jitter_ns, &hooks, e);

	if (write_reports(&run, r, e) < 0 && code != EXIT_NOT_RESTORED)
		code = EXIT_ERROR;
	for (size_t i = 0; i < run.n_records; i++)
		json_decref(run.records[i]);
	free(run.records);
	return code;
}

static int run_run(const struct globals *g, const void *opts, const struct strlist *args,
		   struct err *e)
{
	const struct run_options *o = opts;
	autoptr(experiment_set) set = NULL;
	struct reports r = {0};
	enum output output = OUTPUT_TABLE;
	int code = EXIT_USAGE;

	if (check_options(o, &r, &output, e) == 0)
		set = session_load("run", &o->files, args, &o->scope, e);
	if (set && o->dry_run)
		code = plan_set(g, set,
				&(struct engine_options){.state_dir = g->state_dir,
							 .net_backend = o->net_backend,
							 .allow_empty = o->allow_empty,
							 .allow_host_network = o->allow_host_network,
							 .lab = o->lab,
							 .source = o->source,
							 .plan_only = true},
				output, e);
	else if (set)
		code = run_set(g, o, output, set, &r, e);
	free(r.junit);
	free(r.json);
	return code;
}

const struct verb verb_run = {
	.name = "run",
	.holds = true,
	.sandbox = SANDBOX_OWNER,
	.summary = "inject the faults, judge the SLOs, put everything back",
	.usage = "[OPTIONS] FILE...",
	.doc = "Runs experiments one after another: plan, baseline, faults, recovery, verdict. Ctrl-C\n"
	       "puts everything back at once. The exit code is the worst of all: 0 passed; 1 an SLO\n"
	       "failed; 2 usage or an invalid manifest; 3 could not inject, everything restored; 4 NOT\n"
	       "restored; 5 inconclusive or ineffective; 130 interrupted, restored.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct run_options),
	.run = run_run,
};
