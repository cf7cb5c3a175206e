/*
 * The statistic decides which units make sense (a success is a share, a rate is per second); for
 * latencies and readings the unit itself says what the bound is. A space between number and unit
 * is accepted, because people write "1.2 s".
 */
#include "objective.h"

#include "../base/own.h"
#include "../base/suggest.h"
#include "../base/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

static const struct {
	const char *name;
	enum objective_stat stat;
} stats[] = {
	{"count", STAT_COUNT}, {"max", STAT_MAX},     {"mean", STAT_MEAN},
	{"rate", STAT_RATE},   {"ratio", STAT_RATIO}, {"success", STAT_SUCCESS},
	{"value", STAT_VALUE},
};

/* Longest first where one is the prefix of another. */
static const struct {
	const char *name;
	enum objective_op op;
} ops[] = {
	{"<=", OP_LE}, {">=", OP_GE}, {"==", OP_EQ},
	{"<", OP_LT},  {">", OP_GT},  {"within", OP_WITHIN},
};

static const char *skip_space(const char *p)
{
	while (isspace((unsigned char)*p))
		p++;
	return p;
}

static void copy_text(char *dst, size_t size, const char *s, size_t len)
{
	len = MIN_OF(len, size - 1);
	memcpy(dst, s, len);
	dst[len] = '\0';
}

