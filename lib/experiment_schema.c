/*
 * An Experiment's spec is bound into struct experiment itself: the objects of the YAML (lab, load,
 * timeline) are only views of it, which is why their rows have offset 0 and their sub-tables
 * offsets of struct experiment.
 */
#include "experiment_schema.h"

#include <errno.h>

#define X(member) .offset = offsetof(struct experiment, member)

static const struct field metadata_fields[] = {
	{.name = "name", .type = FIELD_STRING, X(name), .example = "example", .in_template = true,
	 .doc = "Name in reports and in the history: lower-case letters, digits, '-' and '.'."},
	{.name = "generateName", .type = FIELD_STRING, X(generate_name), .example = "example-",
	 .doc = "Instead of name: what a cluster would complete to one."},
	{.name = "namespace", .type = FIELD_STRING, X(ns), .example = "default",
	 .doc = "Where selectors look that name no namespaces themselves. Left out: in that of -n, else "
		"in default; -A looks in all."},
	{.name = "labels", .type = FIELD_STRMAP, X(labels), .example = "{suite: gameday}",
	 .doc = "Labels of the experiment, kept in its record."},
	{.name = "annotations", .type = FIELD_STRMAP, X(annotations),
	 .doc = "Annotations, kept in the record."},
	{.name = "creationTimestamp", .type = FIELD_IGNORED},
	{.name = "deletionGracePeriodSeconds", .type = FIELD_IGNORED},
	{.name = "deletionTimestamp", .type = FIELD_IGNORED},
	{.name = "finalizers", .type = FIELD_IGNORED},
	{.name = "generation", .type = FIELD_IGNORED},
	{.name = "managedFields", .type = FIELD_IGNORED},
	{.name = "ownerReferences", .type = FIELD_IGNORED},
	{.name = "resourceVersion", .type = FIELD_IGNORED},
	{.name = "selfLink", .type = FIELD_IGNORED},
	{.name = "uid", .type = FIELD_IGNORED},
};

static const struct schema metadata_schema = {
	.name = "metadata",
	.doc = "What the resource is called.",
	.size = sizeof(struct experiment),
	.fields = metadata_fields,
	.n_fields = ARRAY_SIZE(metadata_fields),
};

/* What a spec holds depends on the kind: experiment_bind() binds it after the head. */
static int parse_nothing(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	(void)node, (void)storage, (void)ctx;
	return 0;
}

static const struct field head_fields[] = {
	{.name = "apiVersion", .type = FIELD_STRING, X(api_version), .required = true,
	 .doc = "Group and version of the kind."},
	{.name = "kind", .type = FIELD_STRING, X(kind), .required = true,
	 .doc = "What the document describes."},
	{.name = "metadata", .type = FIELD_OBJECT, .sub = &metadata_schema, .required = true,
	 .doc = "What the resource is called."},
	{.name = "spec", .type = FIELD_CUSTOM, .parse = parse_nothing, .required = true,
	 .doc = "What the kind describes; its fields follow from the kind."},
	{.name = "status", .type = FIELD_IGNORED},
};

const struct schema experiment_head_schema = {
	.name = "document",
	.doc = "What stands around the spec of every kind.",
	.size = sizeof(struct experiment),
	.fields = head_fields,
	.n_fields = ARRAY_SIZE(head_fields),
};

/* Abort conditions --------------------------------------------------------------------------- */

