#include "units.h"

#include "mem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>

struct unit {
	const char *name;
	long double factor;
};

/* Longest names first where one is the prefix of another. */
static const struct unit duration_units[] = {
	{"ns", 1.0L},     {"us", 1e3L}, {"µs", 1e3L}, {"μs", 1e3L},
	{"ms", 1e6L},     {"s", 1e9L},  {"m", 60e9L}, {"h", 3600e9L},
};

static const struct unit rate_units[] = {
	{"bit", 1 / 8.0L},    {"kbit", 1e3L / 8},  {"mbit", 1e6L / 8}, {"gbit", 1e9L / 8},
	{"tbit", 1e12L / 8},  {"bps", 1.0L},       {"kbps", 1e3L},     {"mbps", 1e6L},
	{"gbps", 1e9L},       {"tbps", 1e12L},
};

static const struct unit size_units[] = {
	{"", 1},
	{"B", 1},
	{"k", 1e3L},
	{"K", 1024.0L},
	{"M", 1e6L},
	{"G", 1e9L},
	{"T", 1e12L},
	{"Ki", 1024.0L},
	{"Mi", 1024.0L * 1024},
	{"Gi", 1024.0L * 1024 * 1024},
	{"Ti", 1024.0L * 1024 * 1024 * 1024},
	{"KB", 1024.0L},
	{"MB", 1024.0L * 1024},
	{"GB", 1024.0L * 1024 * 1024},
	{"TB", 1024.0L * 1024 * 1024 * 1024},
	{"KiB", 1024.0L},
	{"MiB", 1024.0L * 1024},
	{"GiB", 1024.0L * 1024 * 1024},
	{"TiB", 1024.0L * 1024 * 1024 * 1024},
};

/* Reads digits with an optional fraction, either of which may be missing (".5", "5."); no sign, no
 * exponent, no hex, whatever strtold takes. */
static int read_decimal(const char **p, long double *ret)
{
	const char *s = *p;
	long double v = 0, place = 0.1L;

	if (!isdigit((unsigned char)s[*s == '.']))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++)
		v = v * 10 + (*s - '0');
	if (*s == '.')
		for (s++; isdigit((unsigned char)*s); s++, place /= 10)
			v += (*s - '0') * place;
	*p = s;
	*ret = v;
	return 0;
}

static const struct unit *find_unit(const struct unit *units, size_t n, const char *s, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(units[i].name) == len && memcmp(units[i].name, s, len) == 0)
			return &units[i];
	return NULL;
}

static int bad_duration(const char *s, struct err *e)
{
	return err_set(e, EINVAL,
		       "\"%s\" is not a duration (want a number and ns, us, ms, s, m or h)", s);
}

