/*
 * The number of samples at or below the true q-quantile is binomial (n, q), whatever the
 * distribution. So the quantile lies between the samples of rank l and u when that number is in
 * [l, u - 1]; l and u are the largest and smallest ranks that leave 2.5 % outside. The normal
 * approximation would do in the middle but not at p99.9 of 5000 samples, where it matters.
 */
#include "interval.h"

#include <math.h>

#define TAIL ((1 - INTERVAL_CONFIDENCE) / 2)
#define Z 1.959963984540054 /* of TAIL */

/* Continued fraction of the incomplete beta function, x < (a + 1) / (a + b + 2). */
static double beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double c = 1, d = 1 - (a + b) * x / (a + 1), h;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	h = d;
	for (int m = 1; m <= 10000; m++) {
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
		double step;

		d = 1 + even * d;
		c = 1 + even / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		h *= d * c;
		d = 1 + odd * d;
		c = 1 + odd / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		step = d * c;
		h *= step;
		if (fabs(step - 1) < 1e-14)
			break;
	}
	return h;
}

/* I_x(a, b) */
static double beta_regularised(double a, double b, double x)
{
	int sign;
	double front;

	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	front = exp(lgamma_r(a + b, &sign) - lgamma_r(a, &sign) - lgamma_r(b, &sign) + a * log(x) +
		    b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double interval_binomial_cdf(int64_t k, uint64_t n, double p)
{
	if (k < 0)
		return 0;
	if ((uint64_t)k >= n)
		return 1;
	return beta_regularised((double)n - (double)k, (double)k + 1, 1 - p);
}

/* The smallest k in [0, n] with P(X <= k) >= limit. */
static uint64_t binomial_quantile(uint64_t n, double p, double limit)
{
	uint64_t low = 0, high = n;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (interval_binomial_cdf((int64_t)mid, n, p) >= limit)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

bool interval_ranks(uint64_t n, double q, uint64_t *ret_low, uint64_t *ret_high)
{
	/* P(X <= l - 1) <= TAIL for the largest l: the first k above TAIL is that l, unless it
	 * meets TAIL exactly, which costs one rank. */
	*ret_low = binomial_quantile(n, q, TAIL);
	*ret_high = binomial_quantile(n, q, 1 - TAIL) + 1;
	return *ret_high <= n;
}

void interval_share(double hits, double n, double *ret_low, double *ret_high)
{
	double p = hits / n, z2 = Z * Z / n;
	double centre = (p + z2 / 2) / (1 + z2);
	double half = Z * sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2);

	*ret_low = hits <= 0 ? 0 : fmax(0, centre - half);
	*ret_high = hits >= n ? 1 : fmin(1, centre + half);
}

uint64_t interval_samples_needed(double q)
{
	/* A hair less: 10 / (1 - 0.99) is 1000.0000000000009 in binary. */
	return (uint64_t)ceil(10 / fmin(q, 1 - q) - 1e-6);
}
