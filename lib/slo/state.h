/*
 * state - what slo.c keeps of one SLO and judge.c reads
 */
#pragma once

#include "recent.h"
#include "slo.h"
#include "stats.h"

struct slo_window {
	bool opened;
	int64_t start_ns, end_ns; /* end INT64_MAX while open */
	struct stats stats;
	/* What it would be without brunt's own lag: latencies from when the requests were begun.
	 * Kept from the first late one on. */
	struct stats prompt;
	uint64_t n_late;
	int64_t latest_ns; /* the most that a request was begun late */
	uint64_t overdue;  /* open at the end, for longer than any answer took */
	struct coverage coverage;
};

/* Since when an abort condition has held. */
struct slo_held {
	const struct objective *condition;
	int64_t since_ns; /* 0: it does not hold */
};

struct slo_recovery {
	bool evaluated, holds, settled;
	int64_t held_since_ns; /* first evaluation of the present run of good ones */
	int64_t last_bad_ns;   /* begin of the newest bad sample; 0: none was seen */
};

struct slo {
	const struct slo_spec *spec;
	const struct slo_env *env;
	struct indicator indicator;
	enum sample_type yields;
	struct objective *objectives; /* with the quantities that this indicator measures */
	size_t n_objectives;
	bool running;
	struct slo_window windows[WINDOW_MAX];
	struct recent recent;
	struct stats scratch; /* of one sliding evaluation */
	double last_reading;
	uint64_t unanswered; /* requests still open when the indicator was stopped */
	struct slo_recovery recovery;
	struct slo_held *held;
	size_t n_held;
	bool *broken; /* of each objective, at the last tick */
	struct slo_now now;
	size_t n_history;
};

extern const char *const window_names[WINDOW_MAX];

/* Whether o holds in a window that may go on: a count can still reach its lower bound, and has broken
 * an equality only when it is above it. */
bool slo_holds_so_far(const struct objective *o, double value, double baseline);

/* The objective with the quantity that this indicator measures. */
struct objective slo_measured(const struct slo *s, const struct objective *o);

/* What o's statistic is over the last length_ns of what became known; samples begun before
 * begun_ns are left out. NAN: nothing became known. */
double slo_slide(struct slo *s, const struct objective *o, int64_t length_ns, int64_t begun_ns,
		 int64_t now_ns);

/* The baseline's statistic for a relative objective; NAN when it is not relative. */
double slo_baseline(const struct slo *s, const struct objective *o);