int units_parse_duration(const char *s, int64_t *ret_ns, struct err *e)
{
	const char *p = s;
	long double total = 0;

	if (streq(s, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (!*p)
		return bad_duration(s, e);
	while (*p) {
		const struct unit *u;
		long double v;
		size_t len = 0;

		if (read_decimal(&p, &v) < 0)
			return bad_duration(s, e);
		while (p[len] && !isdigit((unsigned char)p[len]))
			len++;
		u = find_unit(duration_units, ARRAY_SIZE(duration_units), p, len);
		if (!u)
			return bad_duration(s, e);
		total += v * u->factor;
		p += len;
	}
	if (total > 9.2e18L)
		return err_set(e, ERANGE, "\"%s\" is longer than 292 years", s);
	*ret_ns = (int64_t)(total + 0.5L);
	return 0;
}

/* "e1" after a number; its factor in *ret, and *p behind it. */
static void read_exponent(const char **p, long double *ret)
{
	const char *digits = *p + 1;
	char *end;

	*ret = 1;
	if (**p != 'e' && **p != 'E')
		return;
	if (!isdigit((unsigned char)digits[*digits == '-' || *digits == '+']))
		return;
	*ret = powl(10, strtol(digits, &end, 10));
	*p = end;
}

int units_parse_percent(const char *s, uint32_t *ret_ppm, struct err *e)
{
	const char *p = s + (*s == '+');
	long double v = 0, factor = 1;
	int r = read_decimal(&p, &v);

	read_exponent(&p, &factor);
	v *= factor;
	if (r < 0 || !(*p == '\0' || streq(p, "%")) || !(v <= 100))
		return err_set(e, EINVAL, "\"%s\" is not a percentage (want a number 0 to 100)", s);
	*ret_ppm = (uint32_t)(v * 10000 + 0.5L);
	return 0;
}

/* Lower-case and without blanks around the number and the unit; those inside either stay. */
static void fold(const char *s, char *buf, size_t size)
{
	size_t n = 0;

	for (; *s && n + 1 < size; s++) {
		const char *next = s + strspn(s, " \t\n");
		bool edge = n == 0 || !*next ||
			    (isdigit((unsigned char)buf[n - 1]) && isalpha((unsigned char)*next));

		if (next == s || !edge)
			buf[n++] = (char)tolower((unsigned char)*s);
	}
	buf[n] = '\0';
}

int units_parse_rate(const char *s, uint64_t *ret_Bps, struct err *e)
{
	const struct unit *u = NULL;
	char folded[64];
	const char *p = folded;
	long double v;

	fold(s, folded, sizeof folded);
	if (read_decimal(&p, &v) == 0)
		u = find_unit(rate_units, ARRAY_SIZE(rate_units), p, strlen(p));
	if (!u)
		return err_set(e, EINVAL,
			       "\"%s\" is not a rate (want a number and bit, kbit, mbit, gbit, tbit, "
			       "bps, kbps, mbps, gbps or tbps)",
			       s);
	v *= u->factor;
	if (v > 1.8e19L)
		return err_set(e, ERANGE, "\"%s\" is too large a rate", s);
	*ret_Bps = (uint64_t)(v + 0.5L);
	return 0;
}

int units_parse_size(const char *s, uint64_t *ret_bytes, struct err *e)
{
	const char *p = s;
	const struct unit *u = NULL;
	long double v;

	if (read_decimal(&p, &v) == 0)
		u = find_unit(size_units, ARRAY_SIZE(size_units), p, strlen(p));
	if (!u)
		return err_set(e, EINVAL,
			       "\"%s\" is not a size (want bytes, or a number and Ki, Mi, Gi, KB, MB "
			       "or GB)",
			       s);
	v *= u->factor;
	if (v > 1.8e19L)
		return err_set(e, ERANGE, "\"%s\" is too large a size", s);
	*ret_bytes = (uint64_t)(v + 0.5L);
	return 0;
}

int units_parse_milli_cpu(const char *s, uint64_t *ret_milli, struct err *e)
{
	const char *p = s;
	long double v;

	if (read_decimal(&p, &v) < 0 || !(*p == '\0' || streq(p, "m")) || v > 1e9L)
		return err_set(e, EINVAL, "\"%s\" is not a cpu quantity (want 500m, 0.5 or 2)", s);
	*ret_milli = (uint64_t)((*p ? v : v * 1000) + 0.5L);
	return 0;
}

int units_parse_frequency(const char *s, double *ret_per_s, struct err *e)
{
	static const struct unit per[] = {{"", 1}, {"/s", 1}, {"/m", 60}, {"/h", 3600}};
	const struct unit *u = NULL;
	const char *p = s;
	long double v;

	if (read_decimal(&p, &v) == 0)
		u = find_unit(per, ARRAY_SIZE(per), p, strlen(p));
	if (!u || v <= 0)
		return err_set(e, EINVAL, "\"%s\" is not a rate of requests (want 50/s or 600/m)", s);
	*ret_per_s = (double)(v / u->factor);
	return 0;
}

int units_parse_double(const char *s, double *ret, struct err *e)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(s, &end);
	if (end == s || *end || errno || !isfinite(v) || isspace((unsigned char)*s) ||
	    strpbrk(s, "xX"))
		return err_set(e, EINVAL, "\"%s\" is not a number", s);
	*ret = v;
	return 0;
}

int units_parse_int(const char *s, int64_t *ret, struct err *e)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (end == s || *end || isspace((unsigned char)*s))
		return err_set(e, EINVAL, "\"%s\" is not a whole number", s);
	if (errno)
		return err_set(e, ERANGE, "\"%s\" is too large a number", s);
	*ret = v;
	return 0;
}

/* Three significant digits, never in exponent form. */
static const char *three_digits(double v, const char *unit, char *buf)
{
	int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;

	snprintf(buf, UNITS_TEXT_MAX, "%.*f %s", decimals, v, unit);
	return buf;
}

const char *units_duration(int64_t ns, char *buf)
{
	double v = (double)ns, a = fabs(v);

	if (ns == 0)
		return strcpy(buf, "0 s");
	if (a < 1e3)
		snprintf(buf, UNITS_TEXT_MAX, "%" PRId64 " ns", ns);
	else if (a < 999.5e3)
		three_digits(v / 1e3, "us", buf);
	else if (a < 999.5e6)
		three_digits(v / 1e6, "ms", buf);
	else if (a < 600e9)
		three_digits(v / 1e9, "s", buf);
	else
		three_digits(v / 60e9, "min", buf);
	return buf;
}

const char *units_size(uint64_t bytes, char *buf)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)bytes;
	size_t i = 0;

	for (; v >= 1023.5 && i + 1 < ARRAY_SIZE(names); i++)
		v /= 1024;
	if (i == 0)
		snprintf(buf, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
	else
		three_digits(v, names[i], buf);
	return buf;
}

const char *units_rate(uint64_t Bps, char *buf)
{
	static const char *const names[] = {"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"};
	double v = (double)Bps * 8;
	size_t i = 0;

	for (; v >= 999.5 && i + 1 < ARRAY_SIZE(names); i++)
		v /= 1000;
	return three_digits(v, names[i], buf);
}

const char *units_percent(uint32_t ppm, char *buf)
{
	snprintf(buf, UNITS_TEXT_MAX, "%g %%", ppm / 10000.0);
	return buf;
}
