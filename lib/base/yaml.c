/*
 * The tree is built from libyaml's events with a stack of open collections. An alias shares its
 * anchor's node instead of copying it, so an alias bomb costs no memory; it would cost time to
 * whoever walks the tree, which is why each node carries its weight after expansion and the sum
 * is bounded while the document is still being read.
 *
 * libyaml's own document API (yaml_parser_load) was not used: it neither bounds the expansion nor
 * tells an alias from a second mention, and it keeps duplicate keys.
 */
#include "yaml.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <yaml.h>

enum { MAX_ANCHORS = 1000 };

struct open_node {
	struct yaml_node *node;
	struct yaml_node *key; /* map: read, its value not yet */
};

struct anchor {
	char *name;
	struct yaml_node *node;
};

struct build {
	struct yaml *y;
	struct diags *diags;
	size_t reported; /* diags before this file */
	struct open_node stack[YAML_MAX_DEPTH];
	size_t depth;
	struct anchor *anchors; /* of the current document */
	size_t n_anchors;
	size_t weight; /* of all documents so far */
};

static int report(struct build *b, yaml_mark_t at, const char *fmt, ...) format_like(3, 4);

static int report(struct build *b, yaml_mark_t at, const char *fmt, ...)
{
	autostr text = {0};
	va_list ap;

	va_start(ap, fmt);
	str_vaddf(&text, fmt, ap);
	va_end(ap);
	diags_add(b->diags, b->y->file, at.line + 1, at.column + 1, NULL, "%s", text.s);
	return -EINVAL;
}

static int report_node(struct build *b, const struct yaml_node *node, const char *text)
{
	diags_add(b->diags, b->y->file, node->line, node->column, NULL, "%s", text);
	return -EINVAL;
}

static int add_weight(struct build *b, size_t weight, const struct yaml_node *at)
{
	b->weight += weight;
	if (b->weight <= YAML_MAX_NODES)
		return 0;
	diags_add(b->diags, b->y->file, at->line, at->column, NULL,
		  "more than %d values after its aliases are expanded", YAML_MAX_NODES);
	return -E2BIG;
}

static struct yaml_node *new_node(struct build *b, enum yaml_kind kind, yaml_mark_t at)
{
	struct yaml_node *node = xcalloc(1, sizeof *node);

	*array_push(b->y->pool, b->y->n_pool) = node;
	*node = (struct yaml_node){
		.kind = kind, .line = at.line + 1, .column = at.column + 1, .weight = 1};
	return node;
}

/* Merge keys and duplicates ------------------------------------------------------------------ */

struct entry {
	struct yaml_node *key, *value;
	size_t order;
	bool merged; /* came through "<<": gives way to a key of the map itself */
};

struct entries {
	struct entry *items;
	size_t n;
};

static int by_key(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;
	int c = strcmp(a->key->text, b->key->text);

	return c ? c : (a->order > b->order) - (a->order < b->order);
}

static int by_order(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;

	return (a->order > b->order) - (a->order < b->order);
}

static bool is_merge_key(const struct yaml_node *key)
{
	return key->plain && streq(key->text, "<<");
}

static void add_entry(struct entries *l, struct yaml_node *key, struct yaml_node *value,
		      bool merged)
{
	struct entry *entry = array_push(l->items, l->n);

	*entry = (struct entry){key, value, l->n, merged};
}

/* What is merged came by an alias, whose weight has been counted. */
static void merge_map(struct build *b, struct entries *l, const struct yaml_node *source,
		      const struct yaml_node *at)
{
	if (source->kind != YAML_MAP)
		report_node(b, at, "a merge key (<<) wants a map or a list of maps");
	for (size_t i = 0; source->kind == YAML_MAP && i < source->n; i++)
		add_entry(l, source->keys[i], source->items[i], true);
}

static void merge_value(struct build *b, struct entries *l, const struct yaml_node *value,
			const struct yaml_node *at)
{
	if (value->kind != YAML_SEQUENCE)
		merge_map(b, l, value, at);
	for (size_t i = 0; value->kind == YAML_SEQUENCE && i < value->n; i++)
		merge_map(b, l, value->items[i], at);
}

