/*
 * The schema of a selector and the rules of mode and value; matching and choosing are in
 * selector_choose.c.
 */
#include "selector.h"

#include "../base/suggest.h"
#include "../base/units.h"

#include <errno.h>
#include <inttypes.h>

const char *const select_mode_names[] = {
	[SELECT_ONE] = "one",
	[SELECT_ALL] = "all",
	[SELECT_FIXED] = "fixed",
	[SELECT_FIXED_PERCENT] = "fixed-percent",
	[SELECT_RANDOM_MAX_PERCENT] = "random-max-percent",
	NULL,
};

static const char *const op_names[] = {
	[SELECT_IN] = "In",
	[SELECT_NOT_IN] = "NotIn",
	[SELECT_EXISTS] = "Exists",
	[SELECT_NOT_EXISTS] = "DoesNotExist",
	NULL,
};

static const char *const phase_names[] = {
	"Pending", "Running", "Succeeded", "Failed", "Unknown", NULL};

/* What selector_matches() can tell of a target. */
static const char *const field_selector_names[] = {
	"metadata.name", "metadata.namespace", "spec.nodeName", "status.phase", "status.podIP", NULL};

static int check_expression(const void *obj, const struct yaml_node *node,
			   struct field_ctx *ctx)
{
	const struct select_expression *x = obj;
	bool wants = x->op == SELECT_IN || x->op == SELECT_NOT_IN;

	if (wants && x->values.n == 0)
		return field_error(ctx, node, "values", "is required with operator %s",
				   op_names[x->op]);
	if (!wants && x->values.n > 0)
		return field_error(ctx, node, "values", "must be empty with operator %s",
				   op_names[x->op]);
	return 0;
}

static const struct field expression_fields[] = {
	{.name = "key", .type = FIELD_STRING, .offset = offsetof(struct select_expression, key),
	 .required = true, .example = "app", .doc = "The label."},
	{.name = "operator", .type = FIELD_ENUM, .offset = offsetof(struct select_expression, op),
	 .names = op_names, .required = true, .example = "In",
	 .doc = "In and NotIn compare with values; Exists and DoesNotExist ask for the label."},
	{.name = "values", .type = FIELD_STRINGS,
	 .offset = offsetof(struct select_expression, values), .example = "[room]",
	 .doc = "What the label may be (In) or may not be (NotIn)."},
};

static const struct schema expression_schema = {
	.name = "expressionSelectors",
	.doc = "One requirement on a label.",
	.size = sizeof(struct select_expression),
	.fields = expression_fields,
	.n_fields = ARRAY_SIZE(expression_fields),
	.check = check_expression,
};

static int add_pods(const char *ns, const struct yaml_node *names, struct strlist *ret,
		    struct field_ctx *ctx)
{
	if (names->kind != YAML_SEQUENCE)
		return field_error(ctx, names, ns, "want a list of pod names");
	for (size_t i = 0; i < names->n; i++) {
		const struct yaml_node *name = names->items[i];
		autofree char *id = NULL;

		if (name->kind != YAML_SCALAR || yaml_is_null(name))
			return field_error(ctx, name, ns, "want a list of pod names");
		id = xasprintf("%s/%s", ns, name->text);
		strlist_add(ret, id);
	}
	return 0;
}

static int parse_pods(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	int r = 0;

	if (node->kind != YAML_MAP)
		return field_error(ctx, node, NULL, "want a map of namespaces to lists of pod names");
	for (size_t i = 0; i < node->n; i++)
		if (add_pods(node->keys[i]->text, node->items[i], storage, ctx) < 0)
			r = -EINVAL;
	return r;
}

static void free_pods(void *storage)
{
	strlist_done(storage);
}

static size_t count_names(const char *const *names)
{
	size_t n = 0;

	while (names[n])
		n++;
	return n;
}

/* A cluster would take any word too, and find nothing. */
static void check_word(const char *word, const char *const *names, const struct yaml_node *node,
		       struct field_ctx *ctx, const char *field)
{
	size_t n = count_names(names);
	const char *nearest = suggest_nearest(word, names, n);
	autostr all = {0};

	for (size_t i = 0; i < n; i++) {
		if (streq(word, names[i]))
			return;
		str_addf(&all, "%s%s", i ? ", " : "", names[i]);
	}
	if (nearest)
		field_warn(ctx, node, field, "no target will match: \"%s\" is not one of %s (did you "
			   "mean \"%s\"?)", word, all.s, nearest);
	else
		field_warn(ctx, node, field, "no target will match: \"%s\" is not one of %s", word,
			   all.s);
}

static int check_selector(const void *obj, const struct yaml_node *node,
			   struct field_ctx *ctx)
{
	const struct selector *s = obj;

	for (size_t i = 0; i < s->pod_phases.n; i++)
		check_word(s->pod_phases.items[i] + (s->pod_phases.items[i][0] == '!'), phase_names, node,
			   ctx, "podPhaseSelectors");
	for (size_t i = 0; i < s->field_selectors.n; i++)
		check_word(s->field_selectors.items[i].key, field_selector_names, node, ctx,
			   "fieldSelectors");
	if (s->node_selectors.n)
		field_warn(ctx, node, "nodeSelectors", "no target will match: the targets of this machine "
			   "carry no labels of nodes (use nodes)");
	return 0;
}

