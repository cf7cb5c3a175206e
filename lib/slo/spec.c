/*
 * What is written under spec.slos. Which statistics an indicator has follows from the samples it
 * yields, so that "ratio of an http prober" is refused here and not found empty after the run.
 */
#include "state.h"

#include "../base/suggest.h"
#include "../base/units.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#define owner_of(storage, field)                                                                   \
	((struct slo_spec *)((char *)(storage)-offsetof(struct slo_spec, field)))

const char *const window_names[WINDOW_MAX] = {"baseline", "fault", "recovery"};

bool slo_judged_in(const struct slo_spec *spec, enum window w)
{
	bool any = false;

	for (size_t i = 0; i < WINDOW_MAX; i++)
		any |= spec->in[i];
	return any ? spec->in[w] : w == WINDOW_FAULT;
}

void slo_set_namespace(struct slo_spec *spec, const char *ns)
{
	for (size_t i = 0; spec->params && i < spec->type->schema->n_fields; i++) {
		const struct field *f = &spec->type->schema->fields[i];

		if (f->sub == &selector_schema)
			selector_set_default((struct selector *)((char *)spec->params + f->offset), ns);
	}
}

struct foresight {
	const struct slo_spec *spec;
	double rate; /* samples a second */
	void (*fn)(void *data, const char *text);
	void *data;
};

static void foresee(const struct foresight *f, const struct objective *o, enum window w, int64_t window_ns)
{
	double n = f->rate * (double)window_ns / NSEC_PER_SEC;
	uint64_t needed = stats_needed(o, f->spec->type->yields(f->spec->params));
	char stat[OBJECTIVE_TEXT_MAX], t[UNITS_TEXT_MAX], text[320];
	int64_t long_enough_ns = (int64_t)ceil((double)needed / f->rate) * NSEC_PER_SEC;

	if (!window_ns || n >= (double)needed)
		return;
	snprintf(text, sizeof text, "%s: %s needs %llu samples and will get about %.0f in the %s window: "
		 "\"%s\" cannot pass; make that window %s long, or take %.3g samples a second "
		 "instead of %.3g",
		 f->spec->name, objective_stat_text(o, stat), (unsigned long long)needed, n, window_names[w],
		 o->text, units_duration(long_enough_ns, t),
		 ceil((double)needed / ((double)window_ns / NSEC_PER_SEC) * 10) / 10, f->rate);
	f->fn(f->data, text);
}

static bool foresees(const struct slo_spec *spec, const struct objective *o, enum window w)
{
	return slo_judged_in(spec, w) || (o->relative && w == WINDOW_BASELINE);
}

void slo_foresee(const struct slo_spec *spec, const int64_t window_ns[WINDOW_MAX],
		 void (*fn)(void *data, const char *text), void *data)
{
	struct foresight f = {.spec = spec, .fn = fn, .data = data};

	f.rate = spec->type->rate ? spec->type->rate(spec->params) : 0;
	for (enum window w = WINDOW_BASELINE; f.rate > 0 && w < WINDOW_MAX; w++)
		for (size_t i = 0; i < spec->n_objectives; i++)
			if (foresees(spec, &spec->objectives[i], w))
				foresee(&f, &spec->objectives[i], w, window_ns[w]);
}

static bool indicator_variant(size_t i, struct variant *ret)
{
	const struct indicator_type *t = indicator_at(i);

	if (!t)
		return false;
	*ret = (struct variant){.name = t->name, .schema = t->schema, .tag = t};
	return true;
}

/* Indicators of the design that have no file in this folder yet. */
static char *unknown_indicator(const char *name)
{
	static const char *const planned[] = {"loki", "prometheus"};

	for (size_t i = 0; i < ARRAY_SIZE(planned); i++)
		if (streq(planned[i], name))
			return xasprintf("is not supported yet (a command indicator can ask for it)");
	return NULL;
}

static int parse_objective(const struct yaml_node *node, struct slo_spec *spec,
			   struct field_ctx *ctx)
{
	struct err e = {0};
	struct objective o;

