/*
 * metrics - what the targets say about themselves at /metrics
 */
#include "slo.h"

#include <errno.h>

struct ratio_params {
	char *bad, *total;
};

struct metrics_params {
	struct selector selector;
	int64_t port;
	char *path;
	char *value;
	struct ratio_params ratio;
	int64_t interval_ns, timeout_ns;
};

static int check_metrics(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct metrics_params *p = obj;

	if (!p->value == !p->ratio.bad)
		return field_error(ctx, node, NULL, "want either value or ratio");
	return 0;
}

static enum sample_type metrics_yields(const void *params)
{
	const struct metrics_params *p = params;

	return p->value ? SAMPLE_VALUE : SAMPLE_RATIO;
}

static const struct field ratio_fields[] = {
	{.name = "bad", .type = FIELD_STRING, .offset = offsetof(struct ratio_params, bad),
	 .required = true, .example = "live_stalls_total",
	 .doc = "Counter of what should not happen; label matchers as in value."},
	{.name = "total", .type = FIELD_STRING, .offset = offsetof(struct ratio_params, total),
	 .required = true, .example = "live_segments_total", .doc = "Counter of everything."},
};

static const struct schema ratio_schema = {
	.name = "ratio",
	.doc = "The increase of one counter for each unit of another; may exceed 1 (CPU seconds per "
	       "request).",
	.size = sizeof(struct ratio_params),
	.fields = ratio_fields,
	.n_fields = ARRAY_SIZE(ratio_fields),
};

#define O(field) offsetof(struct metrics_params, field)
static const struct field fields[] = {
	{.name = "selector", .type = FIELD_OBJECT, .offset = O(selector), .sub = &selector_schema,
	 .doc = "The targets that are asked. Default: all."},
	{.name = "port", .type = FIELD_INT, .offset = O(port), .has_range = true,
	 .min = 1, .max = 65535,
	 .doc = "Port of the metrics page. Default: the target's annotation prometheus.io/port, else "
		"8080."},
	{.name = "path", .type = FIELD_STRING, .offset = O(path), .deflt = "/metrics",
	 .doc = "Path of the metrics page."},
	{.name = "value", .type = FIELD_STRING, .offset = O(value),
	 .example = "process_resident_memory_bytes",
	 .doc = "The metric, with label matchers if wanted (http_requests_total{code=~\"5..\"}), summed "
		"over its series and the targets. Of a counter, rate and count tell the increase."},
	{.name = "ratio", .type = FIELD_OBJECT, .offset = O(ratio), .sub = &ratio_schema,
	 .doc = "bad and total: two counters."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "500ms",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two scrapes."},
	{.name = "timeout", .type = FIELD_DURATION, .offset = O(timeout_ns), .deflt = "2s",
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 600 * NSEC_PER_SEC,
	 .doc = "A scrape without an answer after this time has failed."},
};
#undef O

static const struct schema metrics_schema = {
	.name = "metrics",
	.doc = "Scrapes OpenMetrics text from the targets themselves, each from inside its own network "
	       "namespace, so that the measurement does not suffer the fault.",
	.size = sizeof(struct metrics_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_metrics,
};

const struct indicator_type indicator_metrics = {
	.name = "metrics",
	.doc = "A metric, or the ratio of two counters, scraped from the targets.",
	.schema = &metrics_schema,
	.yields = metrics_yields,
};
