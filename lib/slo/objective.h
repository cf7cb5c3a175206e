/*
 * objective - "p99 <= 1.2s", "success >= 99.5%", "mean within 8% of baseline"
 *
 *     STATISTIC  <= | < | >= | > | ==  NUMBER[UNIT]
 *     STATISTIC  <= | < | >= | >       N% of baseline
 *     STATISTIC  within                N% of baseline
 *
 * `within` bounds both sides: a service that answers suspiciously fast is as far from its baseline
 * as one that answers slowly. `<= 120% of baseline` bounds one side.
 *
 * Units: times in ns, shares 0..1, sizes in bytes, rates per second, the rest plain
 */
#pragma once

#include "../base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum objective_stat {
	STAT_QUANTILE, /* p50..p99.99 */
	STAT_MEAN,
	STAT_MAX,
	STAT_RATE,    /* per second */
	STAT_RATIO,   /* bad / total */
	STAT_SUCCESS, /* 0..1 */
	STAT_COUNT,
	STAT_VALUE, /* the last value */
};

enum objective_op { OP_LE, OP_LT, OP_GE, OP_GT, OP_EQ, OP_WITHIN };

/* What kind of quantity the bound is, as its unit says. */
enum objective_dim { DIM_PLAIN, DIM_TIME, DIM_SHARE, DIM_BYTES, DIM_PER_SECOND };

struct objective {
	enum objective_stat stat;
	double quantile; /* 0..1 */
	enum objective_op op;
	bool relative; /* bound is a fraction of the baseline (0.08 for 8%), dim is the statistic's
			*/
	double bound;
	enum objective_dim dim;
	char unit[8];  /* as written: "s", "%", "MiB", "" */
	char text[96]; /* as written */
};

int objective_parse(const char *text, struct objective *ret, struct err *e);

/* False for a value of NAN, and for a baseline of NAN when the objective needs one. */
bool objective_holds(const struct objective *o, double value, double baseline);

/* "p99.9", "mean": the statistic alone. Returns buf (at least OBJECTIVE_TEXT_MAX bytes). */
enum { OBJECTIVE_TEXT_MAX = 48 };
const char *objective_stat_text(const struct objective *o, char *buf);

/* A value of the objective's quantity for people: "1.20 s", "99.52%", "70.0 MiB", "50.1/s";
 * "-" for NAN. Returns buf (at least OBJECTIVE_TEXT_MAX bytes). */
const char *objective_format(const struct objective *o, double value, char *buf);
