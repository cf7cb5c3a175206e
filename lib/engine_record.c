/*
 * What happened, in the shape that docs/record.md states.
 *
 * Events go through here on their way to the caller, so that the record holds what the user saw.
 * Samples are left out: there are thousands, and the SLOs' own detail says what they came to.
 */
#include "engine_state.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <sys/utsname.h>

enum { EVENTS_MAX = 4000 };

static const char *const window_names[] = {
	[WINDOW_BASELINE] = "baseline",
	[WINDOW_FAULT] = "fault",
	[WINDOW_RECOVERY] = "recovery",
};

static const char *const slo_state_names[] = {
	[SLO_HELD] = "held",
	[SLO_BREACHED] = "breached",
	[SLO_INCONCLUSIVE] = "inconclusive",
};

/* Of an instant, since the run's start. */
static json_t *ms_json(const struct engine *en, int64_t at_ns)
{
	return json_real(round((double)(at_ns - en->start_ns) / 1e4) / 100);
}

/* JSON knows no NAN. */
static json_t *number_json(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

/* What an event says about whether the fault was on all the time. */
static void note_gap(struct engine *en, const struct event *ev)
{
	for (size_t i = 0; i < en->n_faults; i++) {
		struct injection *in = en->injections[i];

		if (in->state != INJECTION_ON || !ev->name)
			continue;
		if (ev->type == EVENT_LEASE_EXPIRED && streq(in->pf->spec->name, ev->name))
			in->let_through = MAX_OF(in->let_through, ev->value);
	}
}

void record_event(void *engine, const struct event *ev)
{
	struct engine *en = engine;

	note_gap(en, ev);
	if (ev->type != EVENT_SAMPLE && json_array_size(en->events) < EVENTS_MAX)
		json_array_append_new(en->events, json_pack(
			"{s:o, s:s, s:s, s:s, s:I}", "at_ms", ms_json(en, ev->at_ns), "type",
			event_type_name(ev->type), "name", ev->name ? ev->name : "", "text",
			ev->text ? ev->text : "", "value", (json_int_t)ev->value));
	if (en->o.listener.fn)
		en->o.listener.fn(en->o.listener.data, ev);
}

/* Judging ------------------------------------------------------------------------------------- */

static size_t list_faults(const struct engine *en, struct verdict_fault *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < en->n_faults; i++) {
		const struct injection *in = en->injections[i];

		if (in->late)
			continue;
		ret[n++] = (struct verdict_fault){
			.name = in->pf->spec->name,
			.n_targets = in->names.n,
			.effect = &in->effect,
			.advice = in->pf->spec->driver->advice,
			.let_through = in->let_through,
			.never_on = in->names.n && !in->presence.on_ns,
		};
		for (size_t k = 0; k < en->n_faults; k++)
			if (en->injections[k]->pf->spec == in->pf->spec)
				presence_add(&ret[n - 1].presence, &en->injections[k]->presence);
	}
	return n;
}

static void judge_slos(struct engine *en)
{
	en->slo_results = xcalloc(en->n_slos, sizeof *en->slo_results);
	for (size_t i = 0; i < en->n_slos; i++)
		if (en->unsteady)
			slo_judge_baseline(en->slos[i], &en->slo_results[i]);
		else
			slo_judge(en->slos[i], &en->slo_results[i]);
}

void record_judge(struct engine *en)
{
	autofree struct verdict_fault *faults = xcalloc(en->n_faults, sizeof *faults);
	struct verdict_facts facts = {
		.run_id = en->run_id,
		.seed = (int64_t)en->seed,
		.file = en->x->file,
		.restoration = &en->restoration,
		.error = en->error.code ? en->error.text : NULL,
		.hint = en->error.hint,
		.interrupted = en->interrupted,
		.aborted = en->aborted,
		.unsteady = en->unsteady,
		.faults = faults,
		.n_faults = list_faults(en, faults),
	};

	if (!en->slo_results && (en->unsteady || en->windows[WINDOW_FAULT].start_ns))
		judge_slos(en);
	facts.slos = en->slo_results;
	facts.n_slos = en->slo_results ? en->n_slos : 0;
	verdict_decide(&facts, &en->verdict);
}

/* The record ---------------------------------------------------------------------------------- */

static json_t *windows_json(const struct engine *en)
{
	json_t *o = json_object();

	for (int w = 0; w < WINDOW_MAX; w++) {
		const struct window_time *t = &en->windows[w];

		if (t->start_ns)
			json_object_set_new(o, window_names[w], json_pack(
				"{s:o, s:o}", "start_ms", ms_json(en, t->start_ns), "end_ms",
				t->end_ns ? ms_json(en, t->end_ns) : json_null()));
	}
	return o;
}

