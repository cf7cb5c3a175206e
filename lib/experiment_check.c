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

static bool compares(const struct slo_spec *s)
{
	for (size_t i = 0; i < s->n_objectives; i++)
		if (s->objectives[i].relative)
			return true;
	return false;
}

/* What is to be judged must have time to be measured in. */
static void check_windows(const struct experiment *x, const struct slo_spec *s,
			  const struct yaml_node *node, struct field_ctx *ctx)
{
	char within[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX];

	if (s->recovers_within_ns > x->recovery_ns)
		field_error(ctx, node, "recovers", "within %s cannot be told: the recovery window is %s "
			    "long (timeline.recovery)", units_duration(s->recovers_within_ns, within),
			    units_duration(x->recovery_ns, end));
	if ((s->in[WINDOW_BASELINE] && !x->baseline_ns) || (s->in[WINDOW_RECOVERY] && !x->recovery_ns))
		field_error(ctx, node, "in", "names a window that timeline leaves no time");
	if (compares(s) && !x->baseline_ns)
		field_error(ctx, node, "objectives", "compare with the baseline, which timeline leaves no "
			    "time");
}

static void check_slos(const struct experiment *x, const struct yaml_node *spec,
		       const char **names, struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(spec, "slos");
	size_t mark;

	for (size_t i = 0; i < x->n_slos; i++) {
		names[i] = x->slos[i].name;
		check_unique(names[i], i, names, list, ctx, "slos");
		mark = field_enter(ctx, "slos");
		field_enter_item(ctx, i);
		check_windows(x, &x->slos[i], item(list, i), ctx);
		field_leave(ctx, mark);
	}
}

static bool is_any(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(names[i], name))
			return true;
	return false;
}

static const struct slo_spec *slo_named(const struct experiment *x, const char *name)
{
	for (size_t i = 0; i < x->n_slos; i++)
		if (streq(x->slos[i].name, name))
			return &x->slos[i];
	return NULL;
}

/* What the SLO does not measure would never be true, and a bound without its unit nearly always. */
static void check_condition(const struct slo_spec *slo, const struct abort_spec *a,
			    const struct yaml_node *node, struct field_ctx *ctx)
{
	size_t mark = field_enter(ctx, "when");

	if (a->condition.text[0] && slo->type && slo->params)
		slo_check_objective(slo, &a->condition, yaml_get(node, "when"), ctx);
	field_leave(ctx, mark);
}

static void check_abort(const struct experiment *x, const struct abort_spec *a,
			const char *const *names, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct slo_spec *slo = a->slo ? slo_named(x, a->slo) : NULL;
	const char *nearest = NULL;
	size_t n = x->n_slos;

	if (slo)
		check_condition(slo, a, node, ctx);
	if (!a->slo || slo || is_any(NULL, names, n))
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
		check_abort(x, &x->aborts[i], names, item(list, i), ctx);
		field_leave(ctx, mark);
	}
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
	else if (f->duration_ns > x->fault_ns - f->at_ns)
		field_error(ctx, node, yaml_get(node, "duration") ? "duration" : inner,
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
	static const char *const planned[] = {"host", "kubernetes", "podman"};
	const char *const *names = target_source_names();
	autostr all = {0};

	if (!x->source || target_source_find(x->source))
		return;
	for (size_t i = 0; names[i]; i++)
		str_addf(&all, "%s%s", i ? ", " : "", names[i]);
	if (is_any(x->source, planned, ARRAY_SIZE(planned)))
		field_error(ctx, spec, "source", "%s is not supported yet (only %s)", x->source,
			    all.s ? all.s : "");
	else
		field_error(ctx, spec, "source", "\"%s\" is not one of %s", x->source,
			    all.s ? all.s : "");
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

void experiment_foresee(const struct experiment *x, void (*fn)(void *data, const char *text), void *data)
{
	const int64_t windows[] = {x->baseline_ns, x->fault_ns, x->recovery_ns};

	for (size_t i = 0; i < x->n_slos; i++)
		slo_foresee(&x->slos[i], windows, fn, data);
}