	if (node->kind != YAML_SCALAR)
		return field_error(ctx, node, NULL, "want an objective (\"p99 <= 1.2s\")");
	if (objective_parse(node->text, &o, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	*array_push(spec->objectives, spec->n_objectives) = o;
	return 0;
}

static int parse_objectives(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct slo_spec *spec = owner_of(storage, objectives);
	int ret = 0;

	spec->file = ctx->file;
	spec->line = node->line;
	spec->column = node->column;
	if (node->kind == YAML_SCALAR)
		return parse_objective(node, spec, ctx);
	if (node->kind != YAML_SEQUENCE || !node->n)
		return field_error(ctx, node, NULL, "want a list of objectives ([\"p99 <= 1.2s\"])");
	for (size_t i = 0; i < node->n; i++) {
		size_t mark = field_enter_item(ctx, i);

		if (parse_objective(node->items[i], spec, ctx) < 0)
			ret = -EINVAL;
		field_leave(ctx, mark);
	}
	return ret;
}

static void free_objectives(void *storage)
{
	free(owner_of(storage, objectives)->objectives);
}

static int parse_window(const struct yaml_node *node, bool *in, struct field_ctx *ctx)
{
	const char *near;

	if (node->kind != YAML_SCALAR)
		return field_error(ctx, node, NULL, "want baseline, fault or recovery");
	for (size_t i = 0; i < ARRAY_SIZE(window_names); i++)
		if (streq(node->text, window_names[i])) {
			in[i] = true;
			return 0;
		}
	near = suggest_nearest(node->text, window_names, ARRAY_SIZE(window_names));
	return field_error(ctx, node, NULL,
			   "\"%s\" is not a window (want baseline, fault or recovery%s%s%s)",
			   node->text, near ? "; did you mean \"" : "", near ? near : "",
			   near ? "\"?" : "");
}

static int parse_in(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	bool *in = owner_of(storage, in)->in;
	int ret = 0;

	if (node->kind == YAML_SCALAR)
		return parse_window(node, in, ctx);
	if (node->kind != YAML_SEQUENCE || !node->n)
		return field_error(ctx, node, NULL, "want a list of baseline, fault and recovery");
	for (size_t i = 0; i < node->n; i++) {
		size_t mark = field_enter_item(ctx, i);

		if (parse_window(node->items[i], in, ctx) < 0)
			ret = -EINVAL;
		field_leave(ctx, mark);
	}
	return ret;
}

static int parse_expect(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	if (node->kind != YAML_SCALAR || !(streq(node->text, "breach") || streq(node->text, "hold")))
		return field_error(ctx, node, NULL, "want hold or breach");
	*(bool *)storage = streq(node->text, "breach");
	return 0;
}

/* "within 10s", or the time alone. */
static int parse_recovers(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	const char *p = node->kind == YAML_SCALAR ? node->text : NULL;
	struct err e = {0};

	if (!p)
		return field_error(ctx, node, NULL, "want a time (within 10s)");
	if (strncmp(p, "within ", 7) == 0)
		p += 7 + strspn(p + 7, " ");
	if (units_parse_duration(p, storage, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	if (*(int64_t *)storage == 0)
		return field_error(ctx, node, NULL, "\"%s\": want a time above 0", node->text);
	return 0;
}

/* "measures times: want ns, us, ms, s, m or h": what a bound in the unit of dim is written with. */
static const char *wanted_unit(enum objective_dim dim)
{
	switch (dim) {
	case DIM_TIME:
		return "times: want ns, us, ms, s, m or h";
	case DIM_BYTES:
		return "sizes: want bytes, or Ki, Mi, Gi, KB, MB or GB";
	default:
		return "plain numbers: want no unit";
	}
}

/* A reading may be compared with a bare number, a latency may not: 5 of what? */
static bool is_unit_wrong(const struct slo_spec *spec, const struct objective *o,
			  enum objective_dim *ret_want)
{
	bool of_readings = o->stat == STAT_QUANTILE || o->stat == STAT_MEAN || o->stat == STAT_MAX ||
			   o->stat == STAT_VALUE;

	if (!of_readings || o->relative)
		return false;
	if (spec->type->yields(spec->params) == SAMPLE_LATENCY)
		*ret_want = DIM_TIME;
	else if (!spec->type->measures || o->dim == DIM_PLAIN)
		return false;
	else
		*ret_want = spec->type->measures(spec->params);
	return o->dim != *ret_want;
}

int slo_check_objective(const struct slo_spec *spec, const struct objective *o,
			const struct yaml_node *node, struct field_ctx *ctx)
{
	static const struct {
		unsigned stats;
		const char *text;
	} has[] = {
		[SAMPLE_LATENCY] = {~(1u << STAT_VALUE),
				    "p50 to p99.99, mean, max, rate, ratio, success and count"},
		[SAMPLE_VALUE] = {~(1u << STAT_RATIO),
				  "value, p50 to p99.99, mean, max, rate, success and count"},
		[SAMPLE_RATIO] = {1u << STAT_RATIO | 1u << STAT_SUCCESS | 1u << STAT_RATE |
					  1u << STAT_COUNT,
				  "ratio, success, rate and count"},
	};
	enum sample_type yields = spec->type->yields(spec->params);
	char stat[OBJECTIVE_TEXT_MAX];
	enum objective_dim want;

	if (!(has[yields].stats & 1u << o->stat))
		return field_error(ctx, node, NULL,
				   "\"%s\": %s, as set up here, has no %s (it has %s)", o->text,
				   spec->type->name, objective_stat_text(o, stat), has[yields].text);
	if (is_unit_wrong(spec, o, &want))
		return field_error(ctx, node, NULL, "\"%s\": %s measures %s", o->text, spec->type->name,
				   wanted_unit(want));
	return 0;
}

static int check_slo(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(node, "objectives");
	const struct slo_spec *spec = obj;
	size_t mark = field_enter(ctx, "objectives");
	int ret = 0;

	for (size_t i = 0; spec->type && i < spec->n_objectives; i++) {
		bool is_list = list->kind == YAML_SEQUENCE;
		size_t item = is_list ? field_enter_item(ctx, i) : 0;

		if (slo_check_objective(spec, &spec->objectives[i], is_list ? list->items[i] : list,
					ctx) < 0)
			ret = -EINVAL;
		if (is_list)
			field_leave(ctx, item);
	}
	field_leave(ctx, mark);
	return ret;
}

#define O(field) offsetof(struct slo_spec, field)
static const struct field fields[] = {
	{.name = "name", .type = FIELD_STRING, .offset = O(name), .required = true,
	 .example = "join", .doc = "Name of the SLO in reports and in abort conditions."},
	{.name = "indicator", .type = FIELD_VARIANT, .offset = O(type), .required = true,
	 .variant = indicator_variant, .unknown = unknown_indicator, .example = "http",
	 .doc = "What is measured: exactly one of command, http, metrics, runtime, target and tcp."},
	{.name = "objectives", .type = FIELD_CUSTOM, .offset = O(objectives), .required = true,
	 .parse = parse_objectives, .free = free_objectives, .example = "[\"p99 <= 1.2s\"]",
	 .doc = "What is promised: a statistic (p50 to p99.99, mean, max, rate, ratio, success, count, "
		"value), one of <= < >= > ==, and a number with its unit; or \"within N% of baseline\" "
		"(both sides) or \"<= N% of baseline\" (one side). Requests that failed are slower than "
		"any answer. Too few samples never pass: it takes ten beyond a quantile (p99: 1000), "
		"3 / (1 - T) for success >= T (99.9%: 3000; 100%: 300), 30 for mean, max and a rate of "
		"requests."},
	{.name = "in", .type = FIELD_CUSTOM, .offset = O(in), .parse = parse_in,
	 .example = "[fault]",
	 .doc = "The windows in which the objectives are judged: baseline, fault, recovery. "
		"Default: fault."},
	{.name = "expect", .type = FIELD_CUSTOM, .offset = O(expect_breach), .parse = parse_expect,
	 .example = "breach",
	 .doc = "hold (default), or breach for a game day that tests the alarm: the SLO then passes "
		"when one of its objectives is broken."},
	{.name = "recovers", .type = FIELD_CUSTOM, .offset = O(recovers_within_ns),
	 .parse = parse_recovers, .example = "within 10s",
	 .doc = "\"within 10s\": the objectives hold again within this time after the fault."},
};
#undef O

const struct schema slo_schema = {
	.name = "slo",
	.doc = "A promise of the service, measured through the windows of the run and judged.",
	.size = sizeof(struct slo_spec),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_slo,
};