static int bad_stat(const char *word, struct err *e)
{
	const char *names[ARRAY_SIZE(stats)], *near;

	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		names[i] = stats[i].name;
	near = suggest_nearest(word, names, ARRAY_SIZE(names));
	return err_set(
		e, EINVAL,
		"\"%s\" is not a statistic (want p50 to p99.99, mean, max, rate, ratio, success, "
		"count or value%s%s%s)",
		word, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static int parse_stat(const char **p, struct objective *o, struct err *e)
{
	size_t len = strcspn(*p, " \t\r\n<>=");
	char word[24];
	double percentile;

	copy_text(word, sizeof word, *p, len);
	*p += len;
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		if (streq(stats[i].name, word)) {
			o->stat = stats[i].stat;
			return 0;
		}
	if (word[0] != 'p' || !isdigit((unsigned char)word[1]) ||
	    units_parse_double(word + 1, &percentile, NULL) < 0 || strpbrk(word, "eE"))
		return bad_stat(word, e);
	if (percentile <= 0 || percentile > 99.99)
		return err_set(e, EINVAL, "\"%s\" is not a percentile (want p50 to p99.99)", word);
	o->stat = STAT_QUANTILE;
	o->quantile = percentile / 100;
	return 0;
}

static int parse_op(const char **p, struct objective *o, struct err *e)
{
	char word[24];

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (strncmp(*p, ops[i].name, strlen(ops[i].name)) == 0) {
			o->op = ops[i].op;
			*p += strlen(ops[i].name);
			return 0;
		}
	copy_text(word, sizeof word, *p, strcspn(*p, " \t0123456789"));
	if (!word[0])
		return err_set(e, EINVAL,
			       "a comparison is missing (want <=, <, >=, >, == or within)");
	return err_set(e, EINVAL, "\"%s\" is not a comparison (want <=, <, >=, >, == or within)",
		       word);
}

/* number and unit joined: "1.2 s" is read as "1.2s". */
static void split_bound(const char *p, char *number, size_t number_size, char *unit,
			size_t unit_size)
{
	size_t len = strspn(p, "+-.0123456789"), rest;

	copy_text(number, number_size, p, len);
	p = skip_space(p + len);
	rest = strlen(p);
	while (rest && isspace((unsigned char)p[rest - 1]))
		rest--;
	copy_text(unit, unit_size, p, rest);
}

static enum objective_dim stat_dim(enum objective_stat stat)
{
	switch (stat) {
	case STAT_QUANTILE:
	case STAT_MEAN:
	case STAT_MAX:
		return DIM_TIME;
	case STAT_RATIO:
	case STAT_SUCCESS:
		return DIM_SHARE;
	case STAT_RATE:
		return DIM_PER_SECOND;
	default:
		return DIM_PLAIN;
	}
}

static int parse_share(const char *number, const char *unit, struct objective *o, struct err *e)
{
	if (units_parse_double(number, &o->bound, e) < 0)
		return -EINVAL;
	o->dim = DIM_SHARE;
	if (streq(unit, "%"))
		o->bound /= 100;
	else if (*unit)
		return err_set(e, EINVAL, "\"%s%s\" is not a share (want 99.5%% or 0.995)", number,
			       unit);
	if (o->bound < 0 || (o->stat == STAT_SUCCESS && o->bound > 1))
		return err_set(e, EINVAL, "\"%s%s\" is not a share (want 99.5%% or 0.995)", number,
			       unit);
	return 0;
}

static int parse_quantity(const char *number, const char *unit, struct objective *o, struct err *e)
{
	char both[64];
	uint64_t bytes;
	int64_t ns;

	snprintf(both, sizeof both, "%s%s", number, unit);
	if (!*unit) {
		o->dim = DIM_PLAIN;
		return units_parse_double(number, &o->bound, e);
	}
	if (streq(unit, "%"))
		return parse_share(number, unit, o, e);
	if (units_parse_duration(both, &ns, NULL) == 0) {
		o->dim = DIM_TIME;
		o->bound = (double)ns;
		return 0;
	}
	if (units_parse_size(both, &bytes, NULL) == 0) {
		o->dim = DIM_BYTES;
		o->bound = (double)bytes;
		return 0;
	}
	return err_set(
		e, EINVAL,
		"\"%s\" has no unit that is known here (want ns, us, ms, s, m or h for times, %% "
		"for shares, Ki, Mi or Gi for sizes)",
		both);
}

static int parse_bound(const char *p, struct objective *o, struct err *e)
{
	char number[32], unit[32], both[64];

	split_bound(p, number, sizeof number, unit, sizeof unit);
	if (!number[0])
		return err_set(e, EINVAL, "a number is missing after the comparison");
	copy_text(o->unit, sizeof o->unit, unit, strlen(unit));
	switch (o->stat) {
	case STAT_RATIO:
	case STAT_SUCCESS:
		return parse_share(number, unit, o, e);
	case STAT_RATE:
		snprintf(both, sizeof both, "%s%s", number, unit);
		o->dim = DIM_PER_SECOND;
		if (strspn(number, "0.") == strlen(number) && !unit[0])
			return units_parse_double(number, &o->bound, e);
		return units_parse_frequency(both, &o->bound, e);
	case STAT_COUNT:
		if (unit[0])
			return err_set(e, EINVAL, "\"%s%s\": a count has no unit", number, unit);
		return units_parse_double(number, &o->bound, e);
	default:
		return parse_quantity(number, unit, o, e);
	}
}

/* "N% of baseline", with or without a space before the sign. */
static int parse_relative(const char *p, const char *of, struct objective *o, struct err *e)
{
	char number[32], unit[64], percent[96];

	copy_text(percent, sizeof percent, p, of - p);
	split_bound(percent, number, sizeof number, unit, sizeof unit);
	if (!number[0] || !streq(unit, "%") || units_parse_double(number, &o->bound, NULL) < 0 ||
	    o->bound <= 0)
		return err_set(e, EINVAL,
			       "\"%s\" is not a share of the baseline (want 8%% of baseline)", p);
	if (o->op == OP_EQ)
		return err_set(e, EINVAL,
			       "== cannot be compared with the baseline (want within 8%% of "
			       "baseline)");
	o->bound /= 100;
	o->relative = true;
	o->dim = stat_dim(o->stat);
	strcpy(o->unit, "%");
	return 0;
}

/* Where " of baseline" begins in p, NULL when p does not end with it. */
static const char *find_of_baseline(const char *p)
{
	const char *of = strstr(p, "of");
	const char *word;

	if (!of || of == p)
		return NULL;
	word = skip_space(of + 2);
	return word > of + 2 && strncmp(word, "baseline", 8) == 0 && !*skip_space(word + 8) ? of
											    : NULL;
}

static int parse_parts(const char *p, struct objective *o, struct err *e)
{
	const char *of;
	int r;

	if ((r = parse_stat(&p, o, e)) < 0)
		return r;
	p = skip_space(p);
	if ((r = parse_op(&p, o, e)) < 0)
		return r;
	p = skip_space(p);
	of = find_of_baseline(p);
	if (of)
		return parse_relative(p, of, o, e);
	if (o->op == OP_WITHIN)
		return err_set(e, EINVAL,
			       "within needs a share of the baseline (want within 8%% of "
			       "baseline)");
	return parse_bound(p, o, e);
}

int objective_parse(const char *text, struct objective *ret, struct err *e)
{
	const char *p = skip_space(text);
	size_t len = strlen(p);
	struct objective o = {0};

	while (len && isspace((unsigned char)p[len - 1]))
		len--;
	if (!len)
		return err_set(e, EINVAL, "an objective is missing (want \"p99 <= 1.2s\")");
	if (len >= sizeof o.text)
		return err_set(e, EINVAL,
			       "an objective has at most %zu characters, this one has %zu",
			       sizeof o.text - 1, len);
	copy_text(o.text, sizeof o.text, p, len);
	if (parse_parts(o.text, &o, e) < 0)
		return err_wrap(e, "\"%s\"", o.text);
	*ret = o;
	return 0;
}

bool objective_holds(const struct objective *o, double value, double baseline)
{
	double bound = o->relative && o->op != OP_WITHIN ? o->bound * baseline : o->bound;

	switch (o->op) {
	case OP_LE:
		return value <= bound;
	case OP_LT:
		return value < bound;
	case OP_GE:
		return value >= bound;
	case OP_GT:
		return value > bound;
	case OP_EQ:
		return fabs(value - bound) <= 1e-9 * fmax(fabs(value), fabs(bound));
	case OP_WITHIN:
		return fabs(value - baseline) <= bound * fabs(baseline);
	}
	return false;
}

const char *objective_stat_text(const struct objective *o, char *buf)
{
	if (o->stat == STAT_QUANTILE)
		snprintf(buf, OBJECTIVE_TEXT_MAX, "p%.6g", o->quantile * 100);
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		if (o->stat == stats[i].stat)
			strcpy(buf, stats[i].name);
	return buf;
}

/* A share near 100 % is told by its distance from it: 99.9951%, not 100%. */
static void format_share(double share, char *buf)
{
	double percent = share * 100, rest = fabs(100 - percent);
	int decimals = percent == 100 || percent == 0 ? 0 : rest < 0.1 || percent < 0.1 ? 4 : 2;

	snprintf(buf, OBJECTIVE_TEXT_MAX, "%.*f%%", decimals, percent);
}

const char *objective_format(const struct objective *o, double value, char *buf)
{
	if (isnan(value))
		return strcpy(buf, "-");
	if (isinf(value) && o->dim == DIM_TIME)
		return strcpy(buf, "no answer");
	if (o->dim == DIM_TIME && fabs(value) < 9e18)
		return units_duration((int64_t)llround(value), buf);
	if (o->dim == DIM_BYTES && value >= 0 && value < 1.8e19)
		return units_size((uint64_t)value, buf);
	if (o->dim == DIM_SHARE && value <= 1)
		format_share(value, buf);
	else if (o->dim == DIM_PER_SECOND)
		snprintf(buf, OBJECTIVE_TEXT_MAX, "%.4g/s", value);
	else
		snprintf(buf, OBJECTIVE_TEXT_MAX, "%.6g", value);
	return buf;
}