static json_t *strings_json(const struct strlist *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(list, json_string(l->items[i]));
	return list;
}

static json_t *took_json(const struct injection *in)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "plan",
			 (json_int_t)(in->pf->took_ns / NSEC_PER_USEC), "prepare",
			 (json_int_t)(in->prepare_ns / NSEC_PER_USEC), "journal",
			 (json_int_t)(in->journal_ns / NSEC_PER_USEC), "inject",
			 (json_int_t)(in->inject_ns / NSEC_PER_USEC), "revert",
			 (json_int_t)(in->revert_ns / NSEC_PER_USEC));
}

static json_t *fault_json(const struct injection *in)
{
	json_t *presence = in->presence.on_ns ? presence_json(&in->presence) : NULL;

	return json_pack("{s:s, s:s, s:s?, s:b, s:I, s:o, s:s, s:s, s:s, s:o, s:s?, s:I, s:o*, s:o, s:o, "
			 "s:O*}",
			 "name", in->pf->spec->name, "kind", in->pf->spec->driver->kind, "backend",
			 in->pf->fault.backend, "late", in->late, "matched",
			 (json_int_t)in->pf->n_matched, "targets", strings_json(&in->names),
			 "effect", effect_state_names[in->effect.state], "requested",
			 in->effect.requested, "measured", in->effect.measured, "figures",
			 effect_figures_json(&in->effect), "no_figure", in->effect.no_figure, "let_through",
			 (json_int_t)in->let_through, "presence", presence, "took_us",
			 took_json(in), "ops",
			 strings_json(&in->pf->ops), "detail", in->detail);
}

static json_t *faults_json(const struct engine *en)
{
	json_t *list = json_array();

	for (size_t i = 0; i < en->n_faults; i++)
		json_array_append_new(list, fault_json(en->injections[i]));
	return list;
}

static json_t *objective_json(const struct objective_result *o)
{
	return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:s, s:s}", "objective",
			 o->objective->text, "window", window_names[o->window], "state",
			 slo_state_names[o->state], "narrowly", o->narrowly, "value",
			 number_json(o->value), "low", number_json(o->low), "high",
			 number_json(o->high), "baseline", number_json(o->baseline), "samples",
			 (json_int_t)o->samples, "text", o->text, "why", o->why);
}

static json_t *slo_json(const struct slo_spec *spec, const struct slo_result *r)
{
	json_t *objectives = json_array();

	for (size_t i = 0; i < r->n_objectives; i++)
		json_array_append_new(objectives, objective_json(&r->objectives[i]));
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:o, s:o, s:b, s:o, s:O*, s:O*}", "name", spec->name,
			 "indicator", spec->type->name, "state", slo_state_names[r->state],
			 "breach_expected", r->breach_expected, "narrowly", r->narrowly,
			 "recovers_within_ms",
			 spec->recovers_within_ns ? json_real((double)spec->recovers_within_ns / 1e6)
						  : json_null(),
			 "recovered_after_ms",
			 r->recovered_after_ns < 0 ? json_null()
						   : json_real((double)r->recovered_after_ns / 1e6),
			 "recovery_breached", r->recovery_breached, "objectives", objectives,
			 "notes", r->notes, "detail", r->detail);
}

static json_t *slos_json(const struct engine *en)
{
	json_t *list = json_array();

	for (size_t i = 0; en->slo_results && i < en->n_slos; i++)
		json_array_append_new(list, slo_json(&en->x->slos[i], &en->slo_results[i]));
	return list;
}

static json_t *residue_json(const struct engine *en)
{
	json_t *list = restoration_json(&en->restoration);
	json_t *row;
	size_t i;

	json_array_foreach(list, i, row)
		json_object_set_new(row, "clean",
				    json_boolean(!restored_is_left(&en->restoration.items[i])));
	return list;
}

static json_t *labels_json(const struct kvs *labels)
{
	json_t *o = json_object();

	for (size_t i = 0; i < labels->n; i++)
		json_object_set_new(o, labels->items[i].key, json_string(labels->items[i].value));
	return o;
}

static void add_reason(json_t *reasons, const char *name, const char *why)
{
	json_array_append_new(reasons, json_sprintf("%s: %s", name, why));
}

static void add_reasons_of_fault(json_t *reasons, const struct injection *in)
{
	const struct fault *f = &in->pf->fault;
	const char *why = f->driver->unseeded ? f->driver->unseeded(f) : NULL;

	if (in->late)
		add_reason(reasons, f->name, "a target came while it was on");
	if (in->n_captured < in->names.n)
		add_reason(reasons, f->name, "a target went while it was on");
	if (why && !in->late)
		add_reason(reasons, f->name, why);
}

