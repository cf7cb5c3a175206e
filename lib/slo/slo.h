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
#include "coverage.h"
#include "objective.h"

struct broker;
struct sd_event;
struct slo;

enum window { WINDOW_BASELINE, WINDOW_FAULT, WINDOW_RECOVERY, WINDOW_MAX };

/* An item of spec.slos: what is measured and what was promised. */
struct slo_spec {
	char *name;
	const struct indicator_type *type; /* with params: a FIELD_VARIANT */
	void *params;			   /* type->schema->size bytes */
	struct objective *objectives;
	size_t n_objectives;
	bool in[WINDOW_MAX];	    /* where objectives are judged; none: slo_judged_in() says fault */
	bool expect_breach;	    /* expect: breach */
	int64_t recovers_within_ns; /* recovers: within 10s; 0: not asked */
	const char *file;	    /* of the document, borrowed from the parsed file */
	int line, column;
};

extern const struct schema slo_schema;
/* Whether the SLO's indicator has o's statistic, in o's unit; reports at node into ctx. For
 * conditions that are written elsewhere. */
int slo_check_objective(const struct slo_spec *spec, const struct objective *o,
			const struct yaml_node *node, struct field_ctx *ctx);
bool slo_judged_in(const struct slo_spec *spec, enum window w);
/* Where a selector of the indicator looks that names no namespaces; NULL: in all. */
void slo_set_namespace(struct slo_spec *spec, const char *ns);

/* What the engine lends to indicators. */
struct slo_env {
	struct sd_event *loop;
	struct broker *broker;
	const struct vantage *vantage;
	const struct listener *listener;
	uint64_t seed;
	const char *base_dir; /* of the experiment file, for command: */
	const struct workgroup *group; /* where programs are started; NULL: where brunt is */
	/* The current targets of the run's source; borrowed, valid during the call. */
	const struct target_list *(*targets)(void *data);
	/* Whether a fault of this run is or was on the target; NULL: on none. */
	bool (*was_hit)(void *data, const char *ns, const char *name);
	void *data;
};

/*
 * One observation.
 *   SAMPLE_LATENCY  a request: ok, and its latency. One that failed (refused, reset, timed out,
 *                   wrong status, not sent) is no quick answer: it counts against success, and
 *                   among the latencies as slower than any.
 *   SAMPLE_VALUE    a reading: ok, and value in base units (seconds, bytes, 1); a counter's value
 *                   never falls, resets are the indicator's business
 *   SAMPLE_RATIO    bad and total: increments since the last sample
 * n samples that are alike (of one bucket of somebody's histogram) may come as one; 0 means 1.
 */
enum sample_type { SAMPLE_LATENCY, SAMPLE_VALUE, SAMPLE_RATIO };
struct sample {
	enum sample_type type;
	bool ok;
	int64_t at_ns; /* CLOCK_MONOTONIC: the intended start, or the time of the reading */
	int64_t latency_ns; /* -1: it failed before its time was up */
	int64_t lag_ns;	    /* of the latency: how long after at_ns brunt itself began it */
	bool unsent;	    /* failed for want of a free slot */
	int64_t done_ns; /* when it was known; 0: at_ns plus latency */
	double value;
	double bad, total;
	uint64_t n; /* SAMPLE_LATENCY only */
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
	enum sample_type (*yields)(const void *params);
	/* The unit of its readings; NULL when only the user knows it, or for latencies. */
	enum objective_dim (*measures)(const void *params);
	/* Samples per second that it is set up to take; NULL or 0 when that depends on the targets. */
	double (*rate)(const void *params);
	/* start begins sampling; stop ends it and waits for nothing; both on the loop. */
	int (*start)(struct indicator *i, struct err *e);
	void (*stop)(struct indicator *i);
	/* Calls fn for each request that is still unanswered, with its latency so far; NULL when
	 * the indicator has none. Lets a condition see a stall before the requests time out. */
	void (*pending)(struct indicator *i, int64_t now_ns,
			void (*fn)(void *data, const struct sample *s), void *data);
	/* Releases state, after stop. May be NULL. */
	void (*free)(struct indicator *i);
	/* What the indicator itself wants in the record (connection errors by kind, ...). */
	int (*report)(struct indicator *i, json_t **ret);
};

/* The i-th row of indicators.def, NULL after the last. */
const struct indicator_type *indicator_at(size_t i);
const struct indicator_type *indicator_find(const char *name);
const char *const *indicator_names(void); /* NULL-terminated */

