/*
 * command - a program of the user's own: its exit code, or the number it prints
 */
#include "slo.h"

struct command_params {
	struct strlist argv;
	int result;
	int64_t interval_ns, timeout_ns;
};

enum { RESULT_EXIT_CODE, RESULT_NUMBER };
static const char *const result_names[] = {"exitCode", "number", NULL};

static int check_command(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct command_params *p = obj;

	if (!p->argv.n || !p->argv.items[0][0])
		return field_error(ctx, node, "command", "want a program and its arguments");
	return 0;
}

static enum sample_type command_yields(const void *params)
{
	const struct command_params *p = params;

	return p->result == RESULT_NUMBER ? SAMPLE_VALUE : SAMPLE_LATENCY;
}

#define O(field) offsetof(struct command_params, field)
static const struct field fields[] = {
	{.name = "command", .type = FIELD_STRINGS, .offset = O(argv), .required = true,
	 .example = "[./check-queue.sh]",
	 .doc = "Program and arguments. A program with a slash is relative to the experiment's "
		"folder, which is also its working directory."},
	{.name = "result", .type = FIELD_ENUM, .offset = O(result), .names = result_names,
	 .deflt = "exitCode",
	 .doc = "exitCode: success is exit code 0, and the run time is the latency. number: the first "
		"line of its output is the value."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "1s",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two starts. A start is left out while the one before still runs."},
	{.name = "timeout", .type = FIELD_DURATION, .offset = O(timeout_ns), .deflt = "5s",
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "A program that runs longer is killed and has failed."},
};
#undef O

static const struct schema command_schema = {
	.name = "command",
	.doc = "Runs a program at an interval.",
	.size = sizeof(struct command_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_command,
};

const struct indicator_type indicator_command = {
	.name = "command",
	.doc = "Exit code or printed number of a program that is run at an interval.",
	.schema = &command_schema,
	.yields = command_yields,
};
