/*
 * slo_fixture - one SLO bound from YAML, run on an event loop
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "slo/slo.h"
#include "slo/state.h"

struct slo_fixture {
	struct sd_event *loop;
	struct vantage vantage;
	struct target_list targets;
	struct slo_env env;
	struct slo_spec spec;
	struct yaml *yaml;
	struct slo *slo;
	struct slo_result result;
	bool hit; /* a fault of the run is on every target */
};

static inline const struct target_list *slo_fixture_targets(void *data)
{
	return &((struct slo_fixture *)data)->targets;
}

static inline bool slo_fixture_was_hit(void *data, const char *ns, const char *name)
{
	(void)ns;
	(void)name;
	return ((struct slo_fixture *)data)->hit;
}

/* yaml is a format with at most two numbers (ports). */
static inline void slo_fixture_bind(struct slo_fixture *f, const char *yaml, int a, int b)
{
	struct diags d = {0};
	struct field_ctx ctx = {.file = "x.yaml", .diags = &d};
	char text[2048];

	snprintf(text, sizeof text, yaml, a, b);
	assert_int_equal(yaml_load_text("x.yaml", text, strlen(text), &d, &f->yaml), 0);
	if (field_bind(&slo_schema, f->yaml->docs[0], &f->spec, &ctx) < 0)
		fail_msg("%s", diags_text(&d));
	f->vantage.netns_fd = -1;
	f->env = (struct slo_env){
		.vantage = &f->vantage, .targets = slo_fixture_targets, .data = f, .base_dir = "/",
		.was_hit = slo_fixture_was_hit};
}

/* Begins it, with the fault window open from now on. */
static inline void slo_fixture_start(struct slo_fixture *f)
{
	struct err e = {0};

	assert_true(sd_event_new(&f->loop) >= 0);
	f->env.loop = f->loop;
	assert_int_equal(slo_new(&f->spec, &f->env, &f->slo, &e), 0);
	slo_window_open(f->slo, WINDOW_FAULT, clock_now_ns());
	if (slo_start(f->slo, &e) < 0)
		fail_msg("%s", e.text);
}

/* Runs the loop until n samples are there; a generous deadline, then the test fails. */
static inline void slo_fixture_run(struct slo_fixture *f, uint64_t n)
{
	int64_t deadline = clock_now_ns() + 60 * NSEC_PER_SEC;
	struct slo_now now;

	for (slo_now(f->slo, &now); now.samples < n; slo_now(f->slo, &now)) {
		if (clock_now_ns() > deadline)
			fail_msg("waited in vain for %d samples", (int)n);
		sd_event_run(f->loop, 20000);
	}
}

/* The same until n rounds gave a value: on a busy machine a target may be late for some. */
static inline void slo_fixture_run_readings(struct slo_fixture *f, size_t n)
{
	const struct stats *s = &f->slo->windows[WINDOW_FAULT].stats;
	int64_t deadline = clock_now_ns() + 60 * NSEC_PER_SEC;

	while (s->n_values < n) {
		if (clock_now_ns() > deadline)
			fail_msg("waited in vain for %d readings", (int)n);
		sd_event_run(f->loop, 20000);
	}
}

static inline void slo_fixture_end(struct slo_fixture *f)
{
	slo_window_close(f->slo, WINDOW_FAULT, clock_now_ns());
	slo_stop(f->slo);
	assert_int_equal(slo_judge(f->slo, &f->result), 0);
}

/* What the indicator says of itself at a key, or at errors.KEY; 0 when it is not there. */
static inline int64_t slo_fixture_report(const struct slo_fixture *f, const char *key)
{
	json_t *own = json_object_get(f->result.detail, f->spec.type->name);
	json_t *error = json_object_get(json_object_get(own, "errors"), key);

	return json_integer_value(error ? error : json_object_get(own, key));
}

/* The source forgets its newest target. */
static inline void slo_fixture_lose_target(struct slo_fixture *f)
{
	target_unref(f->targets.items[--f->targets.n]);
}

/* Runs the loop for that long. */
static inline void slo_fixture_run_for(struct slo_fixture *f, int64_t ns)
{
	int64_t end = clock_now_ns() + ns;

	while (clock_now_ns() < end)
		sd_event_run(f->loop, 10000);
}

static inline const struct coverage_source *slo_fixture_coverage(const struct slo_fixture *f,
								 const char *source)
{
	const struct coverage *c = &f->slo->windows[WINDOW_FAULT].coverage;

	for (size_t i = 0; i < c->n; i++)
		if (streq(c->sources[i].name, source))
			return &c->sources[i];
	fail_msg("%s was never due", source);
	return NULL;
}

/* Runs the loop until the source owes n rounds in a row; a generous deadline, then the test fails. */
static inline void slo_fixture_run_silent(struct slo_fixture *f, const char *source, uint64_t n)
{
	int64_t deadline = clock_now_ns() + 60 * NSEC_PER_SEC;

	while (slo_fixture_coverage(f, source)->silent_run < n) {
		if (clock_now_ns() > deadline)
			fail_msg("waited in vain for %d silent rounds of %s", (int)n, source);
		sd_event_run(f->loop, 20000);
	}
}

/* Fails unless the first objective is inconclusive, for a reason that has that in it. */
static inline void slo_fixture_assert_inconclusive(const struct slo_fixture *f, const char *why)
{
	const struct objective_result *o = &f->result.objectives[0];

	if (f->result.state != SLO_INCONCLUSIVE || !strstr(o->why, why))
		fail_msg("wanted inconclusive and \"%s\", seen state %d and \"%s\" (%s)", why,
			 f->result.state, o->why, o->text);
}

/* Fails unless a note has that in it. */
static inline void slo_fixture_assert_note(const struct slo_fixture *f, const char *text)
{
	char *all = json_dumps(f->result.notes, 0);

	if (!strstr(all, text))
		fail_msg("wanted a note with \"%s\", seen %s", text, all);
	free(all);
}

static inline void slo_fixture_done(struct slo_fixture *f)
{
	slo_result_done(&f->result);
	slo_free(f->slo);
	field_free(&slo_schema, &f->spec);
	yaml_release(f->yaml);
	kvs_done(&f->vantage.hosts);
	target_list_done(&f->targets);
	sd_event_unref(f->loop);
}
