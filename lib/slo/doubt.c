/*
 * Missing readings never pass; they leave a breach alone that more readings could only have made
 * worse. What is not known of single requests (open at the end, begun late by brunt itself) matters
 * when the other assumption about them would decide the other way.
 */
#include "doubt.h"

#include "../base/units.h"

#include <stdio.h>

#define ADVICE_PROBER "lower the rate, or give brunt a machine with more time"

/* A breach that the missing readings could only have made worse. */
static bool is_beyond_doubt(const struct slo *s, const struct objective *o)
{
	bool at_most = o->op == OP_LE || o->op == OP_LT;

	if (o->relative)
		return false;
	switch (o->stat) {
	case STAT_SUCCESS:
		return o->op == OP_GE || o->op == OP_GT;
	case STAT_MAX:
		return at_most;
	case STAT_COUNT:
		return at_most || (o->op == OP_EQ && o->bound <= 0);
	case STAT_QUANTILE:
		return at_most && s->yields == SAMPLE_LATENCY;
	default:
		return false;
	}
}

static void say_uncovered(const struct slo_window *w, enum window which,
			  const struct coverage_source *c, char *why, size_t size)
{
	unsigned long long answered = c->answered, due = c->due - c->down;
	char since[UNITS_TEXT_MAX];
	int n;

	if (streq(c->name, SLO_PROBER))
		n = snprintf(why, size, "brunt itself began only %llu of %llu requests within 1 s of "
			     "their time in the %s window", answered, due, window_names[which]);
	else
		n = snprintf(why, size, "%s answered %llu of %llu rounds in the %s window", c->name,
			     answered, due, window_names[which]);
	if (c->silent_run && n > 0 && (size_t)n < size)
		snprintf(why + n, size - (size_t)n, ", silent since %s",
			 units_duration(MAX_OF(c->silent_since_ns - w->start_ns, (int64_t)0), since));
}

bool doubt_coverage(const struct slo *s, enum window w, char *why, size_t size)
{
	const struct coverage_source *c = coverage_worst(&s->windows[w].coverage);

	if (c)
		say_uncovered(&s->windows[w], w, c, why, size);
	return c != NULL;
}

/* Whether a window that the objective is about was not seen as a whole. */
static bool is_uncovered(const struct slo *s, enum window w, struct objective_result *r)
{
	const struct coverage_source *c = coverage_worst(&s->windows[w].coverage);

	if (!c && r->objective->relative)
		c = coverage_worst(&s->windows[w = WINDOW_BASELINE].coverage);
	if (!c || (r->state == SLO_BREACHED && is_beyond_doubt(s, r->objective)))
		return false;
	say_uncovered(&s->windows[w], w, c, r->why, sizeof r->why);
	r->advice = streq(c->name, SLO_PROBER)
			    ? ADVICE_PROBER
			    : "find out why it does not answer: what was not seen cannot pass";
	return true;
}

/* Whether these statistics decide it as the window's own do not. */
static bool decides_otherwise(const struct slo *s, const struct stats *st, enum window w,
			      const struct objective_result *r, double baseline)
{
	const struct slo_window *win = &s->windows[w];
	double value = stats_value(st, s->yields, r->objective, win->end_ns - win->start_ns);

	return objective_holds(r->objective, value, baseline) != (r->state == SLO_HELD);
}

/* As failures, those that were open for longer than any answer took. */
static bool hangs_on_overdue(const struct slo *s, enum window w, struct objective_result *r,
			     double baseline)
{
	const struct slo_window *win = &s->windows[w];
	struct stats st = win->stats;

	st.failed += win->overdue;
	if (!win->overdue || r->state != SLO_HELD || !decides_otherwise(s, &st, w, r, baseline))
		return false;
	snprintf(r->why, sizeof r->why, "%llu requests were still unanswered at the end of the run, and "
		 "as failures they would break it", (unsigned long long)win->overdue);
	r->advice = "lengthen the recovery window, or shorten the timeout";
	return true;
}

static unsigned long long n_requests(const struct slo_window *w)
{
	return w->stats.ok + w->stats.failed;
}

static bool hangs_on_lag(const struct slo *s, enum window w, struct objective_result *r, double baseline)
{
	const struct slo_window *win = &s->windows[w];
	char late[UNITS_TEXT_MAX];

	if (!win->n_late || !decides_otherwise(s, &win->prompt, w, r, baseline))
		return false;
	snprintf(r->why, sizeof r->why, "brunt itself began %llu of %llu requests late, by up to %s, and "
		 "without its own delay it would be decided the other way",
		 (unsigned long long)win->n_late, n_requests(win), units_duration(win->latest_ns, late));
	r->advice = ADVICE_PROBER;
	return true;
}

void doubt(const struct slo *s, enum window w, struct objective_result *r, double baseline)
{
	r->uncovered = is_uncovered(s, w, r);
	if (r->uncovered || (r->state != SLO_INCONCLUSIVE && (hangs_on_overdue(s, w, r, baseline) ||
							      hangs_on_lag(s, w, r, baseline))))
		r->state = SLO_INCONCLUSIVE;
}

static void add_note(json_t *notes, char *text)
{
	json_array_append_new(notes, json_string(text));
	free(text);
}

static void note_down(const struct coverage_source *c, enum window w, json_t *notes)
{
	char t[UNITS_TEXT_MAX];

	if (c->down)
		add_note(notes, xasprintf("%s was down for %s in the %s window, by this run's fault: it is "
					  "left out for that time", c->name, units_duration(c->down_ns, t),
					  window_names[w]));
}

static void note_requests(const struct slo_window *w, const char *name, json_t *notes)
{
	char t[UNITS_TEXT_MAX];

	if (w->stats.unsent)
		add_note(notes, xasprintf("%llu of %llu requests in the %s window were not sent, because "
					  "maxInFlight were open: they count as slower than any answer",
					  (unsigned long long)w->stats.unsent, n_requests(w), name));
	if (w->n_late)
		add_note(notes, xasprintf("brunt itself began %llu of %llu requests in the %s window "
					  "late, by up to %s", (unsigned long long)w->n_late,
					  n_requests(w), name, units_duration(w->latest_ns, t)));
}

json_t *doubt_notes(const struct slo *s)
{
	json_t *notes = json_array();

	for (enum window w = WINDOW_BASELINE; w < WINDOW_MAX; w++) {
		const struct slo_window *win = &s->windows[w];

		for (size_t i = 0; i < win->coverage.n; i++)
			note_down(&win->coverage.sources[i], w, notes);
		note_requests(win, window_names[w], notes);
	}
	return notes;
}
