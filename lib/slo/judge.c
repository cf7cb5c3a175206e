/*
 * From windows to a verdict. A number is believed only with enough samples: a quantile needs ten
 * beyond it. Too few never pass; they fail only when even the favourable end of the interval is
 * on the wrong side. "Narrowly" is said when the other end of the interval, of the value or of the
 * baseline that it is compared with, would decide the other way.
 *
 * And only when what was due was seen (doubt.c).
 */
#include "doubt.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void estimate_window(const struct slo *s, enum window w, const struct objective *o,
			    struct estimate *ret)
{
	const struct slo_window *win = &s->windows[w];

	stats_estimate(&win->stats, s->yields, o, win->end_ns - win->start_ns, ret);
}

/* Whether the objective is decided as `state` at each end of the intervals. */
static bool decided_everywhere(const struct objective *o, const struct estimate *v,
			       const struct estimate *base, bool holds)
{
	const double values[] = {v->value, v->low, v->high};
	const double bases[] = {base->value, base->low, base->high};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (size_t j = 0; j < ARRAY_SIZE(bases); j++)
			if (!isnan(values[i]) && (j == 0 || !isnan(bases[j])) &&
			    objective_holds(o, values[i], bases[j]) != holds)
				return false;
	return true;
}

static const char *interval_end(const struct objective *o, double v, char *buf)
{
	return isinf(v) ? "?" : objective_format(o, v, buf);
}

/* "p99 1.08 s (0.97 s .. 1.11 s, n=1500) <= 1.2s" */
static void describe(struct objective_result *r, const struct estimate *v)
{
	const struct objective *o = r->objective;
	char stat[OBJECTIVE_TEXT_MAX], value[OBJECTIVE_TEXT_MAX], low[OBJECTIVE_TEXT_MAX],
		high[OBJECTIVE_TEXT_MAX], base[OBJECTIVE_TEXT_MAX];
	const char *rest = o->text + strcspn(o->text, " <>=");
	struct str b = {0};

	rest += strspn(rest, " ");
	str_addf(&b, "%s %s (", objective_stat_text(o, stat), objective_format(o, v->value, value));
	if (!isnan(v->low))
		str_addf(&b, "%s .. %s, ", interval_end(o, v->low, low),
			 interval_end(o, v->high, high));
	str_addf(&b, "n=%" PRIu64 ") %s", v->samples, rest);
	if (o->relative)
		str_addf(&b, " %s", objective_format(o, r->baseline, base));
	snprintf(r->text, sizeof r->text, "%s", b.s);
	str_done(&b);
}

static enum slo_state inconclusive(struct objective_result *r, const char *whose, enum window w,
				   const struct estimate *v)
{
	char stat[OBJECTIVE_TEXT_MAX];

	objective_stat_text(r->objective, stat);
	r->advice = "lengthen the window or raise the rate";
	if (isnan(v->value))
		snprintf(r->why, sizeof r->why, "no samples in the %s window", window_names[w]);
	else
		snprintf(r->why, sizeof r->why, "%s%s needs %" PRIu64 " samples, has %" PRIu64,
			 whose, stat, v->needed, v->samples);
	return SLO_INCONCLUSIVE;
}

static enum slo_state decide(struct objective_result *r, enum window w, const struct estimate *v,
			     const struct estimate *base)
{
	const struct objective *o = r->objective;
	bool holds;

	if (isnan(v->value))
		return inconclusive(r, "", w, v);
	if (o->relative && (!isfinite(base->value) || base->samples < base->needed))
		return inconclusive(r, "the baseline's ", WINDOW_BASELINE, base);
	holds = objective_holds(o, v->value, base->value);
	r->narrowly = !decided_everywhere(o, v, base, holds);
	if (v->samples < v->needed && (holds || r->narrowly))
		return inconclusive(r, "", w, v);
	return holds ? SLO_HELD : SLO_BREACHED;
}

static double finite_or_nan(double v)
{
	return isfinite(v) ? v : NAN;
}

static void judge_objective(const struct slo *s, const struct objective *o, enum window w,
			    struct objective_result *r)
{
	struct estimate v, base = {.value = NAN, .low = NAN, .high = NAN};

	estimate_window(s, w, o, &v);
	if (o->relative)
		estimate_window(s, WINDOW_BASELINE, o, &base);
	r->objective = o;
	r->window = w;
	r->baseline = base.value;
	r->samples = v.samples;
	r->state = decide(r, w, &v, &base);
	doubt(s, w, r, base.value);
	r->narrowly &= r->state != SLO_INCONCLUSIVE;
	describe(r, &v);
	r->value = v.value;
	r->low = finite_or_nan(v.low);
	r->high = finite_or_nan(v.high);
}

/* Broken if one is; else open if one is. Narrow if every reason for the state is narrow, or, when
 * held, if one is. */
static void combine(struct slo_result *r)
{
	bool all_narrow = true, any_narrow = false;

	r->state = SLO_HELD;
	for (size_t i = 0; i < r->n_objectives; i++) {
		const struct objective_result *x = &r->objectives[i];

		if (x->state == SLO_BREACHED ||
		    (x->state == SLO_INCONCLUSIVE && r->state == SLO_HELD))
			r->state = x->state;
		if (x->state == SLO_BREACHED)
			all_narrow &= x->narrowly;
		if (x->state == SLO_HELD)
			any_narrow |= x->narrowly;
	}
	r->narrowly = r->state == SLO_BREACHED ? all_narrow : r->state == SLO_HELD && any_narrow;
}

