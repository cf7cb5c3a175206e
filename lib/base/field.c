/*
 * Binding walks the schema, not the document: each field looks for its key, and what the document
 * has beyond that is unknown. A field that is wrong leaves its zero value, so that the rest is
 * still looked at; the rules between fields (schema->check) are left out then, for they would
 * complain about values that nobody wrote.
 */
#include "field.h"

#include "suggest.h"
#include "units.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

struct bind {
	const struct schema *schema;
	const struct yaml_node *node;
	char *obj;
	struct field_ctx *ctx;
	size_t unknown; /* fields so far */
	bool bad;
};

/* Beyond so many, an unknown field is no misspelling that is worth a search of the map. */
enum { MAX_MISSPELT = 50 };

static bool is_inline(const struct field *f)
{
	return f->type == FIELD_VARIANT && !f->name[0];
}

/* Paths and errors --------------------------------------------------------------------------- */

size_t field_enter(struct field_ctx *ctx, const char *name)
{
	size_t mark = strlen(ctx->path);

	snprintf(ctx->path + mark, sizeof ctx->path - mark, "%s%s", mark ? "." : "", name);
	return mark;
}

size_t field_enter_item(struct field_ctx *ctx, size_t i)
{
	size_t mark = strlen(ctx->path);

	snprintf(ctx->path + mark, sizeof ctx->path - mark, "[%zu]", i);
	return mark;
}

void field_leave(struct field_ctx *ctx, size_t mark)
{
	ctx->path[mark] = '\0';
}

/* The node at a dotted path, as far down as it exists. */
static const struct yaml_node *node_at(const struct yaml_node *node, const char *path)
{
	while (path && *path) {
		size_t len = strcspn(path, ".");
		autofree char *name = xstrndup(path, len);
		const struct yaml_node *next = yaml_get(node, name);

		if (!next)
			break;
		node = next;
		path += len + (path[len] == '.');
	}
	return node;
}

int field_error(struct field_ctx *ctx, const struct yaml_node *node, const char *sub,
		const char *fmt, ...)
{
	const struct yaml_node *at = node_at(node, sub);
	size_t mark = sub ? field_enter(ctx, sub) : strlen(ctx->path);
	autostr text = {0};
	va_list ap;

	va_start(ap, fmt);
	str_vaddf(&text, fmt, ap);
	va_end(ap);
	diags_add(ctx->diags, ctx->file, at ? at->line : 0, at ? at->column : 0, ctx->path, "%s",
		  text.s);
	field_leave(ctx, mark);
	return -EINVAL;
}

void field_warn(struct field_ctx *ctx, const struct yaml_node *node, const char *sub,
		const char *fmt, ...)
{
	const struct yaml_node *at = node_at(node, sub);
	size_t mark = sub ? field_enter(ctx, sub) : strlen(ctx->path);
	autostr text = {0};
	va_list ap;

	va_start(ap, fmt);
	str_vaddf(&text, fmt, ap);
	va_end(ap);
	diags_warn(ctx->diags, ctx->file, at ? at->line : 0, at ? at->column : 0, ctx->path, "%s",
		   text.s);
	field_leave(ctx, mark);
}

static int wrong_kind(struct field_ctx *ctx, const struct yaml_node *node, const char *want)
{
	static const char *const kinds[] = {
		[YAML_SCALAR] = "text", [YAML_SEQUENCE] = "a list", [YAML_MAP] = "a map"};

	if (node->kind == YAML_SCALAR && !yaml_is_null(node))
		return field_error(ctx, node, NULL, "want a %s, not \"%.200s\"", want, node->text);
	return field_error(ctx, node, NULL, "want a %s, not %s", want,
			   node->kind == YAML_SCALAR ? "nothing" : kinds[node->kind]);
}

/* Names -------------------------------------------------------------------------------------- */