/* Why the seed alone does not bring the same run again; empty when it does. */
static json_t *unreplayed_json(const struct engine *en)
{
	json_t *reasons = json_array();

	for (size_t i = 0; i < en->n_faults; i++)
		add_reasons_of_fault(reasons, en->injections[i]);
	if (en->x->load_command.n)
		add_reason(reasons, "load", "the command's own choices are not known");
	for (size_t i = 0; i < en->x->n_slos; i++)
		if (streq(en->x->slos[i].type->name, "command"))
			add_reason(reasons, en->x->slos[i].name,
				   "the command's own choices are not known");
	if (en->interrupted || en->aborted || en->error.code)
		add_reason(reasons, "run", "it ended before its time");
	return reasons;
}

/* A program may write what is no UTF-8, which JSON does not hold. */
static json_t *output_json(const char *output)
{
	autofree char *ascii = xstrdup(output);
	json_t *text = json_string(output);

	for (char *c = ascii; *c; c++)
		*c = *c & 0x80 ? '?' : *c;
	return text ? text : json_string(ascii);
}

static json_t *load_json(const struct engine *en)
{
	return en->x->load_command.n == 0
		? NULL
		: json_pack("{s:o, s:o}", "command", strings_json(&en->x->load_command), "output",
			    output_json(en->load_output ? en->load_output : ""));
}

/* Where and when: the machine and the versions. */
static json_t *context_json(const struct engine *en)
{
	char started[CLOCK_TEXT_MAX], ended[CLOCK_TEXT_MAX], boot_id[CLOCK_BOOT_ID_MAX] = "";
	struct utsname uts = {0};
	json_t *reasons;

	uname(&uts);
	clock_boot_id(boot_id);
	reasons = unreplayed_json(en);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:o, s:s}", "started",
			 clock_rfc3339(en->start_wall_ns, started), "ended",
			 clock_rfc3339(en->end_wall_ns, ended), "brunt", BRUNT_VERSION, "kernel",
			 uts.release, "boot_id", boot_id, "host", uts.nodename, "seed",
			 (json_int_t)en->seed, "replayable", json_array_size(reasons) == 0,
			 "not_replayable", reasons, "source",
			 en->place ? place_source(en->place) : "");
}

json_t *record_build(struct engine *en)
{
	json_t *o = json_pack(
		"{s:s, s:s, s:s, s:s?, s:s, s:s?, s:o, s:s, s:b, s:i, s:s}", "schema",
		"brunt.dev/record/v1", "run", en->run_id, "experiment", en->x->name, "file",
		en->x->file, "kind", en->x->kind ? en->x->kind : "Experiment", "hypothesis",
		en->x->hypothesis, "labels", labels_json(&en->x->labels), "verdict",
		verdict_name(en->verdict.verdict), "narrowly", en->verdict.narrowly, "exit_code",
		verdict_exit_code(en->verdict.verdict), "sentence", en->verdict.sentence);
	json_t *context = context_json(en);
	json_t *load = load_json(en);

	json_object_update(o, context);
	json_decref(context);
	json_object_set_new(o, "windows", windows_json(en));
	json_object_set_new(o, "faults", faults_json(en));
	json_object_set_new(o, "slos", slos_json(en));
	json_object_set_new(o, "residue", residue_json(en));
	if (load)
		json_object_set_new(o, "load", load);
	json_object_set(o, "events", en->events);
	return o;
}

/* Now ----------------------------------------------------------------------------------------- */

void engine_now(const struct engine *en, struct engine_now *ret)
{
	int64_t left = en->phase_end_ns - clock_now_ns();

	*ret = (struct engine_now){.phase = en->phase, .phase_left_ns = MAX_OF(left, 0)};
	for (size_t i = 0; i < en->n_slos && ret->n_slos < ARRAY_SIZE(ret->slos); i++) {
		ret->slos[ret->n_slos].name = en->x->slos[i].name;
		if (en->x->slos[i].n_objectives)
			ret->slos[ret->n_slos].objective = &en->x->slos[i].objectives[0];
		slo_now(en->slos[i], &ret->slos[ret->n_slos++].now);
	}
	for (size_t i = 0; i < en->n_faults && ret->n_faults < ARRAY_SIZE(ret->faults); i++) {
		const struct injection *in = en->injections[i];

		ret->faults[ret->n_faults].name = in->pf->spec->name;
		ret->faults[ret->n_faults].state = injection_state_name(in->state);
		ret->faults[ret->n_faults++].n_targets = in->pf->fault.targets.n;
	}
}