static int64_t recovered_after(const struct slo *s)
{
	const struct slo_recovery *rec = &s->recovery;

	if (!rec->settled && !(rec->evaluated && rec->holds))
		return -1;
	return MAX_OF(rec->last_bad_ns - s->windows[WINDOW_RECOVERY].start_ns, (int64_t)0);
}

static void judge_recovery(const struct slo *s, struct slo_result *r)
{
	int64_t within_ns = s->spec->recovers_within_ns;

	r->recovered_after_ns = recovered_after(s);
	if (!within_ns)
		return;
	if (!s->recovery.evaluated) {
		if (r->state == SLO_HELD)
			r->state = SLO_INCONCLUSIVE;
		return;
	}
	r->recovery_breached = r->recovered_after_ns < 0 || r->recovered_after_ns > within_ns;
	if (r->recovery_breached)
		r->state = SLO_BREACHED;
	else if (r->state == SLO_HELD && coverage_worst(&s->windows[WINDOW_RECOVERY].coverage))
		r->state = SLO_INCONCLUSIVE;
}

static json_t *window_json(const struct slo *s, const struct slo_window *w)
{
	json_t *o = stats_json(&w->stats, s->yields);

	json_object_set_new(o, "coverage", coverage_json(&w->coverage, w->start_ns));
	return o;
}

static json_t *detail_json(struct slo *s)
{
	const struct indicator_type *t = s->indicator.type;
	json_t *o = json_object(), *windows = json_object(), *own = NULL;

	for (enum window w = WINDOW_BASELINE; w < WINDOW_MAX; w++)
		if (s->windows[w].opened)
			json_object_set_new(windows, window_names[w], window_json(s, &s->windows[w]));
	json_object_set_new(o, "indicator", json_string(t->name));
	json_object_set_new(o, "windows", windows);
	if (s->unanswered)
		json_object_set_new(o, "unanswered", json_integer((json_int_t)s->unanswered));
	if (t->report && t->report(&s->indicator, &own) == 0 && own)
		json_object_set_new(o, t->name, own);
	return o;
}

static void judge_window(const struct slo *s, enum window w, struct slo_result *r)
{
	for (size_t i = 0; i < s->n_objectives; i++)
		judge_objective(s, &s->objectives[i], w, array_push(r->objectives, r->n_objectives));
}

/* As slo_steady() takes it: as measured, however few samples there are. */
static void relax(struct objective_result *x)
{
	const struct objective *o = x->objective;

	if (isnan(x->value) || o->relative || x->uncovered)
		return;
	x->state = slo_holds_so_far(o, x->value, NAN) ? SLO_HELD : SLO_BREACHED;
	x->narrowly = false;
	x->why[0] = '\0';
}

void slo_judge_baseline(struct slo *s, struct slo_result *ret)
{
	*ret = (struct slo_result){.name = s->spec->name, .recovered_after_ns = -1};
	judge_window(s, WINDOW_BASELINE, ret);
	for (size_t i = 0; i < ret->n_objectives; i++)
		relax(&ret->objectives[i]);
	combine(ret);
	ret->detail = detail_json(s);
	ret->notes = doubt_notes(s);
}

int slo_judge(struct slo *s, struct slo_result *ret)
{
	struct slo_result r = {.name = s->spec->name, .breach_expected = s->spec->expect_breach};

	for (enum window w = WINDOW_BASELINE; w < WINDOW_MAX; w++)
		if (slo_judged_in(s->spec, w))
			judge_window(s, w, &r);
	combine(&r);
	if (s->spec->expect_breach && r.state != SLO_INCONCLUSIVE)
		r.state = r.state == SLO_HELD ? SLO_BREACHED : SLO_HELD;
	judge_recovery(s, &r);
	r.detail = detail_json(s);
	r.notes = doubt_notes(s);
	*ret = r;
	return 0;
}

void slo_result_done(struct slo_result *r)
{
	free(r->objectives);
	json_decref(r->detail);
	json_decref(r->notes);
	*r = (struct slo_result){0};
}

/* What failed says more than how much of it: a name that is not known, status 503. */
static void add_trouble(struct slo *s, char *why, size_t size)
{
	const struct indicator_type *t = s->indicator.type;
	const char *error, *sep = "; newest failure: ";
	size_t n = strlen(why);
	json_t *own = NULL;
	int status;

	if (!s->windows[WINDOW_BASELINE].stats.failed || !t->report ||
	    t->report(&s->indicator, &own) < 0)
		return;
	error = json_string_value(json_object_get(own, "last_error"));
	status = (int)json_integer_value(json_object_get(own, "last_bad_status"));
	if (error)
		snprintf(why + n, size - n, "%s%s", sep, error);
	else if (status)
		snprintf(why + n, size - n, "%sstatus %d", sep, status);
	json_decref(own);
}

int slo_steady(struct slo *s, char *why, size_t why_size)
{
	char stat[OBJECTIVE_TEXT_MAX], value[OBJECTIVE_TEXT_MAX];
	struct estimate v;
	int ret = 1;

	for (size_t i = 0; i < s->n_objectives && ret == 1; i++) {
		const struct objective *o = &s->objectives[i];

		estimate_window(s, WINDOW_BASELINE, o, &v);
		if (doubt_coverage(s, WINDOW_BASELINE, why, why_size)) {
			ret = -1;
		} else if (isnan(v.value)) {
			snprintf(why, why_size, "no samples in the baseline window");
			ret = -1;
		} else if (!o->relative && !slo_holds_so_far(o, v.value, NAN)) {
			snprintf(why, why_size, "%s is %s before any fault, the objective is %s",
				 objective_stat_text(o, stat), objective_format(o, v.value, value),
				 o->text);
			ret = 0;
		}
	}
	if (ret != 1)
		add_trouble(s, why, why_size);
	return ret;
}
