/*
 * netem mixes a correlated number as rho * last + (1 - rho) * fresh, which keeps the correlation
 * but narrows the distribution: at 90 % a jitter of 10 ms is felt as 2.3 ms. Here the mixing is
 * done on standard normal numbers, x = rho * last + sqrt(1 - rho^2) * fresh, which stay standard
 * normal, and their distribution function makes them uniform again (a Gaussian copula): the
 * delays keep the asked-for distribution and follow each other with the asked-for correlation.
 */
#include "delay_fate.h"

#include "../base/rng.h"

#include <math.h>

void delay_dice_init(struct delay_dice *d, uint64_t seed, uint64_t stream)
{
	*d = (struct delay_dice){.seed = seed, .stream = stream};
}

/* P. J. Acklam's rational approximation: a central region and two tails. */
double delay_normal_quantile(double u)
{
	static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,
				   -2.759285104469687e+02, 1.383577518672690e+02,
				   -3.066479806614716e+01, 2.506628277459239e+00};
	static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02,
				   -1.556989798598866e+02, 6.680131188771972e+01,
				   -1.328068155288572e+01};
	static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01,
				   -2.400758277161838e+00, -2.549732539343734e+00,
				   4.374664141464968e+00, 2.938163982698783e+00};
	static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01,
				   2.445134137142996e+00, 3.754408661907416e+00};
	double q, r;

	if (u > 0.02425 && u < 1 - 0.02425) {
		q = u - 0.5;
		r = q * q;
		return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
		       (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
	}
	q = sqrt(-2 * log(u < 0.5 ? u : 1 - u));
	r = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
	    ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
	return u < 0.5 ? r : -r;
}

/* Uniform in (0, 1). */
static double uniform(uint64_t bits)
{
	return ((bits >> 11) + 0.5) * 0x1p-53;
}

static uint64_t draw(const struct delay_dice *d, uint64_t lane)
{
	return rng_at(d->seed, d->stream + lane, d->n);
}

static double correlated(struct delay_dice *d, enum delay_lane lane, uint32_t correlation_ppm)
{
	double fresh = uniform(draw(d, lane)), rho = correlation_ppm / 1e6, x;

	if (correlation_ppm == 0)
		return fresh;
	x = delay_normal_quantile(fresh);
	if (d->n > 0)
		x = rho * d->last[lane] + sqrt(1 - rho * rho) * x;
	d->last[lane] = x;
	return 0.5 * erfc(-x * M_SQRT1_2);
}

static bool happens(struct delay_dice *d, enum delay_lane lane, uint32_t ppm, uint32_t corr_ppm)
{
	return ppm > 0 && correlated(d, lane, corr_ppm) * 1e6 < ppm;
}

static int64_t delay_of(const struct delay_params *p, double u)
{
	int64_t ns;

	if (p->table && p->table->n > 0) {
		uint32_t i = u * p->table->n;

		return delay_table_at(p->table, i < p->table->n ? i : p->table->n - 1);
	}
	ns = p->delay_ns + (int64_t)((2 * u - 1) * p->jitter_ns);
	return ns > 0 ? ns : 0;
}

static bool overtakes(struct delay_dice *d, const struct delay_params *p)
{
	bool hit = happens(d, LANE_REORDER, p->reorder_ppm, p->reorder_correlation_ppm);

	if (d->since_reorder + 1 < p->reorder_gap || !hit) {
		d->since_reorder++;
		return false;
	}
	d->since_reorder = 0;
	return true;
}

struct delay_fate delay_dice_roll(struct delay_dice *d, const struct delay_params *p)
{
	struct delay_fate f = {
		.delay_ns = delay_of(p, correlated(d, LANE_DELAY, p->correlation_ppm)),
	};

	f.overtakes = overtakes(d, p);
	if (f.overtakes)
		f.delay_ns = 0;
	if (happens(d, LANE_DUPLICATE, p->duplicate_ppm, p->duplicate_correlation_ppm)) {
		f.duplicate = true;
		f.duplicate_delay_ns = delay_of(p, uniform(draw(d, DELAY_LANES)));
	}
	if (happens(d, LANE_CORRUPT, p->corrupt_ppm, p->corrupt_correlation_ppm)) {
		f.corrupt = true;
		f.corrupt_at = draw(d, DELAY_LANES + 1);
	}
	d->n++;
	return f;
}
