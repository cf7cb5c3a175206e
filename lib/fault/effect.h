/*
 * effect - what a fault was asked to do, beside what it was measured to do
 *
 * A driver states each thing that it can measure as a *figure*: the number that was asked for, the
 * measured one with its interval, their unit and the tolerance. effect_compare() is the only judge
 * of a figure; effect_add() folds it into the fault's state.
 *
 * Units:   as enum effect_unit says; intervals hold with 99 %
 */
#pragma once

#include "../base/field.h"

#include <jansson.h>

enum effect_state {
	EFFECT_UNKNOWN,  /* nothing could be measured, or too little: inconclusive */
	EFFECT_MEASURED, /* the fault is felt, and by as much as was asked for */
	EFFECT_NONE,     /* measured, and there is nothing: ineffective */
	EFFECT_LESS,     /* felt, by less than was asked for: ineffective */
	EFFECT_MORE,     /* felt, by more: ineffective as a trial of what was asked for */
	EFFECT_STATES,
};
extern const char *const effect_state_names[EFFECT_STATES];

enum effect_unit {
	EFFECT_COUNT,
	EFFECT_PERCENT,
	EFFECT_NS,
	EFFECT_BYTES,
	EFFECT_BYTES_PER_S,
	EFFECT_MILLI_CPU,
};

/* Shares of what was asked for between which the measured number may lie; 0, 0: not given. */
struct tolerance {
	double min, max;
};
#define TOLERANCE_DEFAULT ((struct tolerance){0.8, 1.25})
#define TOLERANCE_EXAMPLE "0.8..1.25"
#define TOLERANCE_DOC                                                                              \
	"Between which shares of what is asked for the measured number may lie; beyond them the run "  \
	"is ineffective. Left out: 0.8..1.25, of a partition 0.99..1.01, of a pod-kill 1..1. "          \
	"Also {min: 0.8, max: 1.25}."

/* "0.8..1.25", or a map of min and max. For a FIELD_CUSTOM. */
int tolerance_parse(const struct yaml_node *node, void *storage, struct field_ctx *ctx);
static inline bool tolerance_given(const struct tolerance *t)
{
	return t->max > 0;
}

struct effect_figure {
	const char *name; /* "round trip": what was measured */
	enum effect_unit unit;
	double asked, value;
	double low, high; /* both equal to value: counted exactly */
	uint64_t samples; /* 0: read back or counted, not sampled */
	struct tolerance tolerance; /* not given: the default */
	double slack;     /* by which measuring itself may exceed, in the unit */
	bool at_least;    /* others may add to it: too much of it proves nothing */
	bool limit;       /* a bound: the smaller it is, the more the fault does */
	bool witness;     /* can contradict a better figure, and does not prove anything alone */
	char why[96];     /* why it tells nothing; "": it does */
	enum effect_state state; /* by effect_add */
};

enum { EFFECT_FIGURES = 8 };

struct effect {
	enum effect_state state;
	char requested[96]; /* "delay 100 ms" */
	char measured[200]; /* "RTT +101.3 ms (p50, 38 probes)" */
	struct effect_figure figures[EFFECT_FIGURES];
	size_t n_figures;
	size_t decided_by;     /* the figure that state is of, if it is of one */
	bool folded;           /* state holds something */
	bool only_probes;      /* nothing but what brunt sent to measure it met the fault */
	const char *no_figure; /* why this kind has no number to compare; NULL: it has */
};

/* The interval before the figure: all of it outside the tolerance is NONE, LESS or MORE; across an
 * edge with the figure outside is UNKNOWN; else MEASURED. */
enum effect_state effect_compare(const struct effect_figure *g);

/* Compares, keeps the figure and folds its state; a witness that contradicts nothing is kept only. */
void effect_add(struct effect *ret, const struct effect_figure *g);
/* The gravest wins: NONE, LESS, MORE, UNKNOWN, MEASURED. */
void effect_fold(struct effect *ret, enum effect_state part);

/* Fills value, low and high of a share of n: Wilson's interval, in percent. */
void effect_share(struct effect_figure *g, double hits, double n);

/* "101 ms"; "asked 100 ms, measured 101 ms (99.0 ms to 103 ms, 38 samples)" */
const char *effect_number(enum effect_unit unit, double v, char *buf, size_t size);
void effect_figure_text(const struct effect_figure *g, char *buf, size_t size);
/* The figure that decided; NULL when none did. */
const struct effect_figure *effect_decisive(const struct effect *ef);
json_t *effect_figures_json(const struct effect *ef);