/* The path of what is being read: "spec.faults[2]". */
static void add_path(const struct build *b, struct str *ret)
{
	for (size_t i = 0; i < b->depth; i++) {
		const struct open_node *open = &b->stack[i];

		if (open->node->kind == YAML_SEQUENCE)
			str_addf(ret, "[%zu]", open->node->n);
		else if (open->key)
			str_addf(ret, "%s%s", i ? "." : "", open->key->text);
	}
}

static void report_duplicate(struct build *b, const struct entry *first, const struct entry *again)
{
	autostr path = {0};

	add_path(b, &path);
	str_addf(&path, "%s%s", path.len ? "." : "", again->key->text);
	diags_add(b->diags, b->y->file, again->key->line, again->key->column, path.s,
		  "given twice (first at line %d)", first->key->line);
}

/* Of entries with one key the first in order stays: the map's own come before merged ones. */
static void drop_repeated(struct build *b, struct entries *l)
{
	size_t kept = 0;

	if (l->n == 0)
		return;
	qsort(l->items, l->n, sizeof *l->items, by_key);
	for (size_t i = 1; i < l->n; i++) {
		struct entry *first = &l->items[kept], *again = &l->items[i];

		if (!streq(first->key->text, again->key->text))
			l->items[++kept] = *again;
		else if (!again->merged)
			report_duplicate(b, first, again);
	}
	l->n = kept + 1;
	qsort(l->items, l->n, sizeof *l->items, by_order);
}

static void store_entries(struct yaml_node *map, const struct entries *l)
{
	map->keys = xrealloc(map->keys, MAX_OF(l->n, (size_t)1) * sizeof *map->keys);
	map->items = xrealloc(map->items, MAX_OF(l->n, (size_t)1) * sizeof *map->items);
	map->n = l->n;
	map->weight = 1;
	for (size_t i = 0; i < l->n; i++) {
		map->keys[i] = l->items[i].key;
		map->items[i] = l->items[i].value;
		map->weight += 1 + l->items[i].value->weight;
	}
}

static void close_map(struct build *b, struct yaml_node *map)
{
	struct entries l = {0};

	for (size_t i = 0; i < map->n; i++)
		if (!is_merge_key(map->keys[i]))
			add_entry(&l, map->keys[i], map->items[i], false);
	for (size_t i = 0; i < map->n; i++)
		if (is_merge_key(map->keys[i]))
			merge_value(b, &l, map->items[i], map->keys[i]);
	drop_repeated(b, &l);
	store_entries(map, &l);
	free(l.items);
}

/* Events to nodes ---------------------------------------------------------------------------- */

static int add_child(struct build *b, struct yaml_node *child)
{
	struct open_node *top = b->depth ? &b->stack[b->depth - 1] : NULL;

	if (!top) {
		*array_push(b->y->docs, b->y->n_docs) = child;
		return 0;
	}
	if (top->node->kind == YAML_MAP && !top->key) {
		if (child->kind != YAML_SCALAR)
			return report_node(b, child, "a key must be plain text");
		top->key = child;
		return 0;
	}
	if (top->node->kind == YAML_MAP) {
		size_t n = top->node->n;

		*array_push(top->node->keys, n) = take(top->key);
	}
	*array_push(top->node->items, top->node->n) = child;
	top->node->weight += child->weight;
	return 0;
}

static int set_anchor(struct build *b, const yaml_char_t *name, struct yaml_node *node)
{
	struct anchor *a;

	if (!name)
		return 0;
	if (b->n_anchors == MAX_ANCHORS)
		return report_node(b, node, "more than 1000 anchors in one document");
	a = array_push(b->anchors, b->n_anchors);
	*a = (struct anchor){xstrdup((const char *)name), node};
	return 0;
}

static struct yaml_node *find_anchor(struct build *b, const char *name)
{
	for (size_t i = b->n_anchors; i-- > 0;) /* a name may be used again: the latest counts */
		if (streq(b->anchors[i].name, name))
			return b->anchors[i].node;
	return NULL;
}

static void forget_anchors(struct build *b)
{
	for (size_t i = 0; i < b->n_anchors; i++)
		free(b->anchors[i].name);
	free(take(b->anchors));
	b->n_anchors = 0;
}

