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
};

static inline const struct target_list *slo_fixture_targets(void *data)
{
	return &((struct slo_fixture *)data)->targets;
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
		.vantage = &f->vantage, .targets = slo_fixture_targets, .data = f, .base_dir = "/"};
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
