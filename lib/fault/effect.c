/*
 * An interval of 99 %, for a run has many figures and is told ineffective by any of them.
 *
 * More than was asked for is as bad as less: an experiment that promises to hold under 100 ms says
 * nothing when it was tried with 400 ms.
 */
#include "effect.h"

#include "../base/units.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static const double z = 2.576;           /* of 99 % */
static const double nothing = 0.05;      /* of what was asked: not felt at all */
static const double max_tolerance = 1e6;

const char *const effect_state_names[EFFECT_STATES] = {
	[EFFECT_UNKNOWN] = "unknown", [EFFECT_MEASURED] = "measured",	   [EFFECT_NONE] = "none",
	[EFFECT_LESS] = "less than asked", [EFFECT_MORE] = "more than asked",
};

static const char *const unit_names[] = {
	[EFFECT_COUNT] = "count",	   [EFFECT_PERCENT] = "%",
	[EFFECT_NS] = "ns",		   [EFFECT_BYTES] = "bytes",
	[EFFECT_BYTES_PER_S] = "bytes/s", [EFFECT_MILLI_CPU] = "mCPU",
};

/* Tolerance ----------------------------------------------------------------------------------- */

static bool read_bound(const char *text, double *ret)
{
	struct err e = {0};

	return units_parse_double(text, ret, &e) == 0 && *ret >= 0;
}

static bool read_range(const char *text, struct tolerance *t)
{
	const char *dots = strstr(text, "..");
	autofree char *min = dots ? xstrndup(text, (size_t)(dots - text)) : NULL;
	autofree char *trimmed = NULL;

	if (!dots)
		return false;
	trimmed = xstrndup(min, strcspn(min, " "));
	return read_bound(trimmed, &t->min) && read_bound(dots + 2 + strspn(dots + 2, " "), &t->max);
}

/* A bound that is left out is the default's. */
static int read_map(const struct yaml_node *node, struct tolerance *t, struct field_ctx *ctx)
{
	int r = 0;

	*t = TOLERANCE_DEFAULT;
	for (size_t i = 0; i < node->n; i++) {
		const char *key = node->keys[i]->text;
		bool min = streq(key, "min");

		if (!min && !streq(key, "max"))
			r = field_error(ctx, node, key, "unknown field (a tolerance has min and max)");
		else if (node->items[i]->kind != YAML_SCALAR ||
			 !read_bound(node->items[i]->text, min ? &t->min : &t->max))
			r = field_error(ctx, node, key, "want a number, a share of what is asked for");
	}
	return r;
}

int tolerance_parse(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct tolerance t = {0};

	if (node->kind == YAML_MAP && read_map(node, &t, ctx) < 0)
		return -EINVAL;
	if (node->kind != YAML_MAP && (node->kind != YAML_SCALAR || !read_range(node->text, &t)))
		return field_error(ctx, node, NULL, "want two shares of what is asked for (\"0.8..1.25\")");
	if (t.min > 1 || t.max < 1)
		return field_error(ctx, node, NULL,
				   "%g..%g leaves out 1, which is exactly what is asked for", t.min, t.max);
	if (t.max > max_tolerance)
		return field_error(ctx, node, NULL, "%g times what is asked for is no bound", t.max);
	*(struct tolerance *)storage = t;
	return 0;
}

/* Comparing ----------------------------------------------------------------------------------- */

static enum effect_state below(const struct effect_figure *g)
{
	if (g->limit)
		return EFFECT_MORE;
	return g->value <= g->asked * nothing ? EFFECT_NONE : EFFECT_LESS;
}

enum effect_state effect_compare(const struct effect_figure *g)
{
	struct tolerance t = tolerance_given(&g->tolerance) ? g->tolerance : TOLERANCE_DEFAULT;
	/* Of nothing no share can be taken: measuring may miss it to either side. */
	double least = g->asked > 0 ? g->asked * t.min : -g->slack;
	double most = g->at_least ? INFINITY : g->asked * t.max + g->slack;

	if (g->why[0] || isnan(g->value))
		return EFFECT_UNKNOWN;
	if (g->high < least)
		return below(g);
	if (g->low > most)
		return g->limit ? EFFECT_LESS : EFFECT_MORE;
	return g->value >= least && g->value <= most ? EFFECT_MEASURED : EFFECT_UNKNOWN;
}

static int gravity(enum effect_state s)
{
	static const int order[EFFECT_STATES] = {
		[EFFECT_MEASURED] = 0, [EFFECT_UNKNOWN] = 1, [EFFECT_MORE] = 2,
		[EFFECT_LESS] = 3,     [EFFECT_NONE] = 4,
	};

	return order[s];
}