const char **field_names(const struct schema *schema, size_t *ret_n)
{
	const char **names = NULL;
	struct variant v;
	size_t n = 0;

	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];

		if (f->type == FIELD_IGNORED || f->type == FIELD_REFUSED)
			continue;
		if (!is_inline(f))
			*array_push(names, n) = f->name;
		for (size_t k = 0; is_inline(f) && f->variant(k, &v); k++)
			*array_push(names, n) = v.name;
	}
	*ret_n = n;
	return names;
}

static bool find_variant(const struct field *f, const char *name, struct variant *ret)
{
	for (size_t i = 0; f->variant(i, ret); i++)
		if (streq(ret->name, name))
			return true;
	return false;
}

static bool is_known(const struct schema *schema, const char *name)
{
	struct variant v;

	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];

		if (is_inline(f) ? find_variant(f, name, &v) : streq(f->name, name))
			return true;
	}
	return false;
}

static bool is_given(const struct bind *b, const char *name)
{
	const struct yaml_node *v = yaml_get(b->node, name);

	return v && !yaml_is_null(v);
}

static char *join(const char *const *names, size_t n)
{
	struct str all = {0};

	for (size_t i = 0; i < n; i++)
		str_addf(&all, "%s%s", i ? ", " : "", names[i]);
	return str_take(&all);
}

static void report_unknown(struct bind *b, const struct yaml_node *key)
{
	const struct schema *schema = b->schema;
	autofree char *say = schema->unknown ? schema->unknown(key->text) : NULL;
	size_t n, mark = field_enter(b->ctx, key->text);
	autofree const char **names = field_names(schema, &n);
	const char *nearest = suggest_nearest(key->text, names, n);

	if (say) {
		field_error(b->ctx, key, NULL, "%s", say);
		b->bad = true;
	} else if (nearest) {
		field_error(b->ctx, key, NULL, "unknown field (did you mean \"%s\"?)", nearest);
		/* Rules would miss what was only misspelt. */
		b->bad |= b->unknown++ > MAX_MISSPELT || !is_given(b, nearest);
	} else {
		autofree char *all = join(names, n);

		field_error(b->ctx, key, NULL, "unknown field (%s has %s)",
			    schema->name, n ? all : "none");
	}
	field_leave(b->ctx, mark);
}

static void report_all_unknown(struct bind *b)
{
	for (size_t i = 0; i < b->node->n; i++)
		if (!is_known(b->schema, b->node->keys[i]->text))
			report_unknown(b, b->node->keys[i]);
}

/* Values ------------------------------------------------------------------------------------- */

static int check_quotes(const struct field *f, const struct yaml_node *node, struct field_ctx *ctx)
{
	bool typed = f->type == FIELD_BOOL || f->type == FIELD_INT || f->type == FIELD_DOUBLE;

	if (typed && !node->plain)
		return field_error(ctx, node, NULL, "want a %s without quotes, not the text \"%.200s\"",
				   field_type_name(f), node->text);
	return 0;
}

char *field_path(const struct field_ctx *ctx, const char *path)
{
	const char *slash = strrchr(ctx->file, '/');
	char cwd[PATH_MAX];

	if (path[0] == '/')
		return xstrdup(path);
	if (slash && ctx->file[0] == '/')
		return xasprintf("%.*s/%s", (int)(slash - ctx->file), ctx->file, path);
	if (!getcwd(cwd, sizeof cwd))
		return xstrdup(path);
	if (!slash)
		return xasprintf("%s/%s", cwd, path);
	return xasprintf("%s/%.*s/%s", cwd, (int)(slash - ctx->file), ctx->file, path);
}

static void make_absolute(char **path, const struct field_ctx *ctx)
{
	autofree char *relative = *path;

	*path = field_path(ctx, relative);
}

