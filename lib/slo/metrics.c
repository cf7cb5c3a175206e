/*
 * metrics - what the targets say about themselves at /metrics
 *
 * One round of scrapes gives one sample. While a target does not answer, its counters are made up for
 * later, and a sum of gauges is a failed reading. What is no finite number, or carries the timestamp of
 * the reading before, is no answer.
 */
#include "scrape.h"
#include "tally.h"

#include "../base/clock.h"

#include <errno.h>
#include <math.h>

struct ratio_params {
	char *bad, *total;
};

struct metrics_params {
	struct scrape_params scrape;
	char *value;
	struct ratio_params ratio;
};

static int check_selector(const char *text, const char *field, const struct yaml_node *node,
			  struct field_ctx *ctx)
{
	struct openmetrics_selector sel;
	struct err e = {0};

	if (!text)
		return 0;
	if (openmetrics_selector_parse(text, &sel, &e) < 0)
		return field_error(ctx, node, field, "%s", e.text);
	openmetrics_selector_done(&sel);
	return 0;
}

static int check_metrics(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct metrics_params *p = obj;
	int ret = 0;

	if (!p->value == !p->ratio.bad)
		return field_error(ctx, node, NULL, "want either value or ratio");
	if (check_selector(p->value, "value", node, ctx) < 0 ||
	    check_selector(p->ratio.bad, "ratio.bad", node, ctx) < 0 ||
	    check_selector(p->ratio.total, "ratio.total", node, ctx) < 0)
		ret = -EINVAL;
	return scrape_check(&p->scrape, node, ctx) < 0 ? -EINVAL : ret;
}

static enum sample_type metrics_yields(const void *params)
{
	const struct metrics_params *p = params;

	return p->value ? SAMPLE_VALUE : SAMPLE_RATIO;
}

static double metrics_rate(const void *params)
{
	const struct metrics_params *p = params;

	return p->value ? scrape_rate(&p->scrape) : 0;
}

/* The metrics that are read: value, or bad and total. */
enum { VALUE = 0, BAD = 0, TOTAL = 1, METRICS_MAX = 2 };

/* What one page says of each metric. */
struct reading {
	double sum[METRICS_MAX];
	bool found[METRICS_MAX], counter[METRICS_MAX];
	bool family; /* a series of the counter is there, if none that is selected */
	bool broken; /* a value is no finite number */
	double stamp; /* the newest */
};

struct metrics {
	struct indicator *indicator;
	const struct metrics_params *params;
	struct scrape *scrape;
	struct openmetrics_selector selectors[METRICS_MAX];
	size_t n_selectors;
	struct tally tallies[METRICS_MAX];
	struct reading reading; /* of this page */
	/* of this round */
	double gauge, bad, total;
	bool counter;
};

/* The metric that must be there: an absent counter of bad things has counted none. */
static size_t must_have(const struct metrics *m)
{
	return m->params->value ? VALUE : TOTAL;
}

static void begin_round(void *data)
{
	struct metrics *m = data;

	m->gauge = 0;
}

static void begin_page(void *data)
{
	struct metrics *m = data;

	m->reading = (struct reading){0};
}

static void read_sample(void *data, const struct openmetrics_sample *s)
{
	struct metrics *m = data;
	struct reading *r = &m->reading;

	for (size_t k = 0; k < m->n_selectors; k++) {
		r->family |= k == must_have(m) && s->counter && streq(s->name, m->selectors[k].name);
		if (!openmetrics_selector_matches(&m->selectors[k], s))
			continue;
		r->sum[k] += s->value;
		r->found[k] = true;
		r->counter[k] |= s->counter;
		r->broken |= !isfinite(s->value);
		r->stamp = fmax(r->stamp, s->stamp);
	}
}

static void count(struct metrics *m, const struct scrape_page *p)
{
	const struct reading *r = &m->reading;

	if (m->params->value) {
		m->counter |= r->counter[VALUE];
		if (r->counter[VALUE])
			tally_add(&m->tallies[VALUE], p->target, p->started_ns, r->sum[VALUE]);
		if (p->in_round)
			m->gauge += r->sum[VALUE];
		return;
	}
	/* A counter that has no series yet has counted nothing. */
	m->bad += tally_add(&m->tallies[BAD], p->target, p->started_ns, r->sum[BAD]);
	m->total += tally_add(&m->tallies[TOTAL], p->target, p->started_ns, r->sum[TOTAL]);
}

