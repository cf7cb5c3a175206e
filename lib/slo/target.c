/*
 * target - what the kernel and the lab say about the targets
 */
#include "slo.h"

struct target_params {
	struct selector selector;
	int metric, across;
	int64_t interval_ns;
};

static const char *const metric_names[] = {"cpu",	     "memory",	   "oomKills",
					   "memoryPressure", "cpuPressure", "ioPressure",
					   "restarts",	     "ready",	   NULL};
static const char *const across_names[] = {"sum", "max", "min", "mean", NULL};

static enum sample_type target_yields(const void *params)
{
	return SAMPLE_VALUE;
}

#define O(field) offsetof(struct target_params, field)
static const struct field fields[] = {
	{.name = "selector", .type = FIELD_OBJECT, .offset = O(selector), .sub = &selector_schema,
	 .doc = "The targets that are read. Default: all."},
	{.name = "metric", .type = FIELD_ENUM, .offset = O(metric), .names = metric_names,
	 .required = true, .example = "memory",
	 .doc = "cpu (seconds used), memory (bytes in use), oomKills, memoryPressure, cpuPressure, "
		"ioPressure (seconds stalled, cgroup v2 with PSI), restarts, ready (number of ready "
		"targets). Of those that only grow, count tells the increase in the window and rate "
		"the increase per second."},
	{.name = "across", .type = FIELD_ENUM, .offset = O(across), .names = across_names, .deflt = "sum",
	 .doc = "How the targets' values become one: sum, max, min or mean."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "250ms",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two readings."},
};
#undef O

static const struct schema target_schema = {
	.name = "target",
	.doc = "Reads the targets' control groups, and what their source knows of them.",
	.size = sizeof(struct target_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
};

const struct indicator_type indicator_target = {
	.name = "target",
	.doc = "CPU seconds, memory, OOM kills, pressure, restarts or ready count of the targets.",
	.schema = &target_schema,
	.yields = target_yields,
};
