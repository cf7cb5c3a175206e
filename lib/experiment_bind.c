/*
 * From a document to an experiment. The head (apiVersion, kind, metadata) is bound first and says
 * which table binds the spec: the Experiment's own, or that of a fault's driver, whose document
 * becomes an experiment with that one fault.
 */
#include "experiment_schema.h"

#include "base/units.h"

#include <errno.h>

/* Heads -------------------------------------------------------------------------------------- */

enum { NAME_BYTES_MAX = 253 };

/* RFC 1123 as Kubernetes applies it to names. */
static bool is_dns_name(const char *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	size_t len = strlen(s);

	return len > 0 && strspn(s, allowed) == len && !strchr("-.", s[0]) &&
	       !strchr("-.", s[len - 1]);
}

/* A name that a cluster would complete; the run's id makes it unique. */
static void name_head(struct experiment *x, const struct yaml_node *doc, struct field_ctx *ctx)
{
	const struct yaml_node *metadata = yaml_get(doc, "metadata");
	size_t len = x->generate_name ? strlen(x->generate_name) : 0;

	while (len && strchr("-.", x->generate_name[len - 1]))
		len--;
	if (!x->name && len)
		x->name = xstrndup(x->generate_name, len);
	if (!x->name && metadata && metadata->kind == YAML_MAP)
		field_error(ctx, doc, "metadata.name", "is required");
}

static void check_head(const struct experiment *x, const struct yaml_node *doc,
		       struct field_ctx *ctx)
{
	if (x->name && strlen(x->name) > NAME_BYTES_MAX)
		field_error(ctx, doc, "metadata.name", "\"%.40s...\" is longer than %d characters", x->name,
			    NAME_BYTES_MAX);
	else if (x->name && !is_dns_name(x->name))
		field_error(ctx, doc, "metadata.name",
			    "\"%.200s\" is not a name (want lower-case letters, digits, '-' and '.', "
			    "beginning and ending with a letter or digit)",
			    x->name);
	if (!x->kind || !x->api_version || !experiment_schema(x->kind))
		return;
	if (!streq(x->api_version, experiment_api_version(x->kind)))
		field_error(ctx, doc, "apiVersion", "\"%.200s\" has no kind %s (want %s)",
			    x->api_version, x->kind, experiment_api_version(x->kind));
}

/* A fault that stands alone ------------------------------------------------------------------ */

/* What Chaos Mesh takes and makes no sense here, or makes another one than its author may think. */
static void warn_of_common(const struct fault_driver *d, struct fault_common *c,
			   const struct yaml_node *spec, struct field_ctx *ctx)
{
	char text[UNITS_TEXT_MAX];

	if (c->duration_given && c->duration_ns < NSEC_PER_MSEC) {
		field_warn(ctx, spec, "duration", "ends the fault at once, as in Chaos Mesh");
		c->duration_ns = NSEC_PER_MSEC;
	} else if (!c->duration_given && !d->one_shot) {
		field_warn(ctx, spec, "duration", "is left out: the fault lasts %s (in Chaos Mesh, until "
			   "it is deleted)", units_duration(EXPERIMENT_FAULT_NS, text));
	}
	if (c->remote_cluster)
		field_warn(ctx, spec, "remoteCluster", "brunt works on one cluster or machine at a time: "
			   "a run will refuse it");
	if (!c->selection.given)
		field_warn(ctx, spec, "selector", "is left out: every running target of the namespace may "
			   "be chosen");
	c->selection.given = true;
}

static void bind_lone_fault(struct experiment *x, const struct fault_driver *d,
			    const struct yaml_node *spec, struct field_ctx *ctx)
{
	struct fault_spec *f = array_push(x->faults, x->n_faults);
	struct fault_common *common;

	*f = (struct fault_spec){.driver = d, .params = xcalloc(1, d->schema->size)};
	f->name = xstrdup(x->name ? x->name : "fault-1");
	f->line = spec->line;
	f->column = spec->column;
	common = f->params;
	if (field_bind(d->schema, spec, f->params, ctx) == 0) {
		selection_check(&common->selection, spec, ctx);
		warn_of_common(d, common, spec, ctx);
	}
	f->duration_ns = common->duration_ns ? common->duration_ns : EXPERIMENT_FAULT_NS;
	x->fault_ns = f->duration_ns;
	x->is_object = true;
}

/* Experiments -------------------------------------------------------------------------------- */

