#include "output.h"

#include "../../lib/base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static const struct {
	const char *name;
	enum output output;
} words[] = {
	{"table", OUTPUT_TABLE}, {"wide", OUTPUT_WIDE}, {"json", OUTPUT_JSON},
	{"yaml", OUTPUT_YAML},	 {"name", OUTPUT_NAME}, {"junit", OUTPUT_JUNIT},
};

int output_parse(const char *verb, const char *text, unsigned allowed, enum output *ret,
		 struct err *e)
{
	autostr all = {0};

	*ret = OUTPUT_TABLE;
	if (!text)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!(allowed & words[i].output))
			continue;
		str_addf(&all, "%s%s", all.len ? ", " : "", words[i].name);
		*ret = words[i].output;
		if (streq(words[i].name, text))
			return 0;
	}
	return err_set(e, EINVAL, "%s: --output: \"%s\" is not one of %s", verb, text, all.s);
}

/* YAML ----------------------------------------------------------------------------------------- */

static bool is_plain(const char *s)
{
	static const char *const reserved[] = {"true", "false", "null", "yes", "no",
					       "on",   "off",	"y",	"n"};
	size_t len = strlen(s);

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (strcasecmp(s, reserved[i]) == 0)
			return false;
	if (!isalpha((unsigned char)*s) || s[len - 1] == ' ')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_./- ", *s))
			return false;
	return true;
}

/* A real without a point ("1e-06") is a text to YAML 1.1. */
static void add_real(struct str *b, const char *text)
{
	const char *e = strchr(text, '.') ? NULL : strchr(text, 'e');

	if (e)
		str_addf(b, "%.*s.0%s", (int)(e - text), text, e);
	else
		str_add(b, text);
}

/* Also lists of lists and what is empty: JSON is YAML. */
static void add_flow(struct str *b, const json_t *v)
{
	autofree char *text = json_dumps(v, JSON_ENCODE_ANY);

	if (json_is_string(v) && is_plain(json_string_value(v)))
		str_add(b, json_string_value(v));
	else if (json_is_real(v))
		add_real(b, text);
	else
		str_add(b, text);
}

static void add_block(struct str *b, const json_t *v, int depth, bool begun);

static bool is_block(const json_t *v)
{
	return json_object_size(v) || json_array_size(v);
}

static void indent(struct str *b, int depth)
{
	str_addf(b, "%*s", 2 * depth, "");
}

static void add_map(struct str *b, const json_t *map, int depth, bool begun)
{
	const json_t *v;
	void *it = json_object_iter((json_t *)map);

	for (; it; it = json_object_iter_next((json_t *)map, it)) {
		json_t *name = json_string(json_object_iter_key(it));

		v = json_object_iter_value(it);
		if (!begun)
			indent(b, depth);
		begun = false;
		add_flow(b, name);
		json_decref(name);
		str_add(b, is_block(v) ? ":\n" : ": ");
		add_block(b, v, json_is_array(v) ? depth : depth + 1, false);
	}
}

static void add_block(struct str *b, const json_t *v, int depth, bool begun)
{
	const json_t *item;
	size_t i;

	if (!is_block(v)) {
		add_flow(b, v);
		str_add(b, "\n");
		return;
	}
	if (json_is_object(v)) {
		add_map(b, v, depth, begun);
		return;
	}
	json_array_foreach(v, i, item) {
		indent(b, depth);
		str_add(b, "- ");
		if (json_array_size(item)) {
			add_flow(b, item);
			str_add(b, "\n");
		} else {
			add_block(b, item, depth + 1, true);
		}
	}
}

char *output_yaml(const json_t *value)
{
	struct str b = {0};

	add_block(&b, value, 0, false);
	return str_take(&b);
}

bool output_data(enum output o, const json_t *value)
{
	if (o == OUTPUT_YAML) {
		autofree char *text = output_yaml(value);

		printf("---\n%s", text);
	} else if (o == OUTPUT_JSON) {
		json_dumpf(value, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	return o == OUTPUT_JSON || o == OUTPUT_YAML;
}