static int on_alias(struct build *b, const yaml_event_t *ev)
{
	const char *name = (const char *)ev->data.alias.anchor;
	struct yaml_node *node = find_anchor(b, name);

	if (!node)
		return report(b, ev->start_mark, "alias *%s has no anchor &%s before it", name, name);
	for (size_t i = 0; i < b->depth; i++)
		if (b->stack[i].node == node)
			return report(b, ev->start_mark, "alias *%s contains itself", name);
	if (add_weight(b, node->weight, node) < 0)
		return -E2BIG;
	return add_child(b, node);
}

static int check_tag(struct build *b, const yaml_event_t *ev, const yaml_char_t *tag)
{
	static const char core[] = "tag:yaml.org,2002:";

	if (!tag || streq((const char *)tag, "!") ||
	    strncmp((const char *)tag, core, sizeof core - 1) == 0)
		return 0;
	return report(b, ev->start_mark, "tag %s is not supported", (const char *)tag);
}

static int on_scalar(struct build *b, const yaml_event_t *ev)
{
	struct yaml_node *node = new_node(b, YAML_SCALAR, ev->start_mark);
	const char *value = (const char *)ev->data.scalar.value;

	if (memchr(value, '\0', ev->data.scalar.length))
		return report(b, ev->start_mark, "a zero character inside a text");
	node->text = xstrndup(value, ev->data.scalar.length);
	node->plain = ev->data.scalar.plain_implicit &&
		      ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	if (check_tag(b, ev, ev->data.scalar.tag) < 0 ||
	    set_anchor(b, ev->data.scalar.anchor, node) < 0 || add_weight(b, 1, node) < 0)
		return -EINVAL;
	return add_child(b, node);
}

static int on_open(struct build *b, const yaml_event_t *ev, enum yaml_kind kind,
		   const yaml_char_t *tag, const yaml_char_t *anchor)
{
	struct yaml_node *node = new_node(b, kind, ev->start_mark);

	if (b->depth == YAML_MAX_DEPTH)
		return report(b, ev->start_mark, "nested more than %d levels deep", YAML_MAX_DEPTH);
	if (check_tag(b, ev, tag) < 0 || set_anchor(b, anchor, node) < 0 ||
	    add_weight(b, 1, node) < 0)
		return -EINVAL;
	b->stack[b->depth++] = (struct open_node){.node = node};
	return 0;
}

static int on_close(struct build *b)
{
	struct yaml_node *node = b->stack[--b->depth].node;

	if (node->kind == YAML_MAP)
		close_map(b, node);
	return add_child(b, node);
}

static void on_document_end(struct build *b)
{
	struct yaml *y = b->y;

	forget_anchors(b);
	if (y->n_docs > 0 && yaml_is_null(y->docs[y->n_docs - 1]))
		y->n_docs--;
}

static int on_event(struct build *b, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return on_alias(b, ev);
	case YAML_SCALAR_EVENT:
		return on_scalar(b, ev);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(b, ev, YAML_SEQUENCE, ev->data.sequence_start.tag,
			       ev->data.sequence_start.anchor);
	case YAML_MAPPING_START_EVENT:
		return on_open(b, ev, YAML_MAP, ev->data.mapping_start.tag,
			       ev->data.mapping_start.anchor);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return on_close(b);
	case YAML_DOCUMENT_END_EVENT:
		on_document_end(b);
		return 0;
	default:
		return 0;
	}
}

/* Text to events ----------------------------------------------------------------------------- */

static yaml_mark_t mark_at(const char *text, size_t offset)
{
	yaml_mark_t at = {0};

	for (size_t i = 0; i < offset; i++) {
		at.column = text[i] == '\n' ? 0 : at.column + 1;
		at.line += text[i] == '\n';
	}
	return at;
}

/* The text does not end with a NUL. */
static bool is_indented_by_tab(const char *text, size_t len, size_t line)
{
	const char *end = text + len;

	for (; line && text; line--) {
		text = memchr(text, '\n', (size_t)(end - text));
		text = text ? text + 1 : NULL;
	}
	while (text && text < end && *text == ' ')
		text++;
	return text && text < end && *text == '\t';
}