/* Calls fn for each objective that cannot get the samples it takes in a window where it is judged, so
 * that it may fail and never pass; text says what it lacks, and what to do. */
void slo_foresee(const struct slo_spec *spec, const int64_t window_ns[WINDOW_MAX],
		 void (*fn)(void *data, const char *text), void *data);

int slo_new(const struct slo_spec *spec, const struct slo_env *env, struct slo **ret,
	    struct err *e);
void slo_free(struct slo *s);
DEFINE_AUTOPTR(slo, slo_free);

int slo_start(struct slo *s, struct err *e);
void slo_stop(struct slo *s);
void slo_sample(struct slo *s, const struct sample *sample);

/* A request that brunt begins this long after its time says something about brunt too; one that is
 * begun SLO_MISSED_NS late, nothing about the service at its time. */
#define SLO_LATE_NS (100 * NSEC_PER_MSEC)
#define SLO_MISSED_NS NSEC_PER_SEC
#define SLO_PROBER "brunt's prober" /* the source of indicators that send requests themselves */
/* A round was due at due_ns, of which source ("namespace/name", or what else was asked) was one. */
void slo_round(struct slo *s, const char *source, int64_t due_ns, enum round r);
/* Whether a fault of this run was on the target, and its source says that it does not run, is not
 * ready or is gone: then nobody can expect an answer. */
bool slo_is_down(const struct slo_env *env, const char *ns, const char *name);

/* Samples whose at_ns lies in [start, end) count for the window. Windows are opened when they
 * begin and closed when they end. */
void slo_window_open(struct slo *s, int window, int64_t start_ns);
void slo_window_close(struct slo *s, int window, int64_t end_ns);

/* Called each evaluation period: looks at the last SLO_LIVE_NS, emits EVENT_SAMPLE when there was
 * news and EVENT_BREACHED when an objective begins to be broken in a window where it is judged,
 * and tracks recovery. */
#define SLO_LIVE_NS (2 * NSEC_PER_SEC)
void slo_tick(struct slo *s, int64_t now_ns);

/*
 * True when cond has held without pause for for_ns, each evaluation over the samples that became
 * known in the last window_ns; once the fault window is open, those begun before it do not thin out
 * what the fault does. Requests that are unanswered for longer than a bound on their time
 * count too, so that a stall is seen before it times out. Looks at 65536 samples at most.
 */
bool slo_condition_held(struct slo *s, const struct objective *cond, int64_t window_ns,
			int64_t for_ns, int64_t now_ns);

/* The last evaluation for the live view: the first objective's value; NAN without samples. */
struct slo_now {
	double value;
	char text[OBJECTIVE_TEXT_MAX]; /* value with its unit */
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
	bool uncovered; /* inconclusive, because rounds were not answered */
	double value, low, high; /* with the confidence interval; NAN when there is none */
	double baseline; /* for `within N% of baseline`, NAN else */
	uint64_t samples;
	char text[160]; /* "p99 1.08 s (0.97 .. 1.11 s, n=1500) <= 1.2 s" */
	char why[240];  /* inconclusive: "p99 needs 1000 samples, has 640" */
	const char *advice; /* inconclusive: the next step */
};

struct slo_result {
	const char *name;
	enum slo_state state; /* expect: breach already applied */
	bool breach_expected; /* so an objective that is broken is none that failed */
	bool narrowly;
	struct objective_result *objectives;
	size_t n_objectives;
	/* From the start of the recovery window until the objectives held, and went on to hold for
	 * SLO_LIVE_NS or to the end: 0 at once, -1 not at all, or there was nothing to see. */
	int64_t recovered_after_ns;
	bool recovery_breached;     /* recovers: within was asked and missed */
	json_t *detail;             /* per window: counts, quantiles, coverage, errors by kind */
	json_t *notes;              /* sentences about what the numbers leave out */
};

int slo_judge(struct slo *s, struct slo_result *ret);
/* The baseline alone, as slo_steady() takes it: what a run without a steady state has to show. */
void slo_judge_baseline(struct slo *s, struct slo_result *ret);
void slo_result_done(struct slo_result *r);

/*
 * The steady state: 1 when all objectives hold in the baseline window, 0 when one does not, -1
 * without samples; why says what. Taken as measured: a short baseline need not have the samples
 * that a verdict needs. Objectives against the baseline only need it to have samples, and a count's
 * lower bound is about the length of another window.
 */
int slo_steady(struct slo *s, char *why, size_t why_size);
