/*
 * Two views of the same samples. The verdict is about whole windows: a sample belongs to the window
 * in which its request was meant to begin, also when the answer comes later. The live view, abort
 * conditions and recovery look at the last seconds in the order in which samples became known,
 * because they must act on what is known now.
 */
#include "state.h"

#include "../base/clock.h"

#include <math.h>

double slo_baseline(const struct slo *s, const struct objective *o)
{
	const struct slo_window *w = &s->windows[WINDOW_BASELINE];

	return o->relative ? stats_value(&w->stats, s->yields, o, w->end_ns - w->start_ns) : NAN;
}

/* A relative objective has no unit to tell its quantity by: readings are plain numbers then. */
struct objective slo_measured(const struct slo *s, const struct objective *o)
{
	struct objective ret = *o;

	if (o->relative && s->yields != SAMPLE_LATENCY && o->dim == DIM_TIME)
		ret.dim = DIM_PLAIN;
	return ret;
}

int slo_new(const struct slo_spec *spec, const struct slo_env *env, struct slo **ret, struct err *e)
{
	struct slo *s = xcalloc(1, sizeof *s);

	s->spec = spec;
	s->env = env;
	s->yields = spec->type->yields(spec->params);
	s->indicator = (struct indicator){
		.type = spec->type, .params = spec->params, .env = env, .slo = s};
	s->last_reading = NAN;
	s->broken = xcalloc(spec->n_objectives, sizeof *s->broken);
	for (size_t i = 0; i < spec->n_objectives; i++)
		*array_push(s->objectives, s->n_objectives) = slo_measured(s, &spec->objectives[i]);
	s->now.value = NAN;
	s->now.holds = true;
	strcpy(s->now.text, "-");
	for (size_t i = 0; i < ARRAY_SIZE(s->now.history); i++)
		s->now.history[i] = NAN;
	*ret = s;
	return 0;
}

void slo_free(struct slo *s)
{
	if (!s)
		return;
	slo_stop(s);
	for (size_t i = 0; i < WINDOW_MAX; i++) {
		stats_done(&s->windows[i].stats);
		stats_done(&s->windows[i].prompt);
		coverage_done(&s->windows[i].coverage);
	}
	stats_done(&s->scratch);
	recent_done(&s->recent);
	free(s->objectives);
	free(s->broken);
	free(s->held);
	if (s->indicator.type->free)
		s->indicator.type->free(&s->indicator);
	free(s);
}

int slo_start(struct slo *s, struct err *e)
{
	if (s->indicator.type->start(&s->indicator, e) < 0)
		return err_wrap(e, "SLO %s: %s", s->spec->name, s->spec->type->name);
	s->running = true;
	return 0;
}

static struct slo_window *window_at(struct slo *s, int64_t at_ns)
{
	for (size_t i = 0; i < WINDOW_MAX; i++)
		if (s->windows[i].opened && at_ns >= s->windows[i].start_ns &&
		    at_ns < s->windows[i].end_ns)
			return &s->windows[i];
	return NULL;
}

static void note_lag(struct slo_window *w, const struct sample *sample)
{
	struct sample prompt = *sample;

	if (!w->n_late && sample->lag_ns < SLO_LATE_NS)
		return;
	if (!w->n_late)
		stats_copy(&w->prompt, &w->stats);
	w->n_late += sample->lag_ns >= SLO_LATE_NS;
	w->latest_ns = MAX_OF(w->latest_ns, sample->lag_ns);
	/* The burst after a stall of brunt's own finds fewer slots than there would have been. */
	if (sample->unsent && sample->lag_ns >= SLO_LATE_NS)
		return;
	prompt.latency_ns -= prompt.latency_ns < 0 ? 0 : sample->lag_ns;
	stats_add(&w->prompt, &prompt, NAN);
}

void slo_sample(struct slo *s, const struct sample *sample)
{
	struct slo_window *w = window_at(s, sample->at_ns);

	if (w && sample->type == SAMPLE_LATENCY)
		note_lag(w, sample);
	if (w)
		stats_add(&w->stats, sample, s->last_reading);
	recent_add(&s->recent, sample, s->last_reading);
	if (sample->type == SAMPLE_VALUE && sample->ok)
		s->last_reading = sample->value;
}

void slo_round(struct slo *s, const char *source, int64_t due_ns, enum round r)
{
	struct slo_window *w = window_at(s, due_ns);

	if (w)
		coverage_add(&w->coverage, source, due_ns, r);
}

