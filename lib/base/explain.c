#include "explain.h"

#include "suggest.h"

#include <errno.h>
#include <stdio.h>

enum { WIDTH = 92 };

/* Breaks text at spaces; every line begins with indent spaces and prefix, those after the first
 * with hang spaces more. */
static void add_hanging(struct str *b, const char *text, int indent, int hang, const char *prefix)
{
	for (; *text; indent += hang, hang = 0) {
		size_t room = WIDTH - indent - strlen(prefix), len = strlen(text);

		if (len > room) {
			for (len = room; len > 0 && text[len] != ' '; len--)
				;
			if (len == 0)
				len = strcspn(text, " ");
		}
		str_addf(b, "%*s%s%.*s\n", indent, "", prefix, (int)len, text);
		text += len + strspn(text + len, " ");
	}
}

static void add_wrapped(struct str *b, const char *text, int indent, const char *prefix)
{
	add_hanging(b, text, indent, 0, prefix);
}

void explain_paragraphs(const char *text, struct str *ret)
{
	const char *end;

	for (;; text = end + 2) {
		autofree char *one = NULL;

		end = strstr(text, "\n\n");
		one = end ? xstrndup(text, (size_t)(end - text)) : xstrdup(text);
		for (char *c = one; (c = strchr(c, '\n'));)
			*c = ' ';
		add_wrapped(ret, one, 0, "");
		if (!end)
			return;
		str_add(ret, "\n");
	}
}

static bool is_shown(const struct field *f)
{
	return f->type != FIELD_IGNORED && f->type != FIELD_REFUSED;
}

static bool is_inline(const struct field *f)
{
	return f->type == FIELD_VARIANT && !f->name[0];
}

/* Steps of a path ------------------------------------------------------------------------------ */

/* Where a path has led: a field, a row of a variant, or (both unset) the schema itself. */
struct place {
	const struct field *field;
	struct variant row;
	const struct schema *schema; /* whose fields the next step names; NULL below a scalar */
	const struct field *rows;    /* a variant with a map of its own: the next step is a row */
};

static bool step_to_row(struct place *p, const struct field *f, const char *name)
{
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++) {
		if (!streq(v.name, name))
			continue;
		*p = (struct place){.row = v, .schema = v.schema};
		return true;
	}
	return false;
}

static bool step_to_field(struct place *p, const char *name)
{
	const struct schema *schema = p->schema;

	for (size_t i = 0; schema && i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];

		if (is_inline(f) && step_to_row(p, f, name))
			return true;
		if (!is_shown(f) || is_inline(f) || !streq(f->name, name))
			continue;
		*p = (struct place){.field = f, .schema = f->sub};
		p->rows = f->type == FIELD_VARIANT ? f : NULL;
		return true;
	}
	return false;
}

static const char **names_at(const struct place *p, size_t *ret_n)
{
	const struct field inlined = {.name = "", .type = FIELD_VARIANT,
				      .variant = p->rows ? p->rows->variant : NULL};
	const struct schema only = {.fields = &inlined, .n_fields = 1};
	const struct schema none = {0};

	return field_names(p->rows ? &only : p->schema ? p->schema : &none, ret_n);
}

static int no_such_field(const struct place *p, const char *name, struct err *e)
{
	size_t n;
	autofree const char **names = names_at(p, &n);
	const char *nearest = suggest_nearest(name, names, n);
	autostr all = {0};

	for (size_t i = 0; i < n; i++)
		str_addf(&all, "%s%s", i ? ", " : "", names[i]);
	if (nearest)
		return err_set(e, ENOENT, "no field \"%s\" (did you mean \"%s\"?)", name, nearest);
	if (n == 0)
		return err_set(e, ENOENT, "no field \"%s\": there is nothing below", name);
	return err_set(e, ENOENT, "no field \"%s\" (there are %s)", name, all.s);
}

static int walk(struct place *p, const char *path, struct err *e)
{
	while (*path) {
		size_t len = strcspn(path, ".");
		autofree char *name = xstrndup(path, len);
		const struct field *rows = p->rows;

		if (rows ? !step_to_row(p, rows, name) : !step_to_field(p, name))
			return no_such_field(p, name, e);
		path += len + (path[len] == '.');
	}
	return 0;
}

/* Words ---------------------------------------------------------------------------------------- */

/* "<duration>, required, default 10s, at least 1.00 ms, example 100ms" */
static void add_facts(struct str *b, const struct field *f)
{
	autostr range = {0};

	field_range_text(f, &range);
	str_addf(b, "<%s>", field_type_name(f));
	if (f->required)
		str_add(b, ", required");
	for (size_t i = 0; f->type == FIELD_ENUM && f->names[i]; i++)
		str_addf(b, "%s%s", i ? ", " : ", one of ", f->names[i]);
	if (f->deflt)
		str_addf(b, ", default %s", f->deflt[0] ? f->deflt : "\"\"");
	if (range.s)
		str_addf(b, ", %s", range.s);
	if (f->example && f->example[0] && f->type != FIELD_VARIANT && !f->sub)
		str_addf(b, ", example %s", f->example);
}

static void add_row(struct str *b, const char *name, const char *facts, const char *doc)
{
	autofree char *line = xasprintf("%s  %s", name, facts);

	add_hanging(b, line, 2, 8, "");
	if (doc)
		add_wrapped(b, doc, 6, "");
	str_add(b, "\n");
}

static void add_rows_of_variant(struct str *b, const struct field *f)
{
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++)
		add_row(b, v.name, is_inline(f) ? "<map>, one of these" : "<map>", v.schema->doc);
}