/* "1 Mbps" is eight times what many mean by it. */
static void warn_of_rate(const struct yaml_node *node, uint64_t Bps, struct field_ctx *ctx)
{
	char text[UNITS_TEXT_MAX];

	if (strpbrk(node->text, " \t\nABCDEFGHIJKLMNOPQRSTUVWXYZ"))
		field_warn(ctx, node, NULL, "\"%s\" is read as %s", node->text, units_rate(Bps, text));
}

static int bind_scalar(const struct field *f, const struct yaml_node *node, void *storage,
		       struct field_ctx *ctx)
{
	struct err e = {0};

	if (node->kind != YAML_SCALAR)
		return wrong_kind(ctx, node, field_type_name(f));
	if (check_quotes(f, node, ctx) < 0)
		return -EINVAL;
	if (field_parse_scalar(f, node->text, storage, &e) < 0 ||
	    field_check_range(f, storage, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	if (f->type == FIELD_PATH)
		make_absolute(storage, ctx);
	if (f->type == FIELD_RATE)
		warn_of_rate(node, *(const uint64_t *)storage, ctx);
	return 0;
}

static int bind_strings(const struct field *f, const struct yaml_node *node, struct strlist *ret,
			struct field_ctx *ctx)
{
	int r = 0;

	if (node->kind != YAML_SEQUENCE)
		return wrong_kind(ctx, node, field_type_name(f));
	if (f->required && node->n == 0)
		return field_error(ctx, node, NULL, "must not be empty");
	for (size_t i = 0; i < node->n; i++) {
		size_t mark = field_enter_item(ctx, i);

		if (node->items[i]->kind != YAML_SCALAR || yaml_is_null(node->items[i]))
			r = wrong_kind(ctx, node->items[i], "text");
		else
			strlist_add(ret, node->items[i]->text);
		field_leave(ctx, mark);
	}
	return r;
}

/* Keys are distinct already, so they are appended: kvs_set would make a long map quadratic. */
static int bind_strmap(const struct field *f, const struct yaml_node *node, struct kvs *ret,
		       struct field_ctx *ctx)
{
	int r = 0;

	if (node->kind != YAML_MAP)
		return wrong_kind(ctx, node, field_type_name(f));
	for (size_t i = 0; i < node->n; i++) {
		const struct yaml_node *value = node->items[i];
		size_t mark = field_enter(ctx, node->keys[i]->text);

		if (value->kind != YAML_SCALAR)
			r = wrong_kind(ctx, value, "text");
		else
			*array_push(ret->items, ret->n) = (struct kv){
				xstrdup(node->keys[i]->text),
				xstrdup(yaml_is_null(value) ? "" : value->text)};
		field_leave(ctx, mark);
	}
	return r;
}

static int bind_list(const struct field *f, const struct yaml_node *node, char *obj,
		     struct field_ctx *ctx)
{
	char **items = (char **)(obj + f->offset);
	size_t *n = (size_t *)(obj + f->count_offset), size = f->sub->size;
	int r = 0;

	if (node->kind != YAML_SEQUENCE)
		return wrong_kind(ctx, node, field_type_name(f));
	if (f->required && node->n == 0)
		return field_error(ctx, node, NULL, "must not be empty");
	for (size_t i = 0; i < node->n; i++) {
		size_t mark = field_enter_item(ctx, i);

		*items = array_grow_(*items, *n, size);
		memset(*items + *n * size, 0, size);
		if (field_bind(f->sub, node->items[i], *items + (*n)++ * size, ctx) < 0)
			r = -EINVAL;
		field_leave(ctx, mark);
	}
	return r;
}

static int bind_variant_row(const struct variant *v, const struct yaml_node *node, void *storage,
			    struct field_ctx *ctx)
{
	struct variant_value value = {v->tag, xcalloc(1, v->schema->size)};
	size_t mark = field_enter(ctx, v->name);
	int r = field_bind(v->schema, node, value.params, ctx);

	memcpy(storage, &value, sizeof value);
	field_leave(ctx, mark);
	return r;
}

static char *variant_names(const struct field *f)
{
	struct str all = {0};
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++)
		str_addf(&all, "%s%s", i ? ", " : "", v.name);
	return str_take(&all);
}

/* node is a map of its own here: every key must be one of the table. */
static int bind_variant(const struct field *f, const struct yaml_node *node, void *storage,
			struct field_ctx *ctx)
{
	const struct field inlined = {.name = "", .type = FIELD_VARIANT, .variant = f->variant};
	const struct schema only = {
		.name = f->name, .fields = &inlined, .n_fields = 1, .unknown = f->unknown};
	struct bind b = {.schema = &only, .node = node, .ctx = ctx};
	autofree char *all = variant_names(f);
	struct variant v;

