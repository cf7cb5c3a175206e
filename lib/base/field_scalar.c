/*
 * One row a type: what it is called, and how its text becomes the stored value. Everything that is
 * said about a scalar (errors, explain, templates) takes its words from here.
 */
#include "field.h"

#include "suggest.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int parse_string(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f, (void)e;
	*(char **)storage = xstrdup(text);
	return 0;
}

static int parse_bool(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	if (!streq(text, "true") && !streq(text, "false"))
		return err_set(e, EINVAL, "\"%.200s\" is not true or false", text);
	*(bool *)storage = streq(text, "true");
	return 0;
}

static int parse_int(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_int(text, storage, e);
}

static int parse_double(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_double(text, storage, e);
}

static int parse_enum(const struct field *f, const char *text, void *storage, struct err *e)
{
	autostr all = {0};
	const char *nearest;
	size_t n = 0;

	for (; f->names[n]; n++) {
		str_addf(&all, "%s%s", n ? ", " : "", f->names[n]);
		if (streq(f->names[n], text)) {
			*(int *)storage = (int)n;
			return 0;
		}
	}
	nearest = suggest_nearest(text, f->names, n);
	if (nearest)
		return err_set(e, EINVAL, "\"%.200s\" is not one of %s (did you mean \"%s\"?)", text,
			       all.s, nearest);
	return err_set(e, EINVAL, "\"%.200s\" is not one of %s", text, all.s);
}

static int parse_duration(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_duration(text, storage, e);
}

static int parse_percent(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_percent(text, storage, e);
}

static int parse_rate(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_rate(text, storage, e);
}

static int parse_size(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_size(text, storage, e);
}

static int parse_frequency(const struct field *f, const char *text, void *storage, struct err *e)
{
	(void)f;
	return units_parse_frequency(text, storage, e);
}

static const struct {
	const char *name;
	int (*parse)(const struct field *f, const char *text, void *storage, struct err *e);
} types[] = {
	[FIELD_STRING] = {"text", parse_string},
	[FIELD_BOOL] = {"true or false", parse_bool},
	[FIELD_INT] = {"whole number", parse_int},
	[FIELD_DOUBLE] = {"number", parse_double},
	[FIELD_ENUM] = {"word", parse_enum},
	[FIELD_DURATION] = {"duration", parse_duration},
	[FIELD_PERCENT] = {"percentage", parse_percent},
	[FIELD_RATE] = {"rate", parse_rate},
	[FIELD_SIZE] = {"size", parse_size},
	[FIELD_FREQUENCY] = {"rate of requests", parse_frequency},
	[FIELD_PATH] = {"path", parse_string},
	[FIELD_STRINGS] = {"list of texts", NULL},
	[FIELD_STRMAP] = {"map of texts", NULL},
	[FIELD_OBJECT] = {"map", NULL},
	[FIELD_LIST] = {"list of maps", NULL},
	[FIELD_VARIANT] = {"map with one key", NULL},
	[FIELD_CUSTOM] = {"value", NULL},
	[FIELD_IGNORED] = {"value", NULL},
	[FIELD_REFUSED] = {"value", NULL},
};

const char *field_type_name(const struct field *f)
{
	return types[f->type].name;
}

int field_parse_scalar(const struct field *f, const char *text, void *storage, struct err *e)
{
	if (!types[f->type].parse)
		return err_set(e, EINVAL, "want a %s", field_type_name(f));
	return types[f->type].parse(f, text, storage, e);
}

static double number_of(const struct field *f, const void *storage)
{
	switch (f->type) {
	case FIELD_INT:
	case FIELD_DURATION:
		return (double)*(const int64_t *)storage;
	case FIELD_PERCENT:
		return *(const uint32_t *)storage;
	case FIELD_RATE:
	case FIELD_SIZE:
		return (double)*(const uint64_t *)storage;
	case FIELD_DOUBLE:
	case FIELD_FREQUENCY:
		return *(const double *)storage;
	default:
		return 0;
	}
}

static const char *bound_text(const struct field *f, int64_t bound, char *buf)
{
	switch (f->type) {
	case FIELD_DURATION:
		return units_duration(bound, buf);
	case FIELD_PERCENT:
		return units_percent((uint32_t)bound, buf);
	case FIELD_RATE:
		return units_rate((uint64_t)bound, buf);
	case FIELD_SIZE:
		return units_size((uint64_t)bound, buf);
	default:
		snprintf(buf, UNITS_TEXT_MAX, "%" PRId64, bound);
		return buf;
	}
}

void field_range_text(const struct field *f, struct str *ret)
{
	char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];

	if (!f->has_range)
		return;
	if (f->max == INT64_MAX)
		str_addf(ret, "at least %s", bound_text(f, f->min, low));
	else if (f->min == INT64_MIN)
		str_addf(ret, "at most %s", bound_text(f, f->max, high));
	else
		str_addf(ret, "between %s and %s", bound_text(f, f->min, low),
			 bound_text(f, f->max, high));
}

int field_check_range(const struct field *f, const void *storage, struct err *e)
{
	double v = number_of(f, storage);
	autostr range = {0};

	if (!f->has_range || (v >= (double)f->min && v <= (double)f->max))
		return 0;
	field_range_text(f, &range);
	return err_set(e, ERANGE, "must be %s", range.s);
}
