/*
 * What no single table can say: names that must be unique or must exist, times that must fit into
 * their window.
 */
#include "experiment_schema.h"

#include "base/suggest.h"
#include "base/units.h"

static const struct yaml_node *item(const struct yaml_node *list, size_t i)
{
	return list && list->kind == YAML_SEQUENCE && i < list->n ? list->items[i] : NULL;
}

/* One call per item and list; node_of(i) is the place of its name. */
static void check_unique(const char *name, size_t i, const char *const *names,
			 const struct yaml_node *list, struct field_ctx *ctx, const char *field)
{
	size_t mark;

	for (size_t k = 0; name && k < i; k++) {
		if (!streq(names[k], name))
			continue;
		mark = field_enter(ctx, field);
		field_enter_item(ctx, i);
		field_error(ctx, item(list, i), "name", "\"%s\" is the name of %s[%zu] too", name,
			    field, k);
		field_leave(ctx, mark);
		return;
	}
}

static void check_slos(const struct experiment *x, const struct yaml_node *spec,
		       const char **names, struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(spec, "slos");

	for (size_t i = 0; i < x->n_slos; i++) {
		names[i] = x->slos[i].name;
		check_unique(names[i], i, names, list, ctx, "slos");
	}
}

static bool is_any(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(names[i], name))
			return true;
	return false;
}

static void check_abort(const struct abort_spec *a, const char *const *names, size_t n,
			const struct yaml_node *node, struct field_ctx *ctx)
{
	const char *nearest = NULL;

	if (!a->slo || is_any(a->slo, names, n) || is_any(NULL, names, n))
		return;
	nearest = suggest_nearest(a->slo, names, n);
	if (nearest)
		field_error(ctx, node, "slo", "\"%s\" is not the name of an slo (did you mean \"%s\"?)",
			    a->slo, nearest);
	else
		field_error(ctx, node, "slo", "\"%s\" is not the name of an slo", a->slo);
}

static void check_aborts(const struct experiment *x, const struct yaml_node *spec,
			 const char *const *names, struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(spec, "abort");

	for (size_t i = 0; i < x->n_aborts; i++) {
		size_t mark = field_enter(ctx, "abort");

		field_enter_item(ctx, i);
		check_abort(&x->aborts[i], names, x->n_slos, item(list, i), ctx);
		field_leave(ctx, mark);
	}
}

static int64_t duration_of(const struct fault_spec *f)
{
	const struct fault_common *common = f->params;

	return f->duration_ns ? f->duration_ns : common ? common->duration_ns : 0;
}

/* Compared without adding: each of the two may be 292 years. */
static void check_time(const struct experiment *x, const struct fault_spec *f,
		       const struct yaml_node *node, struct field_ctx *ctx)
{
	autofree char *inner = f->driver ? xasprintf("%s.duration", f->driver->field) : NULL;
	char end[UNITS_TEXT_MAX];

	units_duration(x->fault_ns, end);
	if (f->at_ns >= x->fault_ns)
		field_error(ctx, node, "at", "begins after the fault window (%s) has ended", end);
	else if (duration_of(f) > x->fault_ns - f->at_ns)
		field_error(ctx, node, f->duration_ns ? "duration" : inner,
			    "lasts longer than the fault window (%s)", end);
}

static void check_faults(const struct experiment *x, const struct yaml_node *spec,
			 struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(spec, "faults");
	autofree const char **names = xcalloc(x->n_faults, sizeof *names);

	for (size_t i = 0; i < x->n_faults; i++) {
		size_t mark = field_enter(ctx, "faults");

		field_enter_item(ctx, i);
		if (x->fault_ns > 0)
			check_time(x, &x->faults[i], item(list, i), ctx);
		field_leave(ctx, mark);
		names[i] = x->faults[i].name;
		check_unique(names[i], i, names, list, ctx, "faults");
	}
}

static void check_source(const struct experiment *x, const struct yaml_node *spec,
			 struct field_ctx *ctx)
{
	const char *const *names = target_source_names();
	autostr all = {0};

	if (!x->source || target_source_find(x->source))
		return;
	for (size_t i = 0; names[i]; i++)
		str_addf(&all, "%s%s", i ? ", " : "", names[i]);
	field_error(ctx, spec, "source", "\"%s\" is not one of %s", x->source, all.s ? all.s : "");
}

void experiment_check(const struct experiment *x, const struct yaml_node *spec,
		      struct field_ctx *ctx)
{
	autofree const char **slo_names = xcalloc(x->n_slos, sizeof *slo_names);

	check_source(x, spec, ctx);
	check_slos(x, spec, slo_names, ctx);
	check_aborts(x, spec, slo_names, ctx);
	check_faults(x, spec, ctx);
}