static int parse_when(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct abort_spec *a =
		(struct abort_spec *)((char *)storage - offsetof(struct abort_spec, when));
	struct err e = {0};

	if (node->kind != YAML_SCALAR)
		return field_error(ctx, node, NULL, "want a condition (\"p99 > 5s\")");
	a->when = xstrdup(node->text);
	if (objective_parse(node->text, &a->condition, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	return 0;
}

static void free_when(void *storage)
{
	free(take(*(char **)storage));
}

static const struct field abort_fields[] = {
	{.name = "slo", .type = FIELD_STRING, .offset = offsetof(struct abort_spec, slo),
	 .required = true, .example = "join", .doc = "Name of one of spec.slos."},
	{.name = "when", .type = FIELD_CUSTOM, .offset = offsetof(struct abort_spec, when),
	 .parse = parse_when, .free = free_when, .required = true, .example = "p99 > 5s",
	 .doc = "The condition, written like an objective."},
	{.name = "for", .type = FIELD_DURATION, .offset = offsetof(struct abort_spec, for_ns),
	 .deflt = "0s", .example = "3s", .doc = "How long it must hold without pause."},
	{.name = "window", .type = FIELD_DURATION, .offset = offsetof(struct abort_spec, window_ns),
	 .deflt = "5s", .has_range = true, .min = 100 * NSEC_PER_MSEC, .max = INT64_MAX,
	 .doc = "The time up to now that the statistic is taken over."},
};

static const struct schema abort_schema = {
	.name = "abort",
	.doc = "When to stop at once and put everything back.",
	.size = sizeof(struct abort_spec),
	.fields = abort_fields,
	.n_fields = ARRAY_SIZE(abort_fields),
};

/* Faults ------------------------------------------------------------------------------------- */

static bool fault_variant(size_t i, struct variant *ret)
{
	size_t n;
	const struct fault_driver *const *drivers = fault_drivers(&n);
	const struct fault_driver *d = i < n ? drivers[i] : i == n ? fault_driver_for_tests : NULL;

	if (d)
		*ret = (struct variant){d->field, d->schema, d};
	return d;
}

static char *unknown_fault_field(const char *name)
{
	return experiment_unsupported_kind(name);
}

/* Either place will do. */
static int take_tolerance(const struct fault_spec *f, const struct yaml_node *params,
			  struct field_ctx *ctx)
{
	struct fault_common *common = f->params;

	if (!tolerance_given(&f->tolerance))
		return 0;
	if (tolerance_given(&common->tolerance) &&
	    (f->tolerance.min != common->tolerance.min || f->tolerance.max != common->tolerance.max))
		return field_error(ctx, params, "tolerance",
				   "differs from the fault's own tolerance: give one of them");
	common->tolerance = f->tolerance;
	return 0;
}

static int check_fault(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct fault_spec *f = obj;
	struct fault_common *common = f->params;
	const struct yaml_node *params = yaml_get(node, f->driver->field);
	size_t mark = field_enter(ctx, f->driver->field);
	int r = selection_check(&common->selection, params, ctx);

	if (!common->selection.given)
		r = field_error(ctx, params, "selector", "is required");
	if (common->duration_given && common->duration_ns < NSEC_PER_MSEC)
		r = field_error(ctx, params, "duration", "must be at least 1.00 ms");
	if (f->duration_ns && common->duration_ns && f->duration_ns != common->duration_ns)
		r = field_error(ctx, params, "duration",
				"differs from the fault's own duration: give one of them");
	if (take_tolerance(f, params, ctx) < 0)
		r = -EINVAL;
	field_leave(ctx, mark);
	return r;
}

static const struct field fault_fields[] = {
	{.name = "name", .type = FIELD_STRING, .offset = offsetof(struct fault_spec, name),
	 .example = "uplink", .in_template = true,
	 .doc = "Name in reports. Left out: fault-1 for the first, and so on."},
	{.name = "at", .type = FIELD_DURATION, .offset = offsetof(struct fault_spec, at_ns),
	 .deflt = "0s", .doc = "When it begins, from the start of the fault window."},
	{.name = "duration", .type = FIELD_DURATION,
	 .offset = offsetof(struct fault_spec, duration_ns), .example = "10s", .has_range = true,
	 .min = NSEC_PER_MSEC, .max = INT64_MAX,
	 .doc = "How long it lasts. Left out: to the end of the fault window."},
	{.name = "tolerance", .type = FIELD_CUSTOM, .parse = tolerance_parse,
	 .offset = offsetof(struct fault_spec, tolerance), .example = TOLERANCE_EXAMPLE,
	 .doc = TOLERANCE_DOC},
	{.name = "", .type = FIELD_VARIANT, .offset = offsetof(struct fault_spec, driver),
	 .variant = fault_variant, .required = true, .example = "networkChaos",
	 .doc = "What is done, to which targets: the fields of the kind's own spec."},
};

static const struct schema fault_schema = {
	.name = "fault",
	.doc = "One fault, on targets of its own, at a time of its own.",
	.size = sizeof(struct fault_spec),
	.fields = fault_fields,
	.n_fields = ARRAY_SIZE(fault_fields),
	.unknown = unknown_fault_field,
	.check = check_fault,
};

_Static_assert(offsetof(struct fault_spec, params) ==
		       offsetof(struct fault_spec, driver) + sizeof(void *),
	       "driver and params are a variant_value");

/* The spec ----------------------------------------------------------------------------------- */

static const struct field lab_fields[] = {
	{.name = "manifests", .type = FIELD_STRINGS, X(lab_manifests), .required = true,
	 .example = "[lab/pods.yaml]",
	 .doc = "Kubernetes Deployment and Pod manifests, relative to this file."},
};

static const struct schema lab_schema = {
	.name = "lab",
	.doc = "Pods that brunt brings up for this run and takes down after it.",
	.size = sizeof(struct experiment),
	.fields = lab_fields,
	.n_fields = ARRAY_SIZE(lab_fields),
};

static const struct field load_fields[] = {
	{.name = "command", .type = FIELD_STRINGS, X(load_command), .required = true,
	 .example = "[liveroom, load, --viewers, \"200\"]",
	 .doc = "Program and arguments."},
};

static const struct schema load_schema = {
	.name = "load",
	.doc = "A load generator that runs from before the baseline to the end of the recovery.",
	.size = sizeof(struct experiment),
	.fields = load_fields,
	.n_fields = ARRAY_SIZE(load_fields),
};

static const struct field timeline_fields[] = {
	{.name = "baseline", .type = FIELD_DURATION, X(baseline_ns), .deflt = "10s",
	 .in_template = true,
	 .doc = "Time without a fault, in which the steady state must hold."},
	{.name = "fault", .type = FIELD_DURATION, X(fault_ns), .deflt = "30s", .has_range = true,
	 .min = NSEC_PER_MSEC, .max = INT64_MAX, .in_template = true,
	 .doc = "The window in which the faults lie."},
	{.name = "recovery", .type = FIELD_DURATION, X(recovery_ns), .deflt = "15s",
	 .in_template = true,
	 .doc = "Time after the faults, in which the objectives should hold again."},
};

static const struct schema timeline_schema = {
	.name = "timeline",
	.doc = "The three windows of a run.",
	.size = sizeof(struct experiment),
	.fields = timeline_fields,
	.n_fields = ARRAY_SIZE(timeline_fields),
};

static const struct field blast_fields[] = {
	{.name = "maxTargets", .type = FIELD_INT, .has_range = true, .min = 1, .max = INT64_MAX,
	 .offset = offsetof(struct blast_radius, max_targets), .example = "1",
	 .in_template = true,
	 .doc = "At most so many targets hold a fault at one time."},
	{.name = "maxPercent", .type = FIELD_INT, .has_range = true, .min = 1, .max = 100,
	 .offset = offsetof(struct blast_radius, max_percent), .example = "34",
	 .doc = "At most this percentage of the targets that a selector matches."},
};

static const struct schema blast_schema = {
	.name = "blastRadius",
	.doc = "Bounds beyond which the run is refused before anything is touched.",
	.size = sizeof(struct blast_radius),
	.fields = blast_fields,
	.n_fields = ARRAY_SIZE(blast_fields),
};

static const struct field spec_fields[] = {
	{.name = "hypothesis", .type = FIELD_STRING, X(hypothesis),
	 .example = "p99 stays under 1.2 s while a replica is slow.",
	 .in_template = true, .doc = "What you expect, in a sentence; stands in the report."},
	{.name = "seed", .type = FIELD_INT, X(seed),
	 .present_offset = offsetof(struct experiment, seed_given), .example = "42",
	 .doc = "Replays every choice that brunt makes. Left out: drawn and reported."},
	{.name = "source", .type = FIELD_STRING, X(source), .example = "lab",
	 .doc = "Where targets come from. Left out: lab if the experiment has one, else netns."},
	{.name = "lab", .type = FIELD_OBJECT, .sub = &lab_schema,
	 .present_offset = offsetof(struct experiment, has_lab),
	 .doc = "Pods that brunt brings up for this run and takes down after it."},
	{.name = "load", .type = FIELD_OBJECT, .sub = &load_schema,
	 .doc = "A load generator that runs from before the baseline to the end of the recovery."},
	{.name = "timeline", .type = FIELD_OBJECT, .sub = &timeline_schema, .in_template = true,
	 .doc = "The three windows of a run."},
	{.name = "slos", .type = FIELD_LIST, .sub = &slo_schema, X(slos), .in_template = true,
	 .count_offset = offsetof(struct experiment, n_slos),
	 .doc = "What the service promises: indicators and their objectives."},
	{.name = "abort", .type = FIELD_LIST, .sub = &abort_schema, X(aborts),
	 .count_offset = offsetof(struct experiment, n_aborts),
	 .doc = "When to stop at once and put everything back."},
	{.name = "blastRadius", .type = FIELD_OBJECT, .sub = &blast_schema, X(blast_radius),
	 .in_template = true,
	 .doc = "Bounds beyond which the run is refused before anything is touched."},
	{.name = "faults", .type = FIELD_LIST, .sub = &fault_schema, X(faults), .in_template = true,
	 .count_offset = offsetof(struct experiment, n_faults),
	 .doc = "What is done to the service. Without any the run only measures."},
};

static int check_spec(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct experiment *x = obj;

	if (x->n_faults == 0 && x->n_slos == 0)
		return field_error(ctx, node, NULL, "needs faults, or slos to measure without any");
	return 0;
}

const struct schema experiment_spec_schema = {
	.name = "Experiment",
	.doc = "Puts faults on targets, judges the service's SLOs meanwhile, puts everything back.",
	.size = sizeof(struct experiment),
	.fields = spec_fields,
	.n_fields = ARRAY_SIZE(spec_fields),
	.check = check_spec,
};