	if (node->kind != YAML_MAP)
		return wrong_kind(ctx, node, field_type_name(f));
	report_all_unknown(&b);
	if (node->n == 1 && find_variant(f, node->keys[0]->text, &v))
		return bind_variant_row(&v, node->items[0], storage, ctx);
	if (node->n == 1)
		return -EINVAL;
	return field_error(ctx, node, NULL, "wants exactly one of %s", all);
}

static int bind_value(const struct field *f, const struct yaml_node *node, char *obj,
		      struct field_ctx *ctx)
{
	void *storage = obj + f->offset;

	switch (f->type) {
	case FIELD_STRINGS:
		return bind_strings(f, node, storage, ctx);
	case FIELD_STRMAP:
		return bind_strmap(f, node, storage, ctx);
	case FIELD_OBJECT:
		return field_bind(f->sub, node, storage, ctx);
	case FIELD_LIST:
		return bind_list(f, node, obj, ctx);
	case FIELD_VARIANT:
		return bind_variant(f, node, storage, ctx);
	case FIELD_CUSTOM:
		return f->parse(node, storage, ctx);
	case FIELD_IGNORED:
		return 0;
	case FIELD_REFUSED:
		return field_error(ctx, node, NULL, "%s", f->doc);
	default:
		return bind_scalar(f, node, storage, ctx);
	}
}

/* Defaults ----------------------------------------------------------------------------------- */

static void apply_defaults(const struct schema *schema, char *obj);

static void apply_default(const struct field *f, char *obj)
{
	if (f->type == FIELD_OBJECT)
		apply_defaults(f->sub, obj + f->offset);
	else if (f->deflt && f->type < FIELD_STRINGS)
		field_parse_scalar(f, f->deflt, obj + f->offset, NULL);
}

static void apply_defaults(const struct schema *schema, char *obj)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		apply_default(&schema->fields[i], obj);
}

/* Objects ------------------------------------------------------------------------------------ */

/* "" where Kubernetes' Go structs know no difference between empty and left out. */
static bool is_left_out(const struct field *f, const struct yaml_node *value)
{
	bool is_number = f->type == FIELD_BOOL || f->type == FIELD_INT || f->type == FIELD_DOUBLE;

	return !f->required && f->type < FIELD_STRINGS && !is_number && value->kind == YAML_SCALAR &&
	       !value->plain && !value->text[0];
}

static void bind_field(struct bind *b, const struct field *f)
{
	const struct yaml_node *value = yaml_get(b->node, f->name);
	size_t mark;

	if (value && is_left_out(f, value)) {
		field_warn(b->ctx, b->node, f->name, "is empty: taken as left out");
		value = NULL;
	}
	if (!value || yaml_is_null(value)) {
		if (f->required)
			b->bad |= field_error(b->ctx, b->node, f->name, "is required") < 0;
		apply_default(f, b->obj);
		return;
	}
	if (f->present_offset)
		*(bool *)(b->obj + f->present_offset) = true;
	mark = field_enter(b->ctx, f->name);
	b->bad |= bind_value(f, value, b->obj, b->ctx) < 0;
	field_leave(b->ctx, mark);
}

