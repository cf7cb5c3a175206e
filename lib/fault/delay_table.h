/*
 * delay_table - a delay distribution as the table that netem and the delay engine both read
 *
 * delay = mean + spread * t[i] / 8192 for an i drawn uniformly from 0..n-1: the inverse of the
 * distribution function, sampled at n equal steps, in netem's own fixed point.
 *
 * Between two given quantiles the logarithm of the delay grows linearly with the quantile. Below
 * the first and above the last one the neighbouring segment goes on; a p0 or p100 ends it. A
 * single quantile is a constant delay.
 *
 * Units:   quantiles are parts per million (p99.9 is 999000)
 * Source:  struct disttable of Linux' net/sched/sch_netem.c
 */
#pragma once

#include "../base/err.h"

#include <stdint.h>

enum {
	DELAY_TABLE_SIZE = 16384, /* NETEM_DIST_MAX */
	DELAY_TABLE_SCALE = 8192, /* NETEM_DIST_SCALE */
};

struct delay_table {
	int64_t mean_ns;   /* netem: latency */
	int64_t spread_ns; /* netem: jitter */
	uint32_t n;        /* 0: no table */
	int16_t t[DELAY_TABLE_SIZE];
};

struct delay_quantile {
	uint32_t q_ppm;
	int64_t delay_ns;
};

/* From quantiles in any order. -EINVAL when there is none, two are given for one q, or a higher
 * quantile has the smaller delay. */
int delay_table_from_quantiles(const struct delay_quantile *q, size_t n, struct delay_table *ret,
			       struct err *e);

/* From measured delays, in any order: their empirical distribution. */
int delay_table_from_samples(const int64_t *samples_ns, size_t n, struct delay_table *ret,
			     struct err *e);

/* From a file: one delay a line ("12.5ms"; a bare number is milliseconds), or what HdrHistogram
 * writes: a log with compressed histograms, or a percentile listing. The unit of HdrHistogram's
 * values is not in its files: unit_ns says it. */
int delay_table_from_file(const char *path, int64_t unit_ns, struct delay_table *ret,
			  struct err *e);

/* The i-th delay, never negative. */
int64_t delay_table_at(const struct delay_table *t, uint32_t i);
