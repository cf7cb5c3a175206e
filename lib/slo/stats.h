/*
 * stats - what the samples of one window add up to, and what an objective's statistic is of them
 *
 * Which samples count: success and ratio take all requests; count takes all; rate takes the
 * successful ones (what the service delivered); quantiles and max take all, those that failed as
 * slower than any answer (INFINITY); a mean takes the answers, unless more than 1 % failed: then it
 * is INFINITY too. Of readings, rate and count are the increase.
 *
 * Units: as the samples: ns for latencies, base units for readings
 * Owns:  a histogram when there are latencies, all readings when there are values
 */
#pragma once

#include "histogram.h"
#include "slo.h"

struct stats {
	uint64_t ok, failed;
	uint64_t unsent; /* of the failed */
	struct histogram latency; /* of the successful ones, and of those that are open for too long */
	double *values; /* of the readings, in their order */
	size_t n_values;
	double increase; /* of the readings */
	double bad, total;
};

/* before: the reading that went before a SAMPLE_VALUE; NAN: none. */
void stats_add(struct stats *st, const struct sample *s, double before);
void stats_copy(struct stats *dst, const struct stats *src); /* of latencies; dst is empty */
void stats_reset(struct stats *st); /* keeps the memory */
void stats_done(struct stats *st);

struct estimate {
	double value;	  /* NAN without samples */
	double low, high; /* 95 % interval; NAN: no such interval (max, rate, count, value) */
	uint64_t samples;
	uint64_t needed; /* samples that the statistic takes to be judged */
};

/* Fewer samples do not show that the objective holds: ten beyond a quantile; for a share 3 / (1 - T),
 * so that all good ones show T with 95 % (300 where T is all or none, which no number shows); 30 for a
 * mean, a maximum and a rate of requests. A counter's rate is exact, however often it was read. */
uint64_t stats_needed(const struct objective *o, enum sample_type type);

/* The statistic of o over a window of that length. Times are in ns for either sample type. */
void stats_estimate(const struct stats *st, enum sample_type type, const struct objective *o,
		    int64_t length_ns, struct estimate *ret);

/* The value alone, without the interval's price. */
double stats_value(const struct stats *st, enum sample_type type, const struct objective *o,
		   int64_t length_ns);

/* Counts, quantiles and errors of the window for the record; a new object. */
json_t *stats_json(const struct stats *st, enum sample_type type);
