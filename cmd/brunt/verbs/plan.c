#include "../output.h"
#include "../plan_set.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

struct plan_options {
	struct session_scope scope;
	struct strlist files;
	const char *output, *net_backend, *lab, *source;
	bool allow_empty, allow_host_network;
};

#define OPTION(f) offsetof(struct plan_options, f)

static const struct option_row options[] = {
	{"--all-namespaces", 'A', NULL, "selectors that name no namespaces look in all", OPT_FLAG,
	 OPTION(scope.all)},
	{"--allow-empty", 0, NULL, "skip a fault whose selection is empty", OPT_FLAG, OPTION(allow_empty)},
	{"--allow-host-network", 0, NULL, "let faults onto the host's own network namespace", OPT_FLAG,
	 OPTION(allow_host_network)},
	{"--filename", 'f', "FILE", "file, directory or - for stdin, as the arguments; may be repeated",
	 OPT_STRINGS, OPTION(files)},
	{"--lab", 0, "NAME", "take targets from this running lab", OPT_STRING, OPTION(lab)},
	{"--namespace", 'n', "NS", "where selectors look that name no namespaces (default)", OPT_STRING,
	 OPTION(scope.ns)},
	{"--net-backend", 0, "B", "auto, netem or engine: what carries delays", OPT_STRING,
	 OPTION(net_backend)},
	{"--output", 'o', "FORMAT", "table (default), json or yaml", OPT_STRING, OPTION(output)},
	{"--source", 0, "S", "where targets come from: lab or netns", OPT_STRING, OPTION(source)},
};

static int run_plan(const struct globals *g, const void *opts, const struct strlist *args,
		    struct err *e)
{
	const struct plan_options *o = opts;
	autoptr(experiment_set) set = NULL;
	enum output output;
	const struct engine_options eo = {
		.state_dir = g->state_dir,
		.net_backend = o->net_backend,
		.allow_empty = o->allow_empty,
		.allow_host_network = o->allow_host_network,
		.lab = o->lab,
		.source = o->source,
		.plan_only = true,
	};

	if (output_parse("plan", o->output, OUTPUT_TABLE | OUTPUT_JSON | OUTPUT_YAML, &output, e) < 0)
		return EXIT_USAGE;
	set = session_load("plan", &o->files, args, &o->scope, e);
	return set ? plan_set(g, set, &eo, output, e) : EXIT_USAGE;
}

const struct verb verb_plan = {
	.name = "plan",
	.summary = "the matched targets and the exact kernel operations; nothing is touched",
	.usage = "[OPTIONS] FILE...",
	.doc = "Matches targets and asks every fault for its kernel operations and its refusals, as a\n"
	       "run would before its baseline. Nothing is injected. An experiment's own lab is brought\n"
	       "up for the look and taken down again.",
	.options = options,
	.n_options = ARRAY_SIZE(options),
	.options_size = sizeof(struct plan_options),
	.run = run_plan,
};
