/*
 * slo - a promise of the service, measured through the windows of a run and judged
 *
 * An indicator is one file in this folder and one row in indicators.def. It runs on the loop and
 * hands samples to its SLO; the SLO keeps one set of statistics per window and one sliding set for
 * abort conditions.
 *
 * Units:   latencies in ns; `value` in the indicator's own unit
 * Threads: the loop's thread only
 */
#pragma once

#include "../base/event.h"
#include "../base/field.h"
#include "../target/selector.h"
#include "../target/target.h"
#include "objective.h"

#include <jansson.h>

struct broker;
struct sd_event;
struct slo;

struct slo_spec {
	char *name;
	const struct indicator_type *type;
	void *params; /* type->schema->size bytes */
	struct objective *objectives;
	size_t n_objectives;
	bool in[3];         /* enum window: where objectives are judged; default fault only */
	bool expect_breach; /* expect: breach */
	int64_t recovers_within_ns; /* recovers: within 10s; 0: not asked */
	const char *file;
	int line, column;
};

extern const struct schema slo_schema;

/* What the engine lends to indicators. */
struct slo_env {
	struct sd_event *loop;
	struct broker *broker;
	const struct vantage *vantage;
	const struct listener *listener;
	uint64_t seed;
	const char *base_dir; /* of the experiment file, for command: */
	/* The current targets of the run's source; borrowed, valid during the call. */
	const struct target_list *(*targets)(void *data);
	void *data;
};

/* One observation. Latency indicators set latency_ns and ok; value indicators set value;
 * ratio indicators set bad and total (increments since the last sample). */
struct sample {
	int64_t at_ns; /* CLOCK_MONOTONIC: the intended start, or the time of the reading */
	enum { SAMPLE_LATENCY, SAMPLE_VALUE, SAMPLE_RATIO } type;
	int64_t latency_ns;
	bool ok;
	double value;
	double bad, total;
};

struct indicator {
	const struct indicator_type *type;
	const void *params;
	const struct slo_env *env;
	struct slo *slo; /* receives the samples: slo_sample() */
	void *state;
};

struct indicator_type {
	const char *name; /* "http": the key under indicator: */
	const char *doc;
	const struct schema *schema;
	const char *default_unit; /* "ns", "bytes", "", ... of value */
	/* start begins sampling; stop ends it and waits for nothing; both on the loop. */
	int (*start)(struct indicator *i, struct err *e);
	void (*stop)(struct indicator *i);
	/* What the indicator itself wants in the record (connection errors by kind, ...). */
	int (*report)(struct indicator *i, json_t **ret);
};

const struct indicator_type *indicator_find(const char *name);
const char *const *indicator_names(void); /* NULL-terminated */

int slo_new(const struct slo_spec *spec, const struct slo_env *env, struct slo **ret,
	    struct err *e);
void slo_free(struct slo *s);
DEFINE_AUTOPTR(slo, slo_free);

int slo_start(struct slo *s, struct err *e);
void slo_stop(struct slo *s);
void slo_sample(struct slo *s, const struct sample *sample);

/* Samples whose at_ns lies in [start, end) count for the window. Windows are opened when they
 * begin and closed when they end. */
void slo_window_open(struct slo *s, int window, int64_t start_ns);
void slo_window_close(struct slo *s, int window, int64_t end_ns);

/* Called each evaluation period: emits EVENT_SAMPLE and EVENT_BREACHED, tracks recovery. */
void slo_tick(struct slo *s, int64_t now_ns);

/* True when cond has held without pause for for_ns, each evaluation over window_ns. */
bool slo_condition_held(struct slo *s, const struct objective *cond, int64_t window_ns,
			int64_t for_ns, int64_t now_ns);

/* The last evaluation for the live view: the first objective's value; NAN without samples. */
struct slo_now {
	double value;
	bool holds;
	uint64_t samples;
	double history[32]; /* oldest first, NAN where there was none */
};
void slo_now(const struct slo *s, struct slo_now *ret);

enum slo_state { SLO_HELD, SLO_BREACHED, SLO_INCONCLUSIVE };

struct objective_result {
	const struct objective *objective;
	int window;
	enum slo_state state;
	bool narrowly; /* would be decided the other way inside the interval */
	double value, low, high; /* with the confidence interval; NAN when there is none */
	double baseline; /* for `within N% of baseline`, NAN else */
	uint64_t samples;
	char text[160]; /* "p99 1.08 s (0.97 .. 1.11 s, n=1500) <= 1.2 s" */
	char why[160];  /* inconclusive: "p99 needs 1000 samples, has 640" */
};

struct slo_result {
	const char *name;
	enum slo_state state; /* expect: breach already applied */
	bool narrowly;
	struct objective_result *objectives;
	size_t n_objectives;
	int64_t recovered_after_ns; /* -1: not within the recovery window; 0: never breached */
	bool recovery_breached;     /* recovers: within was asked and missed */
	json_t *detail;             /* per window: counts, quantiles, errors by kind */
};

int slo_judge(struct slo *s, struct slo_result *ret);
void slo_result_done(struct slo_result *r);

/* True/false/-1 (too few samples): the steady state of the baseline window. */
int slo_steady(struct slo *s, char *why, size_t why_size);