static int report_syntax(struct build *b, const yaml_parser_t *p, const char *text, size_t len)
{
	const char *problem = p->problem ? p->problem : "not valid YAML";

	if (p->error == YAML_READER_ERROR)
		return report(b, mark_at(text, MIN_OF(p->problem_offset, len)),
			      "not a text file: %s", problem);
	if (is_indented_by_tab(text, len, p->problem_mark.line))
		return report(b, p->problem_mark, "not valid YAML: the line begins with a tab: indent it "
						  "with blanks");
	if (p->context && p->context_mark.line != p->problem_mark.line)
		return report(b, p->problem_mark, "not valid YAML: %s %s that began at line %zu",
			      problem, p->context, p->context_mark.line + 1);
	if (p->context)
		return report(b, p->problem_mark, "not valid YAML: %s %s", problem, p->context);
	return report(b, p->problem_mark, "not valid YAML: %s", problem);
}

static int parse(struct build *b, yaml_parser_t *p, const char *text, size_t len)
{
	bool more = true;

	while (more) {
		yaml_event_t ev;
		int r;

		if (!yaml_parser_parse(p, &ev))
			return report_syntax(b, p, text, len);
		more = ev.type != YAML_STREAM_END_EVENT;
		r = on_event(b, &ev);
		yaml_event_delete(&ev);
		if (r < 0)
			return r;
	}
	return 0;
}

static int build_tree(struct build *b, const char *text, size_t len)
{
	const char *zero = memchr(text, '\0', len);
	yaml_parser_t p;
	int r;

	if (zero)
		return report(b, mark_at(text, zero - text), "not a text file: it holds a zero byte");
	if (!yaml_parser_initialize(&p))
		abort(); /* out of memory */
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	r = parse(b, &p, text, len);
	yaml_parser_delete(&p);
	forget_anchors(b);
	return r;
}

int yaml_load_text(const char *file, const char *text, size_t len, struct diags *d,
		   struct yaml **ret)
{
	autoptr(yaml) y = xcalloc(1, sizeof *y);
	struct build b = {.y = y, .diags = d, .reported = d->n};

	*ret = NULL;
	y->file = xstrdup(file);
	if (len > YAML_MAX_BYTES) {
		diags_add(d, file, 0, 0, NULL, "larger than %d MiB", YAML_MAX_BYTES >> 20);
		return -EFBIG;
	}
	if (build_tree(&b, text, len) < 0)
		return -EINVAL;
	*ret = take(y);
	return d->n > b.reported ? -EINVAL : 0;
}

/* Reads at most one byte more than is allowed: size alone says nothing of a pipe or a device. */
static int read_all(int fd, struct str *ret)
{
	char buf[65536];

	while (ret->len <= YAML_MAX_BYTES) {
		ssize_t n = read(fd, buf, sizeof buf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		str_addn(ret, buf, n);
	}
	return 0;
}

int yaml_load_file(const char *path, struct diags *d, struct yaml **ret)
{
	bool is_stdin = streq(path, "-");
	const char *file = is_stdin ? "<stdin>" : path;
	autofd int opened = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	autostr text = {0};
	int r;

	*ret = NULL;
	r = is_stdin || opened >= 0 ? read_all(is_stdin ? STDIN_FILENO : opened, &text) : -errno;
	if (r < 0) {
		diags_add(d, file, 0, 0, NULL, "cannot be read: %s", strerror(-r));
		return r;
	}
	return yaml_load_text(file, text.s ? text.s : "", text.len, d, ret);
}

static void node_free(struct yaml_node *node)
{
	free(node->text);
	free(node->keys);
	free(node->items);
	free(node);
}

void yaml_release(struct yaml *y)
{
	if (!y)
		return;
	for (size_t i = 0; i < y->n_pool; i++)
		node_free(y->pool[i]);
	free(y->pool);
	free(y->docs);
	free(y->file);
	free(y);
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_MAP)
		return NULL;
	for (size_t i = 0; i < map->n; i++)
		if (streq(map->keys[i]->text, key))
			return map->items[i];
	return NULL;
}

bool yaml_is_null(const struct yaml_node *node)
{
	return node->kind == YAML_SCALAR && node->plain &&
	       (!node->text[0] || streq(node->text, "~") || streq(node->text, "null"));
}