/* One duration from here on, whoever gave it: the entry, the kind's own field, or the window. */
static void resolve_duration(const struct experiment *x, struct fault_spec *f)
{
	const struct fault_common *common = f->params;

	if (!f->duration_ns && common)
		f->duration_ns = common->duration_ns;
	if (!f->duration_ns && f->at_ns < x->fault_ns)
		f->duration_ns = x->fault_ns - f->at_ns;
}

static void fill_fault(struct experiment *x, size_t i, const struct yaml_node *list)
{
	struct fault_spec *f = &x->faults[i];

	if (!f->name)
		f->name = xasprintf("fault-%zu", i + 1);
	if (list && list->kind == YAML_SEQUENCE && i < list->n) {
		f->line = list->items[i]->line;
		f->column = list->items[i]->column;
	}
	resolve_duration(x, f);
}

/* A lab's manifest that is not there is the experiment's mistake, so it is found here. */
static void resolve_manifest(char **path, const struct yaml_node *node, struct field_ctx *ctx)
{
	autofree char *written = *path;

	*path = field_path(ctx, written);
	if (access(*path, R_OK) < 0)
		field_error(ctx, node, NULL, "\"%s\" cannot be read: %s", written, strerror(errno));
}

static void resolve_manifests(struct strlist *paths, const struct yaml_node *list,
			      struct field_ctx *ctx)
{
	size_t mark = field_enter(ctx, "lab.manifests");

	/* A list with a wrong item was reported, and its items cannot be told apart any more. */
	for (size_t i = 0; list && i < paths->n && paths->n == list->n; i++) {
		size_t item = field_enter_item(ctx, i);

		resolve_manifest(&paths->items[i], list->items[i], ctx);
		field_leave(ctx, item);
	}
	field_leave(ctx, mark);
}

static void bind_experiment(struct experiment *x, const struct yaml_node *spec,
			    struct field_ctx *ctx)
{
	field_bind(&experiment_spec_schema, spec, x, ctx);
	for (size_t i = 0; i < x->n_faults; i++)
		fill_fault(x, i, yaml_get(spec, "faults"));
	experiment_check(x, spec, ctx);
	resolve_manifests(&x->lab_manifests, yaml_get(yaml_get(spec, "lab"), "manifests"), ctx);
}

void experiment_set_namespace(struct experiment *x, const char *ns)
{
	for (size_t i = 0; i < x->n_faults; i++) {
		const struct fault_driver *d = x->faults[i].driver;
		struct fault_common *common = x->faults[i].params;

		if (!common)
			continue;
		selector_set_default(&common->selection.selector, ns);
		if (d->peer_selection && d->peer_selection(common))
			selector_set_default(
				(struct selector *)&d->peer_selection(common)->selector, ns);
	}
	for (size_t i = 0; i < x->n_slos; i++)
		slo_set_namespace(&x->slos[i], ns);
}

static void bind_spec(struct experiment *x, const struct yaml_node *doc, struct field_ctx *ctx)
{
	const struct fault_driver *d = x->kind ? fault_driver_by_kind(x->kind) : NULL;
	const struct yaml_node *spec = yaml_get(doc, "spec");
	size_t mark = field_enter(ctx, "spec");

	if (spec && !yaml_is_null(spec) && streq(x->kind, "Experiment"))
		bind_experiment(x, spec, ctx);
	else if (spec && !yaml_is_null(spec) && d)
		bind_lone_fault(x, d, spec, ctx);
	field_leave(ctx, mark);
	for (size_t i = 0; i < x->n_faults; i++)
		x->faults[i].file = x->file;
	experiment_set_namespace(x, x->ns ? x->ns : "default");
}

struct experiment *experiment_bind(const struct yaml *y, const struct yaml_node *doc,
				   struct diags *d)
{
	struct experiment *x = xcalloc(1, sizeof *x);
	struct field_ctx ctx = {.file = y->file, .diags = d};

	x->file = xstrdup(y->file);
	field_bind(&experiment_head_schema, doc, x, &ctx);
	name_head(x, doc, &ctx);
	check_head(x, doc, &ctx);
	if (x->kind && !experiment_schema(x->kind))
		experiment_unknown_kind(x->kind, doc, &ctx);
	bind_spec(x, doc, &ctx);
	return x;
}

void experiment_free(struct experiment *x)
{
	experiment_set_namespace(x, NULL);
	field_free(&experiment_spec_schema, x);
	field_free(&experiment_head_schema, x);
	free(x->file);
	free(x);
}