static void add_rows_of_schema(struct str *b, const struct schema *schema)
{
	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];
		autostr facts = {0};

		if (is_inline(f)) {
			add_rows_of_variant(b, f);
		} else if (is_shown(f)) {
			add_facts(&facts, f);
			add_row(b, f->name, facts.s, f->doc);
		}
	}
}

static void add_docs(struct str *b, const char *field, const char *schema)
{
	if (field)
		add_wrapped(b, field, 0, "");
	if (schema && !streq(field, schema))
		add_wrapped(b, schema, 0, "");
}

int explain_field(const struct schema *schema, const char *path, struct str *ret, struct err *e)
{
	struct place p = {.schema = schema};
	autostr facts = {0};

	if (walk(&p, path, e) < 0)
		return -ENOENT;
	if (p.field) {
		add_facts(&facts, p.field);
		str_addf(ret, "%s\n\n", facts.s);
	}
	add_docs(ret, p.field ? p.field->doc : NULL, p.schema ? p.schema->doc : NULL);
	if (p.rows || p.schema)
		str_add(ret, "\nFIELDS\n");
	if (p.rows)
		add_rows_of_variant(ret, p.rows);
	else if (p.schema)
		add_rows_of_schema(ret, p.schema);
	return 0;
}

/* Templates ------------------------------------------------------------------------------------ */

static const char *placeholder(const struct field *f)
{
	static const char *const by_type[] = {
		[FIELD_STRING] = "text",    [FIELD_BOOL] = "true",      [FIELD_INT] = "1",
		[FIELD_DOUBLE] = "1.0",     [FIELD_DURATION] = "10s",   [FIELD_PERCENT] = "10",
		[FIELD_RATE] = "10mbit",    [FIELD_SIZE] = "64MiB",     [FIELD_FREQUENCY] = "10/s",
		[FIELD_PATH] = "file",	    [FIELD_STRINGS] = "[text]", [FIELD_STRMAP] = "{key: value}",
		[FIELD_CUSTOM] = "text",
	};

	if (f->example && f->example[0])
		return f->example;
	if (f->deflt && f->deflt[0])
		return f->deflt;
	return f->type == FIELD_ENUM ? f->names[0] : by_type[f->type];
}

/* Adds block's lines as an item of a list: "- " before the first key, comments above it flush. */
static void add_item(struct str *b, const char *block, int indent)
{
	bool dashed = false;

	for (const char *end; *block; block = end + 1) {
		const char *text = block + indent + 2;
		bool comment = *text == '#';

		end = strchr(block, '\n');
		str_addf(b, "%*s%s%.*s\n", indent, "", dashed ? "  " : comment ? "" : "- ",
			 (int)(end - text), text);
		dashed |= !comment;
	}
}

/* Adds block's lines with "# " at column indent. */
static void add_commented(struct str *b, const char *block, int indent)
{
	for (const char *end; *block; block = end + 1) {
		end = strchr(block, '\n');
		str_addf(b, "%*s# %.*s\n", indent, "", (int)(end - block) - indent, block + indent);
	}
}

static void add_variant_row(struct str *b, const struct field *f, int indent)
{
	struct variant v, row = {0};
	autostr others = {0};

	for (size_t i = 0; f->variant(i, &v); i++)
		if (i == 0 || streq(v.name, f->example))
			row = v;
	for (size_t i = 0; f->variant(i, &v); i++)
		if (!streq(v.name, row.name))
			str_addf(&others, "%s%s", others.len ? ", " : "", v.name);
	if (!row.name)
		return;
	if (others.len)
		str_addf(b, "%*s# or one of %s\n", indent, "", others.s);
	str_addf(b, "%*s%s:\n", indent, "", row.name);
	explain_template(row.schema, indent + 2, b);
}

void explain_comment(const char *text, int indent, struct str *ret)
{
	add_wrapped(ret, text, indent, "# ");
}

static bool is_live(const struct field *f)
{
	return f->required || f->in_template;
}

static bool has_live_field(const struct schema *schema)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		if (is_live(&schema->fields[i]))
			return true;
	return false;
}

/* The field as if it were live. */
static void add_plain(struct str *b, const struct field *f, int indent)
{
	autostr item = {0};

	switch (f->type) {
	case FIELD_OBJECT:
		/* An object of comments only would be null, where {} is meant. */
		str_addf(b, "%*s%s:%s\n", indent, "", f->name, has_live_field(f->sub) ? "" : " {}");
		explain_template(f->sub, indent + 2, b);
		break;
	case FIELD_LIST:
		str_addf(b, "%*s%s:\n", indent, "", f->name);
		explain_template(f->sub, indent + 4, &item);
		add_item(b, item.s, indent + 2);
		break;
	case FIELD_VARIANT:
		if (!is_inline(f))
			str_addf(b, "%*s%s:\n", indent, "", f->name);
		add_variant_row(b, f, is_inline(f) ? indent : indent + 2);
		break;
	case FIELD_PERCENT: /* a text, as Chaos Mesh wants it */
		str_addf(b, "%*s%s: \"%s\"\n", indent, "", f->name, placeholder(f));
		break;
	default:
		str_addf(b, "%*s%s: %s\n", indent, "", f->name, placeholder(f));
	}
}

void explain_template(const struct schema *schema, int indent, struct str *ret)
{
	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];
		autostr block = {0};

		if (is_shown(f))
			add_plain(&block, f, indent);
		if (!block.s)
			continue;
		if (f->doc)
			explain_comment(f->doc, indent, ret);
		if (is_live(f))
			str_add(ret, block.s);
		else
			add_commented(ret, block.s, indent);
	}
}
