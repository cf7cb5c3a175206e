/*
 * The gravest finding wins:
 *
 *   not-restored  the machine needs a person, whatever the service did
 *   error         the experiment did not run as written
 *   interrupted   a person ended it
 *   aborted       a safety line was crossed; what was measured until then is cut short
 *   ineffective   no fault was felt: a breach in such a run has another cause
 *   failed        an objective was broken, beyond doubt
 *   inconclusive  nothing was broken, and something could not be told
 *   passed
 *
 * failed stands before inconclusive because objectives are a conjunction: one that is broken
 * breaks the promise whatever the unknown ones would have been, and a fault that was on for a
 * part of the time only, or whose effect could not be measured, does not excuse the breach. An
 * unsteady baseline is inconclusive and nothing else can be: no fault was injected.
 */
#include "verdict.h"

#include "base/units.h"

#include <errno.h>
#include <stdio.h>

static const struct {
	const char *name;
	int exit_code;
} verdicts[] = {
	[VERDICT_PASSED] = {"passed", 0},
	[VERDICT_FAILED] = {"failed", 1},
	[VERDICT_INEFFECTIVE] = {"ineffective", 5},
	[VERDICT_INCONCLUSIVE] = {"inconclusive", 5},
	[VERDICT_ABORTED] = {"aborted", 1},
	[VERDICT_ERROR] = {"error", 3},
	[VERDICT_NOT_RESTORED] = {"not-restored", 4},
	[VERDICT_INTERRUPTED] = {"interrupted", 130},
};

const char *verdict_name(enum verdict v)
{
	return verdicts[v].name;
}

int verdict_exit_code(enum verdict v)
{
	return verdicts[v].exit_code;
}

/* One that was not on all the time says nothing about its effect. */
static const struct verdict_fault *fault_in_state(const struct verdict_facts *f,
						  enum effect_state state)
{
	for (size_t i = 0; i < f->n_faults; i++)
		if (f->faults[i].n_targets && !f->faults[i].presence.first &&
		    f->faults[i].effect->state == state)
			return &f->faults[i];
	return NULL;
}

static const struct verdict_fault *leaky_fault(const struct verdict_facts *f)
{
	for (size_t i = 0; i < f->n_faults; i++)
		if (f->faults[i].let_through > 0 || f->faults[i].presence.first)
			return &f->faults[i];
	return NULL;
}

static const struct slo_result *slo_in_state(const struct verdict_facts *f, enum slo_state state)
{
	for (size_t i = 0; i < f->n_slos; i++)
		if (f->slos[i].state == state ||
		    (state == SLO_BREACHED && f->slos[i].recovery_breached))
			return &f->slos[i];
	return NULL;
}

/* The objective to blame; none where its breach was wanted. */
static const struct objective_result *objective_in_state(const struct slo_result *s,
							 enum slo_state state)
{
	if (state == SLO_BREACHED && s->breach_expected)
		return NULL;
	for (size_t i = 0; i < s->n_objectives; i++)
		if (s->objectives[i].state == state)
			return &s->objectives[i];
	return NULL;
}

/* "and N more" for SLOs in one state. */
static const char *others(const struct verdict_facts *f, enum slo_state state, char *buf, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_slos; i++)
		n += f->slos[i].state == state ||
		     (state == SLO_BREACHED && f->slos[i].recovery_breached);
	buf[0] = '\0';
	if (n > 1)
		snprintf(buf, size, " (and %zu more SLO%s)", n - 1, n > 2 ? "s" : "");
	return buf;
}

static bool say_not_restored(const struct verdict_facts *f, struct verdict_result *ret)
{
	char left[512];

	if (restoration_left(f->restoration) == 0)
		return false;
	restoration_summary(f->restoration, left, sizeof left);
	ret->verdict = VERDICT_NOT_RESTORED;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "NOT RESTORED: %s; clear it with: brunt recover %s", left, f->run_id);
	return true;
}

static bool say_error(const struct verdict_facts *f, struct verdict_result *ret)
{
	if (!f->error)
		return false;
	ret->verdict = VERDICT_ERROR;
	snprintf(ret->sentence, sizeof ret->sentence, "error: %s; everything is as it was before%s%s",
		 f->error, f->hint && *f->hint ? "; next step: " : "", f->hint ? f->hint : "");
	return true;
}

static bool say_interrupted(const struct verdict_facts *f, struct verdict_result *ret)
{
	if (!f->interrupted)
		return false;
	ret->verdict = VERDICT_INTERRUPTED;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "interrupted (%s): everything is restored, nothing was judged", f->interrupted);
	return true;
}

static bool say_aborted(const struct verdict_facts *f, struct verdict_result *ret)
{
	if (!f->aborted)
		return false;
	ret->verdict = VERDICT_ABORTED;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "aborted: %s, so the faults were taken off early; everything is restored: find out "
		 "why the service got that bad before trying again", f->aborted);
	return true;
}

