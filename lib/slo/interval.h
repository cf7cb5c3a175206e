/*
 * interval - how sure a measured number is: 95 % confidence intervals
 *
 * Source: order statistics: David and Nagaraja, Order Statistics, 2003, section 7.1; shares:
 *         Wilson, JASA 22, 1927; incomplete beta function: Lentz's continued fraction, DLMF 8.17.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define INTERVAL_CONFIDENCE 0.95

/*
 * Ranks (from 1) of the samples between which the q-quantile lies with 95 %, 2.5 % at either side;
 * no assumption about the distribution. False when n samples cannot bound it from above: then
 * *ret_high is n + 1. *ret_low is 0 when they cannot bound it from below.
 */
bool interval_ranks(uint64_t n, double q, uint64_t *ret_low, uint64_t *ret_high);

/* Share of `hits` in n, n > 0 (Wilson). hits may be a fraction. */
void interval_share(double hits, double n, double *ret_low, double *ret_high);

/* Samples that a quantile needs so that ten lie beyond it: 1000 for p99. */
uint64_t interval_samples_needed(double q);

/* P(X <= k) for X binomial with n trials of probability p. */
double interval_binomial_cdf(int64_t k, uint64_t n, double p);