static bool end_page(void *data, const struct scrape_page *p, char *why, size_t size)
{
	struct metrics *m = data;
	struct reading *r = &m->reading;
	size_t must = must_have(m);
	const char *name = m->selectors[must].name;

	/* Of a counter's labels, some may not have come up yet: 0 of them were counted. */
	r->counter[must] |= r->family;
	if (!r->found[must] && !r->family)
		snprintf(why, size, "no series of %s", name);
	else if (r->broken)
		snprintf(why, size, "%s is not a finite number", name);
	else if (r->stamp > 0 && r->stamp <= *p->stamp)
		snprintf(why, size, "%s has the timestamp of the reading before", name);
	else {
		*p->stamp = r->stamp;
		count(m, p);
		return true;
	}
	return false;
}

static bool makes_up(void *data)
{
	const struct metrics *m = data;

	return m->counter || !m->params->value;
}

static void end_round(void *data, const struct scrape_round *r)
{
	struct metrics *m = data;
	struct sample s = {.type = m->params->value ? SAMPLE_VALUE : SAMPLE_RATIO,
			   .at_ns = clock_now_ns()};

	s.ok = s.type == SAMPLE_VALUE && !m->counter ? scrape_is_whole(r) : r->answered > 0;
	s.value = m->counter ? m->tallies[VALUE].sum : m->gauge;
	s.bad = m->bad;
	s.total = m->total;
	if (s.type == SAMPLE_VALUE || s.ok)
		slo_sample(m->indicator->slo, &s);
	m->bad = m->total = 0;
}

static const struct scrape_ops ops = {
	.begin = begin_round,
	.begin_page = begin_page,
	.sample = read_sample,
	.end_page = end_page,
	.makes_up = makes_up,
	.end = end_round,
};

static int parse_selectors(struct metrics *m, struct err *e)
{
	const struct metrics_params *p = m->params;
	const char *texts[METRICS_MAX] = {p->value ? p->value : p->ratio.bad, p->ratio.total};

	for (size_t k = 0; k < METRICS_MAX && texts[k]; k++) {
		if (openmetrics_selector_parse(texts[k], &m->selectors[k], e) < 0)
			return -EINVAL;
		m->n_selectors++;
	}
	return 0;
}

static int metrics_start(struct indicator *i, struct err *e)
{
	struct metrics *m = xcalloc(1, sizeof *m);
	int r;

	i->state = m;
	m->indicator = i;
	m->params = i->params;
	r = parse_selectors(m, e);
	if (r == 0)
		r = scrape_start(i, &m->params->scrape, &ops, m, &m->scrape, e);
	for (size_t k = 0; r == 0 && k < METRICS_MAX; k++)
		m->tallies[k].born_ns = scrape_start_ns(m->scrape);
	return r;
}

static void metrics_stop(struct indicator *i)
{
	struct metrics *m = i->state;

	scrape_stop(m->scrape);
}

static void metrics_free(struct indicator *i)
{
	struct metrics *m = take(i->state);

	if (!m)
		return;
	scrape_free(m->scrape);
	for (size_t k = 0; k < METRICS_MAX; k++) {
		openmetrics_selector_done(&m->selectors[k]);
		tally_done(&m->tallies[k]);
	}
	free(m);
}

static int metrics_report(struct indicator *i, json_t **ret)
{
	const struct metrics *m = i->state;

	if (m && m->scrape)
		*ret = scrape_report(m->scrape);
	return 0;
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
	{.name = "value", .type = FIELD_STRING, .offset = O(value),
	 .example = "process_resident_memory_bytes",
	 .doc = "The metric, with label matchers if wanted (http_requests_total{code=~\"5..\"}), summed "
		"over its series and the targets. A counter counts from the start of the run: count is "
		"its increase in the window, rate the increase per second."},
	{.name = "ratio", .type = FIELD_OBJECT, .offset = O(ratio), .sub = &ratio_schema,
	 .doc = "bad and total: two counters."},
	SCRAPE_FIELDS(O(scrape)),
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
	.rate = metrics_rate,
	.start = metrics_start,
	.stop = metrics_stop,
	.report = metrics_report,
	.free = metrics_free,
};