bool slo_is_down(const struct slo_env *env, const char *ns, const char *name)
{
	const struct target *t;

	if (!env->was_hit || !env->was_hit(env->data, ns, name))
		return false;
	t = target_list_find(env->targets(env->data), ns, name);
	return !t || !streq(t->phase, "Running") || !t->ready;
}

static bool bounds_time(const struct objective *o)
{
	return o->dim == DIM_TIME && !o->relative &&
	       (o->stat == STAT_QUANTILE || o->stat == STAT_MEAN || o->stat == STAT_MAX);
}

struct unanswered {
	struct slo *slo;
	const struct objective *objective;
	int64_t begun_ns;
	struct stats *into;
};

/* A request that is open for longer than the bound counts as that slow: it can only get slower.
 * One that is younger may still go either way and counts for nothing. */
static void add_unanswered(void *data, const struct sample *sample)
{
	struct unanswered *u = data;

	if (sample->at_ns >= u->begun_ns && (double)sample->latency_ns > u->objective->bound)
		histogram_add(&u->into->latency, sample->latency_ns);
}

/* Whether a request would have been answered at all is not known when it is slower than any that was. */
static void count_overdue(void *data, const struct sample *sample)
{
	struct slo_window *w = window_at(data, sample->at_ns);
	int64_t slowest_ns = w && w->stats.latency.n ? w->stats.latency.max : 0;

	if (w && sample->latency_ns > MAX_OF(slowest_ns, SLO_LATE_NS))
		w->overdue++;
}

/* At the end open requests go into their window by the same rule, by the smallest bound. */
static void keep_unanswered(void *data, const struct sample *sample)
{
	struct slo *s = data;
	struct slo_window *w = window_at(s, sample->at_ns);
	bool slow = false;

	s->unanswered++;
	for (size_t i = 0; i < s->n_objectives; i++)
		slow |= bounds_time(&s->objectives[i]) &&
			(double)sample->latency_ns > s->objectives[i].bound;
	if (w && slow)
		histogram_add(&w->stats.latency, sample->latency_ns);
}

void slo_stop(struct slo *s)
{
	const struct indicator_type *t = s->indicator.type;

	if (!s->running)
		return;
	s->running = false;
	if (t->pending) {
		t->pending(&s->indicator, clock_now_ns(), count_overdue, s);
		t->pending(&s->indicator, clock_now_ns(), keep_unanswered, s);
	}
	t->stop(&s->indicator);
}

void slo_window_open(struct slo *s, int window, int64_t start_ns)
{
	s->windows[window].opened = true;
	s->windows[window].start_ns = start_ns;
	s->windows[window].end_ns = INT64_MAX;
}

void slo_window_close(struct slo *s, int window, int64_t end_ns)
{
	s->windows[window].end_ns = end_ns;
}

double slo_slide(struct slo *s, const struct objective *o, int64_t length_ns, int64_t begun_ns,
		 int64_t now_ns)
{
	struct unanswered u = {s, o, begun_ns, &s->scratch};
	int64_t from_ns = MAX_OF(now_ns - length_ns, begun_ns);

	stats_reset(&s->scratch);
	recent_collect(&s->recent, now_ns - length_ns, begun_ns, &s->scratch);
	if (s->running && s->indicator.type->pending && bounds_time(o))
		s->indicator.type->pending(&s->indicator, now_ns, add_unanswered, &u);
	return stats_value(&s->scratch, s->yields, o, now_ns - from_ns);
}

static struct slo_held *held_of(struct slo *s, const struct objective *condition)
{
	struct slo_held *h;

	for (size_t i = 0; i < s->n_held; i++)
		if (s->held[i].condition == condition)
			return &s->held[i];
	h = array_push(s->held, s->n_held);
	h->condition = condition;
	return h;
}

bool slo_condition_held(struct slo *s, const struct objective *cond, int64_t window_ns,
			int64_t for_ns, int64_t now_ns)
{
	struct slo_held *h = held_of(s, cond);
	struct objective o = slo_measured(s, cond);
	const struct slo_window *fault = &s->windows[WINDOW_FAULT];
	double value = slo_slide(s, &o, window_ns, fault->opened ? fault->start_ns : 0, now_ns);

	if (!objective_holds(&o, value, slo_baseline(s, &o))) {
		h->since_ns = 0;
		return false;
	}
	if (!h->since_ns)
		h->since_ns = now_ns;
	return now_ns - h->since_ns >= for_ns;
}
