/*
 * delay_fate - what becomes of the n-th packet of a path
 *
 * The same (params, seed, stream) give the same sequence on the same machine; the moment of
 * arrival, other paths and what was dropped have no influence on it.
 */
#pragma once

#include "delay_engine.h"

struct delay_fate {
	int64_t delay_ns;
	bool overtakes; /* passed on at once */
	bool duplicate;
	int64_t duplicate_delay_ns;
	bool corrupt;
	uint64_t corrupt_at; /* random bits that say where */
};

enum delay_lane { LANE_DELAY, LANE_REORDER, LANE_DUPLICATE, LANE_CORRUPT, DELAY_LANES };

struct delay_dice {
	uint64_t seed, stream;
	uint64_t n;              /* packets so far */
	uint64_t since_reorder;  /* packets since one was passed on at once */
	double last[DELAY_LANES]; /* state of correlated lanes: standard normal */
};

void delay_dice_init(struct delay_dice *d, uint64_t seed, uint64_t stream);
struct delay_fate delay_dice_roll(struct delay_dice *d, const struct delay_params *p);

/* Quantile of the standard normal distribution, 0 < u < 1; relative error under 1e-6. */
double delay_normal_quantile(double u);
