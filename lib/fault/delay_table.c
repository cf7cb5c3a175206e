/*
 * The table is built in two steps: the inverse distribution function is evaluated at the middle of
 * each of n equal steps, then all values are written as mean + spread * t / 8192 with the widest
 * deviation at the end of the 16-bit range, which keeps the rounding under max / 65534.
 *
 * Linear interpolation of the logarithm: latencies spread over decades, and between p50 20 ms and
 * p95 800 ms a straight line would put a third of all packets above 300 ms.
 */
#include "delay_table.h"

#include "../base/mem.h"
#include "../base/units.h"
#include "delay_samples.h"

#include <errno.h>
#include <math.h>

static const int64_t MIN_LOG_NS = NSEC_PER_USEC; /* no delay counts as 1 us in logarithms */
static const int64_t MAX_DEVIATION_NS = 8500 * NSEC_PER_MSEC; /* netem's spread is 32 bits wide */

int64_t delay_table_at(const struct delay_table *t, uint32_t i)
{
	int64_t v = t->t[i], x = t->spread_ns % DELAY_TABLE_SCALE * v, ns;

	x += x >= 0 ? DELAY_TABLE_SCALE / 2 : -DELAY_TABLE_SCALE / 2;
	ns = x / DELAY_TABLE_SCALE + t->spread_ns / DELAY_TABLE_SCALE * v + t->mean_ns;
	return ns > 0 ? ns : 0;
}

static int quantize(const double *x, struct delay_table *ret, struct err *e)
{
	double mean = 0, widest = 0;

	for (size_t i = 0; i < DELAY_TABLE_SIZE; i++)
		mean += x[i] / DELAY_TABLE_SIZE;
	for (size_t i = 0; i < DELAY_TABLE_SIZE; i++)
		widest = fmax(widest, fabs(x[i] - mean));
	if (widest > MAX_DEVIATION_NS)
		return err_set(e, ERANGE, "the delays spread too far: %.1f s from their mean (at "
			       "most 8.5 s)", widest / NSEC_PER_SEC);
	ret->n = DELAY_TABLE_SIZE;
	ret->mean_ns = llround(mean);
	ret->spread_ns = (int64_t)ceil(widest * DELAY_TABLE_SCALE / INT16_MAX);
	for (size_t i = 0; i < DELAY_TABLE_SIZE; i++)
		ret->t[i] = ret->spread_ns == 0 ? 0 : lround((x[i] - mean) * DELAY_TABLE_SCALE /
							     ret->spread_ns);
	return 0;
}

static double step_quantile(size_t i)
{
	return (i + 0.5) / DELAY_TABLE_SIZE;
}

static int by_quantile(const void *a, const void *b)
{
	const struct delay_quantile *x = a, *y = b;

	return (x->q_ppm > y->q_ppm) - (x->q_ppm < y->q_ppm);
}

static int check_quantiles(const struct delay_quantile *q, size_t n, struct err *e)
{
	char lower[UNITS_TEXT_MAX], upper[UNITS_TEXT_MAX];

	if (n == 0)
		return err_set(e, EINVAL, "no percentile is given");
	for (size_t i = 0; i < n; i++) {
		if (q[i].q_ppm > 1000000 || q[i].delay_ns < 0)
			return err_set(e, EINVAL, "p%g is no percentile of a delay", q[i].q_ppm / 1e4);
		if (i == 0)
			continue;
		if (q[i].q_ppm == q[i - 1].q_ppm)
			return err_set(e, EINVAL, "p%g is given twice", q[i].q_ppm / 1e4);
		if (q[i].delay_ns < q[i - 1].delay_ns)
			return err_set(e, EINVAL, "p%g (%s) is below p%g (%s)", q[i].q_ppm / 1e4,
				       units_duration(q[i].delay_ns, upper), q[i - 1].q_ppm / 1e4,
				       units_duration(q[i - 1].delay_ns, lower));
	}
	return 0;
}

static double log_delay(const struct delay_quantile *q)
{
	return log(q->delay_ns > MIN_LOG_NS ? q->delay_ns : MIN_LOG_NS);
}

/* The delay at quantile u, sorted points q: on the segment around u, or on the outermost one
 * continued. A delay of no more than 1 us means none. */
static double log_linear(const struct delay_quantile *q, size_t n, double u)
{
	size_t i = 0;
	double at, x;

	if (n == 1)
		return q[0].delay_ns;
	while (i + 2 < n && u * 1e6 > q[i + 1].q_ppm)
		i++;
	at = (u * 1e6 - q[i].q_ppm) / ((double)q[i + 1].q_ppm - q[i].q_ppm);
	x = exp(log_delay(&q[i]) + at * (log_delay(&q[i + 1]) - log_delay(&q[i])));
	return x > MIN_LOG_NS ? x : 0;
}

int delay_table_from_quantiles(const struct delay_quantile *q, size_t n, struct delay_table *ret,
			       struct err *e)
{
	autofree struct delay_quantile *sorted = xcalloc(n, sizeof *sorted);
	autofree double *x = xcalloc(DELAY_TABLE_SIZE, sizeof *x);

	for (size_t i = 0; i < n; i++)
		sorted[i] = q[i];
	qsort(sorted, n, sizeof *sorted, by_quantile);
	if (check_quantiles(sorted, n, e) < 0)
		return -EINVAL;
	for (size_t i = 0; i < DELAY_TABLE_SIZE; i++)
		x[i] = log_linear(sorted, n, step_quantile(i));
	return quantize(x, ret, e);
}

static int from_bins(struct delay_bins *bins, struct delay_table *ret, struct err *e)
{
	autofree double *x = xcalloc(DELAY_TABLE_SIZE, sizeof *x);
	double total = 0, below = 0;
	size_t b = 0;

	delay_bins_merge(bins);
	for (size_t i = 0; i < bins->n; i++)
		total += (double)bins->items[i].count;
	if (total == 0)
		return err_set(e, EINVAL, "there are no samples");
	for (size_t i = 0; i < DELAY_TABLE_SIZE; i++) {
		while (b + 1 < bins->n && below + bins->items[b].count <= step_quantile(i) * total)
			below += bins->items[b++].count;
		x[i] = bins->items[b].delay_ns;
	}
	return quantize(x, ret, e);
}

int delay_table_from_samples(const int64_t *samples_ns, size_t n, struct delay_table *ret,
			     struct err *e)
{
	struct delay_bins bins = {.n = n};
	autofree struct delay_bin *items = bins.items = xcalloc(n, sizeof *items);

	for (size_t i = 0; i < n; i++)
		items[i] = (struct delay_bin){samples_ns[i] > 0 ? samples_ns[i] : 0, 1};
	return from_bins(&bins, ret, e);
}

int delay_table_from_file(const char *path, int64_t unit_ns, struct delay_table *ret,
			  struct err *e)
{
	struct delay_bins bins = {0};
	int r = delay_samples_read(path, unit_ns, &bins, e);

	if (r == 0)
		r = from_bins(&bins, ret, e);
	free(bins.items);
	return r < 0 ? err_wrap(e, "%s", path) : 0;
}