static void bind_inline(struct bind *b, const struct field *f)
{
	autofree char *all = variant_names(f);
	const char *first = NULL;
	struct variant v;

	for (size_t i = 0; f->variant(i, &v); i++) {
		const struct yaml_node *value = yaml_get(b->node, v.name);

		if (!value)
			continue;
		if (first) {
			b->bad |= field_error(b->ctx, b->node, v.name,
					      "cannot stand beside %s: only one of %s", first, all) < 0;
			continue;
		}
		first = v.name;
		b->bad |= bind_variant_row(&v, value, b->obj + f->offset, b->ctx) < 0;
	}
	if (!first && f->required && !b->bad)
		b->bad |= field_error(b->ctx, b->node, NULL, "needs one of %s", all) < 0;
}

int field_bind(const struct schema *schema, const struct yaml_node *node, void *obj,
	       struct field_ctx *ctx)
{
	struct bind b = {.schema = schema, .node = node, .obj = obj, .ctx = ctx};
	size_t before = ctx->diags->n;

	if (node->kind != YAML_MAP) {
		apply_defaults(schema, obj);
		return wrong_kind(ctx, node, "map");
	}
	report_all_unknown(&b);
	for (size_t i = 0; i < schema->n_fields; i++) {
		const struct field *f = &schema->fields[i];

		if (is_inline(f))
			bind_inline(&b, f);
		else
			bind_field(&b, f);
	}
	if (!b.bad && schema->check)
		schema->check(obj, node, ctx);
	return ctx->diags->n > before ? -EINVAL : 0;
}

/* Release ------------------------------------------------------------------------------------ */

static void free_list(const struct field *f, char *obj)
{
	char **items = (char **)(obj + f->offset);
	size_t *n = (size_t *)(obj + f->count_offset);

	for (size_t i = 0; i < *n; i++)
		field_free(f->sub, *items + i * f->sub->size);
	free(take(*items));
	*n = 0;
}

static void free_variant(const struct field *f, void *storage)
{
	struct variant_value value;
	struct variant v;

	memcpy(&value, storage, sizeof value);
	for (size_t i = 0; value.params && f->variant(i, &v); i++) {
		if (v.tag != value.tag)
			continue;
		field_free(v.schema, value.params);
		free(take(value.params));
	}
	memcpy(storage, &value, sizeof value);
}

static void free_value(const struct field *f, char *obj)
{
	void *storage = obj + f->offset;

	switch (f->type) {
	case FIELD_STRING:
	case FIELD_PATH:
		free(take(*(char **)storage));
		break;
	case FIELD_STRINGS:
		strlist_done(storage);
		break;
	case FIELD_STRMAP:
		kvs_done(storage);
		break;
	case FIELD_OBJECT:
		field_free(f->sub, storage);
		break;
	case FIELD_LIST:
		free_list(f, obj);
		break;
	case FIELD_VARIANT:
		free_variant(f, storage);
		break;
	case FIELD_CUSTOM:
		if (f->free)
			f->free(storage);
		break;
	default:
		break;
	}
}

void field_free(const struct schema *schema, void *obj)
{
	for (size_t i = 0; i < schema->n_fields; i++)
		free_value(&schema->fields[i], obj);
}

/* Looking up --------------------------------------------------------------------------------- */

static const struct field *find_here(const struct schema *schema, const char *name)
{
	for (size_t i = 0; schema && i < schema->n_fields; i++)
		if (streq(schema->fields[i].name, name))
			return &schema->fields[i];
	return NULL;
}

const struct field *field_find(const struct schema *schema, const char *path)
{
	const struct field *f = NULL;

	do {
		size_t len = strcspn(path, ".");
		autofree char *name = xstrndup(path, len);

		f = find_here(schema, name);
		if (!f || !path[len])
			return f;
		schema = f->sub;
		path += len + 1;
	} while (*path);
	return NULL;
}