void effect_fold(struct effect *ret, enum effect_state part)
{
	if (!ret->folded || gravity(part) > gravity(ret->state)) {
		ret->state = part;
		ret->decided_by = SIZE_MAX;
	}
	ret->folded = true;
}

void effect_add(struct effect *ret, const struct effect_figure *g)
{
	enum effect_state state = effect_compare(g);
	bool decides = !ret->folded || gravity(state) > gravity(ret->state);
	bool silent = g->witness && (state == EFFECT_MEASURED || state == EFFECT_UNKNOWN);

	if (ret->n_figures == EFFECT_FIGURES) { /* the gravest are kept */
		if (!decides || silent)
			return;
		ret->n_figures--;
	}
	ret->figures[ret->n_figures] = *g;
	ret->figures[ret->n_figures].state = state;
	if (!silent) {
		effect_fold(ret, state);
		if (decides)
			ret->decided_by = ret->n_figures;
	}
	ret->n_figures++;
}

const struct effect_figure *effect_decisive(const struct effect *ef)
{
	if (!ef->folded || ef->decided_by >= ef->n_figures)
		return NULL;
	return &ef->figures[ef->decided_by];
}

void effect_share(struct effect_figure *g, double hits, double n)
{
	double p = hits / n, z2n = z * z / n;
	double middle = (p + z2n / 2) / (1 + z2n);
	double half = z * sqrt(p * (1 - p) / n + z2n / (4 * n)) / (1 + z2n);

	g->value = 100 * p;
	g->low = fmax(0, 100 * (middle - half));
	g->high = fmin(100, 100 * (middle + half));
	g->samples = (uint64_t)n;
}

/* Words --------------------------------------------------------------------------------------- */

const char *effect_number(enum effect_unit unit, double v, char *buf, size_t size)
{
	char text[UNITS_TEXT_MAX];

	switch (unit) {
	case EFFECT_NS:
		snprintf(buf, size, "%s%s", v < 0 ? "-" : "", units_duration(llround(fabs(v)), text));
		break;
	case EFFECT_BYTES:
		snprintf(buf, size, "%s", units_size((uint64_t)fmax(v, 0), text));
		break;
	case EFFECT_BYTES_PER_S:
		snprintf(buf, size, "%s", units_rate((uint64_t)fmax(v, 0), text));
		break;
	case EFFECT_PERCENT:
		snprintf(buf, size, "%.3g %%", v);
		break;
	case EFFECT_MILLI_CPU:
		snprintf(buf, size, "%.0fm", v);
		break;
	default:
		snprintf(buf, size, "%.6g", v);
	}
	return buf;
}

void effect_figure_text(const struct effect_figure *g, char *buf, size_t size)
{
	char asked[40], value[40], low[40], high[40], of[48] = "";

	effect_number(g->unit, g->asked, asked, sizeof asked);
	if (g->why[0]) {
		snprintf(buf, size, "%s: asked %s, %s", g->name, asked, g->why);
		return;
	}
	effect_number(g->unit, g->value, value, sizeof value);
	if (g->samples)
		snprintf(of, sizeof of, ", %llu samples", (unsigned long long)g->samples);
	if (g->low == g->value && g->high == g->value)
		snprintf(buf, size, "%s: asked %s, measured %s", g->name, asked, value);
	else
		snprintf(buf, size, "%s: asked %s, measured %s (%s to %s%s)", g->name, asked, value,
			 effect_number(g->unit, g->low, low, sizeof low),
			 effect_number(g->unit, g->high, high, sizeof high), of);
}

static json_t *number_json(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *figure_json(const struct effect_figure *g)
{
	struct tolerance t = tolerance_given(&g->tolerance) ? g->tolerance : TOLERANCE_DEFAULT;
	bool told = !g->why[0];

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:[f, o], s:f, s:b, s:s, s:s}", "name",
			 g->name, "unit", unit_names[g->unit], "asked", number_json(g->asked), "value",
			 told ? number_json(g->value) : json_null(), "low",
			 told ? number_json(g->low) : json_null(), "high",
			 told ? number_json(g->high) : json_null(), "samples", (json_int_t)g->samples,
			 "tolerance", t.min, g->at_least ? json_null() : json_real(t.max), "slack",
			 g->slack, "witness", g->witness, "state", effect_state_names[g->state], "why",
			 g->why);
}

json_t *effect_figures_json(const struct effect *ef)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ef->n_figures; i++)
		json_array_append_new(list, figure_json(&ef->figures[i]));
	return list;
}