static bool say_unsteady(const struct verdict_facts *f, struct verdict_result *ret)
{
	if (!f->unsteady)
		return false;
	ret->verdict = VERDICT_INCONCLUSIVE;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "inconclusive: no steady state before the fault (%s), so nothing was injected; mend "
		 "the service or the objective first", f->unsteady);
	return true;
}

/* Felt, by another amount: both numbers are said. */
static bool say_other_amount(const struct verdict_facts *f, enum effect_state state,
			     struct verdict_result *ret)
{
	const struct verdict_fault *v = fault_in_state(f, state);
	const struct effect_figure *g = v ? effect_decisive(v->effect) : NULL;
	char figure[256] = "";

	if (!v)
		return false;
	if (g)
		effect_figure_text(g, figure, sizeof figure);
	ret->verdict = VERDICT_INEFFECTIVE;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "ineffective: %s (%s) did %s: %s; %s, or allow it with tolerance:", v->name,
		 v->effect->requested, effect_state_names[state], g ? figure : v->effect->measured,
		 state == EFFECT_LESS
			 ? "find out what lets the rest go by"
			 : "find out what else does it, or does it more than once");
	return true;
}

static bool say_ineffective(const struct verdict_facts *f, struct verdict_result *ret)
{
	const struct verdict_fault *v = fault_in_state(f, EFFECT_NONE);

	if (!v)
		return say_other_amount(f, EFFECT_LESS, ret) || say_other_amount(f, EFFECT_MORE, ret);
	ret->verdict = VERDICT_INEFFECTIVE;
	snprintf(ret->sentence, sizeof ret->sentence,
		 "ineffective: %s (%s) was injected and is not felt%s%s; %s", v->name,
		 v->effect->requested, v->effect->measured[0] ? ": " : "", v->effect->measured,
		 v->advice ? v->advice : "check direction, device and target against the way the "
					 "traffic takes");
	return true;
}

static bool say_failed(const struct verdict_facts *f, struct verdict_result *ret)
{
	const struct slo_result *s = slo_in_state(f, SLO_BREACHED);
	const struct objective_result *o;
	char more[40];

	if (!s)
		return false;
	o = objective_in_state(s, SLO_BREACHED);
	ret->verdict = VERDICT_FAILED;
	others(f, SLO_BREACHED, more, sizeof more);
	if (o)
		snprintf(ret->sentence, sizeof ret->sentence,
			 "failed: %s: %s is not kept: %s%s; replay it with seed %lld", s->name,
			 o->objective->text, o->text, more, (long long)f->seed);
	else if (s->recovery_breached)
		snprintf(ret->sentence, sizeof ret->sentence,
			 "failed: %s did not recover in time after the fault%s; replay it with seed "
			 "%lld", s->name, more, (long long)f->seed);
	else
		snprintf(ret->sentence, sizeof ret->sentence,
			 "failed: %s was expected to be breached and was not%s: the alarm that it "
			 "tests has not been tried", s->name, more);
	return true;
}

static const struct verdict_fault *untouched_fault(const struct verdict_facts *f)
{
	for (size_t i = 0; i < f->n_faults; i++)
		if (f->faults[i].effect->only_probes)
			return &f->faults[i];
	return NULL;
}

/* Nothing was measured, or too little to compare it with what was asked for. */
static void say_unmeasured(const struct verdict_fault *v, struct verdict_result *ret)
{
	const struct effect_figure *g = effect_decisive(v->effect);
	char figure[256] = "";

	if (v->never_on) {
		snprintf(ret->sentence, sizeof ret->sentence,
			 "inconclusive: %s (%s) was never on: its time was over before all was ready for it; "
			 "let it begin earlier, or lengthen the fault window", v->name,
			 v->effect->requested);
		return;
	}
	if (g)
		effect_figure_text(g, figure, sizeof figure);
	if (g && !g->why[0])
		snprintf(ret->sentence, sizeof ret->sentence,
			 "inconclusive: whether %s did what was asked cannot be told: %s; lengthen the "
			 "window, or send more traffic through its targets", v->name, figure);
	else
		snprintf(ret->sentence, sizeof ret->sentence,
			 "inconclusive: the effect of %s could not be measured%s%s; send traffic through "
			 "its targets, with load: or an http or tcp indicator", v->name,
			 v->effect->measured[0] || g ? ": " : "", g ? figure : v->effect->measured);
}

/* Rounded down: "100 %" of its time is no gap. */
static void say_gap(const struct verdict_fault *v, struct verdict_result *ret)
{
	const struct presence_summary *p = &v->presence;
	char seen[UNITS_TEXT_MAX], before[UNITS_TEXT_MAX], more[48] = "";

	if (p->n_gaps > 1)
		snprintf(more, sizeof more, " (and %zu more gap%s)", p->n_gaps - 1,
			 p->n_gaps > 2 ? "s" : "");
	snprintf(ret->sentence, sizeof ret->sentence,
		 "inconclusive: %s was on for %lld %% of its time only: %s: %s, seen %s after the "
		 "injection and not yet %s before%s; find out who did it and run it again", v->name,
		 (long long)(p->due_ns ? (double)p->on_ns * 100 / (double)p->due_ns : 0),
		 p->first->target, p->first->what, units_duration(p->seen_ns, seen),
		 units_duration(p->unseen_ns, before), more);
}

