/*
 * objective - "p99 <= 1.2s", "success >= 99.5%", "mean within 8% of baseline"
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
	STAT_RATIO,   /* bad / total, 0..1 */
	STAT_SUCCESS, /* 0..1 */
	STAT_COUNT,
	STAT_VALUE, /* the last value */
};

enum objective_op { OP_LE, OP_LT, OP_GE, OP_GT, OP_EQ, OP_WITHIN };

struct objective {
	enum objective_stat stat;
	double quantile; /* 0..1 */
	enum objective_op op;
	double bound;    /* ns, 0..1, bytes or plain; OP_WITHIN: fraction of the baseline */
	char unit[8];    /* as written: "s", "%", "MiB", "" */
	char text[96];   /* as written */
};

int objective_parse(const char *text, struct objective *ret, struct err *e);
bool objective_holds(const struct objective *o, double value, double baseline);
/* Value in the objective's own unit for people; returns buf (at least 48 bytes). */
const char *objective_format(const struct objective *o, double value, char *buf);