void selector_set_default(struct selector *s, const char *ns)
{
	free(s->default_namespace);
	s->default_namespace = ns ? xstrdup(ns) : NULL;
}

int selection_check_containers(const struct selection *s, const struct target_list *targets,
			       struct err *e)
{
	struct strlist there = {0};
	autostr text = {0};
	int r = 0;

	if (!s->container_names.n || !targets->n)
		return 0;
	for (size_t i = 0; i < targets->n; i++)
		for (size_t k = 0; k < targets->items[i]->n_containers; k++)
			if (!strlist_has(&there, targets->items[i]->containers[k].name))
				strlist_add(&there, targets->items[i]->containers[k].name);
	for (size_t i = 0; i < there.n; i++)
		str_addf(&text, "%s%s", i ? ", " : "", there.items[i]);
	for (size_t i = 0; r == 0 && i < s->container_names.n; i++)
		if (!strlist_has(&there, s->container_names.items[i]))
			r = err_set(e, ENOENT, "containerNames: no chosen target has a container \"%s\" "
				    "(there is %s)", s->container_names.items[i],
				    text.s ? text.s : "none");
	strlist_done(&there);
	return r;
}

static const struct field selector_fields[] = {
	{.name = "namespaces", .type = FIELD_STRINGS, .offset = offsetof(struct selector, namespaces),
	 .example = "[default]",
	 .doc = "Targets in one of these namespaces. Left out: in metadata.namespace, else in that of "
		"-n, else in default; -A looks in all, and so does a source that has none."},
	{.name = "labelSelectors", .type = FIELD_STRMAP,
	 .offset = offsetof(struct selector, label_selectors), .example = "{app: room}",
	 .in_template = true,
	 .doc = "Targets that carry all of these labels."},
	{.name = "expressionSelectors", .type = FIELD_LIST, .sub = &expression_schema,
	 .offset = offsetof(struct selector, expressions),
	 .count_offset = offsetof(struct selector, n_expressions),
	 .doc = "Requirements on labels, all of which must hold."},
	{.name = "annotationSelectors", .type = FIELD_STRMAP,
	 .offset = offsetof(struct selector, annotation_selectors),
	 .doc = "Targets that carry all of these annotations."},
	{.name = "fieldSelectors", .type = FIELD_STRMAP,
	 .offset = offsetof(struct selector, field_selectors), .example = "{spec.nodeName: node-1}",
	 .doc = "Targets with these values of metadata.name, metadata.namespace, spec.nodeName, "
		"status.phase or status.podIP."},
	{.name = "nodes", .type = FIELD_STRINGS, .offset = offsetof(struct selector, nodes),
	 .example = "[node-1]",
	 .doc = "Targets on one of these nodes."},
	{.name = "nodeSelectors", .type = FIELD_STRMAP,
	 .offset = offsetof(struct selector, node_selectors),
	 .doc = "Targets on nodes with these labels. The targets of this machine carry none: use "
		"nodes."},
	{.name = "pods", .type = FIELD_CUSTOM, .offset = offsetof(struct selector, pods),
	 .parse = parse_pods, .free = free_pods, .example = "{default: [room-1]}",
	 .doc = "Targets by name, as a map of namespaces to lists of names. Nothing else of the "
		"selector is looked at then."},
	{.name = "podPhaseSelectors", .type = FIELD_STRINGS,
	 .offset = offsetof(struct selector, pod_phases), .example = "[Running]",
	 .doc = "Targets in one of these phases: Pending, Running, Succeeded, Failed, Unknown. Left "
		"out: Running. With a leading ! : in any but these."},
};

const struct schema selector_schema = {
	.name = "selector",
	.doc = "Which targets may be chosen: all parts that are given must match.",
	.size = sizeof(struct selector),
	.fields = selector_fields,
	.n_fields = ARRAY_SIZE(selector_fields),
	.check = check_selector,
};

int64_t selection_number(const struct selection *s)
{
	int64_t n = 0;

	if (s->value)
		units_parse_int(s->value, &n, NULL);
	return n;
}

int selection_check(const struct selection *s, const struct yaml_node *node, struct field_ctx *ctx)
{
	bool percent = s->mode == SELECT_FIXED_PERCENT || s->mode == SELECT_RANDOM_MAX_PERCENT;
	const char *mode = select_mode_names[s->mode];
	int64_t n;

	if (s->mode == SELECT_ONE || s->mode == SELECT_ALL)
		return 0; /* Chaos Mesh lets a value stand there, unread */
	if (!s->value)
		return field_error(ctx, node, "value", "is required with mode %s", mode);
	if (units_parse_int(s->value, &n, NULL) < 0 || n < 1 || (percent && n > 100))
		return field_error(ctx, node, "value", "\"%s\": mode %s wants a whole number %s",
				   s->value, mode, percent ? "from 1 to 100" : "of at least 1");
	return 0;
}

static int check_selection(const void *obj, const struct yaml_node *node,
			   struct field_ctx *ctx)
{
	return selection_check(obj, node, ctx);
}

static const struct field selection_fields[] = {
	SELECTION_FIELDS(0),
};

const struct schema selection_schema = {
	.name = "target",
	.doc = "A second set of targets.",
	.size = sizeof(struct selection),
	.fields = selection_fields,
	.n_fields = ARRAY_SIZE(selection_fields),
	.check = check_selection,
};
