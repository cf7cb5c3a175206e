/*
 * The evaluation of every period. Between two samples of a slow indicator there is no news: the
 * last evaluation stands and no event is sent.
 *
 * Recovery is dated back to the sample that was the last bad one, because the sliding view keeps
 * it in sight for SLO_LIVE_NS more; and it must last for SLO_LIVE_NS, plus the time that a request
 * may take to be known as slow, before it is believed.
 */
#include "state.h"

#include <math.h>

static bool sample_breaks(const struct slo *s, const struct objective *o, const struct sample *x)
{
	double baseline = slo_baseline(s, o);
	double scale = o->dim == DIM_TIME ? NSEC_PER_SEC : 1;

	switch (o->stat) {
	case STAT_QUANTILE:
	case STAT_MEAN:
	case STAT_MAX:
	case STAT_VALUE:
		if (x->type == SAMPLE_VALUE)
			return x->ok && !objective_holds(o, x->value * scale, baseline);
		return !objective_holds(o, x->ok ? (double)x->latency_ns : INFINITY, baseline);
	case STAT_RATIO:
	case STAT_SUCCESS:
		return x->type == SAMPLE_RATIO ? x->bad > 0 : !x->ok;
	default:
		return false;
	}
}

/* Begin of the newest sample in sight that breaks o by itself; now when none does. */
static int64_t newest_bad(const struct slo *s, const struct objective *o, int64_t begun_ns,
			  int64_t now_ns)
{
	const struct recent_item *item;
	int64_t ret = 0;

	for (size_t i = 0; (item = recent_newest(&s->recent, i)); i++) {
		if (item->sample.done_ns <= now_ns - SLO_LIVE_NS)
			break;
		if (item->sample.at_ns >= begun_ns && sample_breaks(s, o, &item->sample))
			ret = MAX_OF(ret, item->sample.at_ns);
	}
	return ret ? ret : now_ns;
}

/* How long all objectives must hold until recovery is believed. */
static int64_t settling_ns(const struct slo *s)
{
	int64_t ret = 0;

	for (size_t i = 0; i < s->n_objectives; i++)
		if (s->objectives[i].dim == DIM_TIME && !s->objectives[i].relative &&
		    s->yields == SAMPLE_LATENCY)
			ret = MAX_OF(ret, (int64_t)s->objectives[i].bound);
	return ret + SLO_LIVE_NS;
}

static void track_recovery(struct slo *s, bool holds, int64_t bad_ns, int64_t now_ns)
{
	struct slo_recovery *r = &s->recovery;

	if (r->settled)
		return;
	if (!holds)
		r->last_bad_ns = MAX_OF(r->last_bad_ns, bad_ns);
	if (holds && !(r->evaluated && r->holds))
		r->held_since_ns = now_ns;
	r->evaluated = true;
	r->holds = holds;
	r->settled = holds && now_ns - r->held_since_ns >= settling_ns(s);
}

static enum window current_window(const struct slo *s)
{
	enum window ret = WINDOW_BASELINE;

	for (enum window w = WINDOW_BASELINE; w < WINDOW_MAX; w++)
		if (s->windows[w].opened)
			ret = w;
	return ret;
}

static void remember(struct slo *s, double value)
{
	size_t n = ARRAY_SIZE(s->now.history);

	memmove(s->now.history, s->now.history + 1, (n - 1) * sizeof s->now.history[0]);
	s->now.history[n - 1] = value;
}

static void emit(const struct slo *s, enum event_type type, const char *text, int64_t value)
{
	event_emit(
		s->env->listener,
		(struct event){.type = type, .name = s->spec->name, .text = text, .value = value});
}

/*
 * What o is worth now, NAN when there is nothing to say: a rate needs a whole view, and a count is
 * the window's so far, which only an upper bound can already judge.
 */
static double live_value(struct slo *s, const struct objective *o, enum window w, int64_t now_ns)
{
	const struct slo_window *win = &s->windows[w];
	int64_t begun_ns = win->opened ? win->start_ns : 0;

	if (o->stat == STAT_COUNT)
		return stats_value(&win->stats, s->yields, o, now_ns - begun_ns);
	if (o->stat == STAT_RATE && now_ns - begun_ns < SLO_LIVE_NS)
		return NAN;
	return slo_slide(s, o, SLO_LIVE_NS, begun_ns, now_ns);
}

bool slo_holds_so_far(const struct objective *o, double value, double baseline)
{
	if (o->stat == STAT_COUNT && !o->relative) {
		if (o->op == OP_GE || o->op == OP_GT)
			return true;
		if (o->op == OP_EQ)
			return value <= o->bound;
	}
	return objective_holds(o, value, baseline);
}

/* Evaluates objective i; true when it holds. *ret_value is NAN when there was no news. */
static bool evaluate(struct slo *s, size_t i, enum window w, int64_t now_ns, double *ret_value)
{
	const struct objective *o = &s->objectives[i];
	double baseline = slo_baseline(s, o);
	bool holds;

	*ret_value = live_value(s, o, w, now_ns);
	if (isnan(*ret_value) || (o->relative && (w == WINDOW_BASELINE || isnan(baseline))))
		return true;
	/* The baseline's count is that of another length: there is nothing to compare yet. */
	if (o->relative && o->stat == STAT_COUNT)
		return true;
	holds = slo_holds_so_far(o, *ret_value, baseline);
	if (!holds && !s->broken[i] && slo_judged_in(s->spec, w))
		emit(s, EVENT_BREACHED, o->text, 0);
	s->broken[i] = !holds;
	return holds;
}

void slo_tick(struct slo *s, int64_t now_ns)
{
	enum window w = current_window(s);
	bool holds = true, news = false;
	int64_t bad_ns = 0;
	double value = NAN;

	for (size_t i = s->n_objectives; i-- > 0;) {
		bool this_holds = evaluate(s, i, w, now_ns, &value);

		news |= !isnan(value);
		holds &= this_holds;
		if (!this_holds)
			bad_ns = MAX_OF(bad_ns, newest_bad(s, &s->objectives[i],
							   s->windows[w].start_ns, now_ns));
	}
	/* The loop ends with the first objective: value is its. */
	remember(s, value);
	if (!news)
		return;
	if (w == WINDOW_RECOVERY)
		track_recovery(s, holds, bad_ns, now_ns);
	s->now.holds = holds;
	if (!isnan(value)) {
		s->now.value = value;
		objective_format(&s->objectives[0], value, s->now.text);
	}
	emit(s, EVENT_SAMPLE, s->now.text, holds);
}

void slo_now(const struct slo *s, struct slo_now *ret)
{
	const struct stats *st = &s->windows[current_window(s)].stats;

	*ret = s->now;
	ret->samples = s->yields == SAMPLE_RATIO ? (uint64_t)st->total : st->ok + st->failed;
}