static bool say_inconclusive(const struct verdict_facts *f, struct verdict_result *ret)
{
	const struct verdict_fault *v = leaky_fault(f);
	const struct slo_result *s = slo_in_state(f, SLO_INCONCLUSIVE);
	char *to = ret->sentence;
	size_t size = sizeof ret->sentence;

	ret->verdict = VERDICT_INCONCLUSIVE;
	if (v && v->presence.first) {
		say_gap(v, ret);
	} else if (v) {
		snprintf(to, size, "inconclusive: the kernel lease of %s ran out and let %lld packets "
			 "pass; the machine stalled: try a longer --lease", v->name,
			 (long long)v->let_through);
	} else if ((v = fault_in_state(f, EFFECT_UNKNOWN))) {
		say_unmeasured(v, ret);
	} else if (f->n_slos && (v = untouched_fault(f))) {
		snprintf(to, size, "inconclusive: nothing but brunt's own probes met %s (%s), so what the "
			 "SLOs measured went another way; send traffic through its targets, or measure "
			 "what depends on them", v->name, v->effect->requested);
	} else if (s) {
		const struct objective_result *o = objective_in_state(s, SLO_INCONCLUSIVE);
		char more[40];

		snprintf(to, size, "inconclusive: %s: %s%s; %s", s->name,
			 o ? o->why : "nothing was measured",
			 others(f, SLO_INCONCLUSIVE, more, sizeof more),
			 o && o->advice ? o->advice : "lengthen the window or raise the rate");
	} else {
		ret->verdict = VERDICT_PASSED;
		return false;
	}
	return true;
}

static void list_faults(const struct verdict_facts *f, struct str *b)
{
	for (size_t i = 0; i < f->n_faults; i++) {
		const struct verdict_fault *v = &f->faults[i];

		str_addf(b, "%s%s (%s%s%s)", i == 0 ? "" : i + 1 < f->n_faults ? ", " : " and ",
			 v->name, v->effect->requested, v->effect->measured[0] ? "; " : "",
			 v->effect->measured);
	}
}

/* "2 of 2 SLOs kept", "1 of 2 SLOs kept and 1 breached as expected" */
static const char *count_slos(const struct verdict_facts *f, char *buf, size_t size)
{
	size_t expected = 0;
	int n;

	for (size_t i = 0; i < f->n_slos; i++)
		expected += f->slos[i].breach_expected;
	n = snprintf(buf, size, "%zu of %zu SLOs kept", f->n_slos - expected, f->n_slos);
	if (expected)
		snprintf(buf + n, size - (size_t)n, " and %zu breached as expected", expected);
	return buf;
}

/* One whose selection is empty is in the facts too: without any, none was asked for. */
static void say_only_measured(const struct verdict_facts *f, struct verdict_result *ret)
{
	char slos[120];

	snprintf(ret->sentence, sizeof ret->sentence,
		 "%s: %s without any fault%s; add faults: to try what the service stands",
		 ret->narrowly ? "passed, narrowly" : "passed", count_slos(f, slos, sizeof slos),
		 ret->narrowly ? " (inside the confidence interval it would have failed)" : "");
}

static void say_passed(const struct verdict_facts *f, struct verdict_result *ret)
{
	autostr faults = {0};
	size_t targets = 0;
	char slos[120];

	list_faults(f, &faults);
	for (size_t i = 0; i < f->n_faults; i++)
		targets += f->faults[i].n_targets;
	for (size_t i = 0; i < f->n_slos; i++)
		ret->narrowly |= f->slos[i].narrowly;
	if (f->n_faults == 0)
		say_only_measured(f, ret);
	else if (targets == 0)
		snprintf(ret->sentence, sizeof ret->sentence,
			 "passed: no target matched and --allow-empty was given: nothing was tried");
	else if (f->n_slos == 0)
		snprintf(ret->sentence, sizeof ret->sentence,
			 "passed: %s felt and put back; add slos: to judge what the service makes of it",
			 faults.s);
	else
		snprintf(ret->sentence, sizeof ret->sentence,
			 "%s: %s under %s%s", ret->narrowly ? "passed, narrowly" : "passed",
			 count_slos(f, slos, sizeof slos), faults.s,
			 ret->narrowly ? ": inside the confidence interval it would have failed, "
					 "measure longer" : "");
}

void verdict_decide(const struct verdict_facts *f, struct verdict_result *ret)
{
	*ret = (struct verdict_result){0};
	if (say_not_restored(f, ret) || say_error(f, ret) || say_interrupted(f, ret) ||
	    say_aborted(f, ret) || say_unsteady(f, ret) || say_ineffective(f, ret) ||
	    say_failed(f, ret) || say_inconclusive(f, ret))
		return;
	say_passed(f, ret);
}
