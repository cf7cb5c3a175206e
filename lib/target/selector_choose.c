/*
 * Choosing ranks the matches by a hash of seed, purpose and name and takes the first few. The rank
 * of a target does not depend on the others, so that the same seed chooses the same targets after
 * one more has come, and a choice under way moves as little as it can.
 */
#include "selector.h"

#include "../base/rng.h"
#include "target_set.h"

#include <errno.h>

static bool has_all(const struct kvs *have, const struct kvs *want)
{
	for (size_t i = 0; i < want->n; i++) {
		const char *value = kvs_get(have, want->items[i].key);

		if (!value || !streq(value, want->items[i].value))
			return false;
	}
	return true;
}

/* As in Kubernetes, NotIn also holds for a target without the label. */
static bool expression_holds(const struct select_expression *x, const struct kvs *labels)
{
	const char *value = kvs_get(labels, x->key);

	switch (x->op) {
	case SELECT_IN:
		return value && strlist_has(&x->values, value);
	case SELECT_NOT_IN:
		return !value || !strlist_has(&x->values, value);
	case SELECT_EXISTS:
		return value;
	default:
		return !value;
	}
}

static bool expressions_hold(const struct selector *s, const struct kvs *labels)
{
	for (size_t i = 0; i < s->n_expressions; i++)
		if (!expression_holds(&s->expressions[i], labels))
			return false;
	return true;
}

static bool field_holds(const struct kv *want, const struct target *t)
{
	if (streq(want->key, "metadata.name"))
		return streq(want->value, t->name);
	if (streq(want->key, "metadata.namespace"))
		return streq(want->value, t->ns);
	if (streq(want->key, "spec.nodeName"))
		return streq(want->value, t->node);
	if (streq(want->key, "status.phase"))
		return streq(want->value, t->phase);
	if (streq(want->key, "status.podIP"))
		return strlist_has(&t->addresses, want->value);
	return false;
}

static bool fields_hold(const struct selector *s, const struct target *t)
{
	for (size_t i = 0; i < s->field_selectors.n; i++)
		if (!field_holds(&s->field_selectors.items[i], t))
			return false;
	return true;
}

static bool is_listed(const struct strlist *pods, const struct target *t)
{
	autofree char *id = target_id(t);

	return strlist_has(pods, id);
}

static bool phase_matches(const struct selector *s, const struct target *t)
{
	bool wanted = true;

	if (s->pod_phases.n == 0)
		return streq(t->phase, "Running");
	for (size_t i = 0; i < s->pod_phases.n; i++) {
		const char *phase = s->pod_phases.items[i];

		if (phase[0] == '!' && streq(phase + 1, t->phase))
			return false;
		wanted &= phase[0] == '!';
	}
	return wanted || (t->phase && strlist_has(&s->pod_phases, t->phase));
}

static bool namespace_matches(const struct selector *s, const struct target *t)
{
	if (s->namespaces.n)
		return strlist_has(&s->namespaces, t->ns);
	return !s->default_namespace || t->no_namespace || streq(s->default_namespace, t->ns);
}

/* As in Chaos Mesh, pods that are named are those, whatever else the selector says. */
bool selector_matches(const struct selector *s, const struct target *t)
{
	if (s->pods.n)
		return (s->pod_phases.n ? phase_matches(s, t) : streq(t->phase, "Running")) &&
		       is_listed(&s->pods, t);
	return phase_matches(s, t) && namespace_matches(s, t) && !s->node_selectors.n &&
	       (s->nodes.n == 0 || (t->node && strlist_has(&s->nodes, t->node))) &&
	       has_all(&t->labels, &s->label_selectors) &&
	       has_all(&t->annotations, &s->annotation_selectors) &&
	       expressions_hold(s, &t->labels) && fields_hold(s, t);
}

struct ranked {
	struct target *target;
	bool kept;
	uint64_t rank;
};

static int by_rank(const void *va, const void *vb)
{
	const struct ranked *a = va, *b = vb;

	if (a->kept != b->kept)
		return b->kept - a->kept;
	return (a->rank > b->rank) - (a->rank < b->rank);
}

static int by_name(const void *va, const void *vb)
{
	const struct target *a = *(struct target *const *)va, *b = *(struct target *const *)vb;
	int c = strcmp(a->ns, b->ns);

	return c ? c : strcmp(a->name, b->name);
}

static struct ranked rank(struct target *t, uint64_t seed, const char *stream,
			  const struct target_set *keep)
{
	autofree char *id = target_id(t);

	return (struct ranked){
		.target = t,
		.kept = target_set_find(keep, t->ns, t->name),
		.rank = rng_at(seed, rng_stream(stream), rng_stream(id)),
	};
}

/* Rounded up: at least one of any. */
static size_t percent_of(size_t n, uint64_t percent)
{
	return (n * percent + 99) / 100;
}

/* How many of n matches mode and value let through. */
static size_t share(const struct selection *s, size_t n, uint64_t seed, const char *stream)
{
	uint64_t number = (uint64_t)selection_number(s);

	switch (s->mode) {
	case SELECT_ONE:
		return MIN_OF(n, (size_t)1);
	case SELECT_FIXED:
		return MIN_OF(n, number);
	case SELECT_FIXED_PERCENT:
		return percent_of(n, number);
	case SELECT_RANDOM_MAX_PERCENT: /* the stream's own draw: ranks use other counters */
		return percent_of(n, 1 + rng_below(~seed, rng_stream(stream), 0, MAX_OF(number, 1u)));
	default:
		return n;
	}
}

int selection_choose(const struct selection *s, const struct target_list *all, uint64_t seed,
		     const char *stream, const struct target_list *keep, struct target_list *ret,
		     size_t *ret_matched, struct err *e)
{
	autofree struct ranked *ranked = NULL;
	autotargetset kept = {0};
	size_t n = 0, take_n;

	(void)e;
	if (keep)
		target_set_add_list(&kept, keep);
	for (size_t i = 0; i < all->n; i++)
		if (selector_matches(&s->selector, all->items[i]))
			*array_push(ranked, n) = rank(all->items[i], seed, stream, &kept);
	if (n > 0)
		qsort(ranked, n, sizeof *ranked, by_rank);
	take_n = share(s, n, seed, stream);
	*ret = (struct target_list){0};
	for (size_t i = 0; i < take_n; i++)
		target_list_add(ret, ranked[i].target);
	if (ret->n > 0)
		qsort(ret->items, ret->n, sizeof *ret->items, by_name);
	if (ret_matched)
		*ret_matched = n;
	return 0;
}

static bool any_has(const struct target_list *all, const struct kv *want)
{
	for (size_t i = 0; i < all->n; i++) {
		const char *value = kvs_get(&all->items[i]->labels, want->key);

		if (value && streq(value, want->value))
			return true;
	}
	return false;
}

/* The values that a label has among the targets, for a message: at most eight. */
static void list_values(const struct target_list *all, const char *key, struct strlist *ret)
{
	for (size_t i = 0; i < all->n && ret->n < 8; i++) {
		const char *value = kvs_get(&all->items[i]->labels, key);

		if (value && !strlist_has(ret, value))
			strlist_add(ret, value);
	}
}

static int explain_label(const struct target_list *all, const struct kv *want, struct err *e)
{
	struct strlist values = {0};
	autostr text = {0};

	list_values(all, want->key, &values);
	for (size_t i = 0; i < values.n; i++)
		str_addf(&text, "%s%s", i ? " or " : "", values.items[i]);
	if (values.n > 0)
		err_set(e, ENOENT, "no target has label %s=%s (%s is %s)", want->key, want->value,
			want->key, text.s);
	else
		err_set(e, ENOENT, "no target has label %s=%s (none has a label %s)", want->key,
			want->value, want->key);
	strlist_done(&values);
	return -ENOENT;
}

/* A target that the selector would match if only it were running. */
static const struct target *idle_match(const struct selector *s, const struct target_list *all)
{
	for (size_t i = 0; i < all->n; i++) {
		struct selector any = *s;
		bool matches;

		any.pod_phases = (struct strlist){0};
		strlist_add(&any.pod_phases, all->items[i]->phase);
		matches = selector_matches(&any, all->items[i]);
		strlist_done(&any.pod_phases);
		if (matches)
			return all->items[i];
	}
	return NULL;
}

/* A target that the selector would match if it looked in all namespaces. */
static const struct target *elsewhere(const struct selector *s, const struct target_list *all)
{
	struct selector any = *s;

	any.default_namespace = NULL;
	for (size_t i = 0; s->default_namespace && !s->namespaces.n && i < all->n; i++)
		if (selector_matches(&any, all->items[i]))
			return all->items[i];
	return NULL;
}

int selection_explain_empty(const struct selection *s, const struct target_list *all,
			    struct err *e)
{
	const struct kvs *labels = &s->selector.label_selectors;
	const struct target *idle = idle_match(&s->selector, all);
	const struct target *other = elsewhere(&s->selector, all);
	size_t matched = 0;

	for (size_t i = 0; i < all->n; i++)
		matched += selector_matches(&s->selector, all->items[i]);
	if (all->n == 0)
		return err_set(e, ENOENT, "there are no targets at all");
	if (matched > 0)
		return err_set(e, ENOENT, "mode %s of %zu matching targets, value %s, is none",
			       select_mode_names[s->mode], matched, s->value ? s->value : "not given");
	if (other)
		return err_set(e, ENOENT, "none of %zu targets matches the selector in namespace %s: %s/%s "
			       "would (name namespaces, or -n, or -A for all)", all->n,
			       s->selector.default_namespace, other->ns, other->name);
	for (size_t i = 0; !s->selector.pods.n && i < labels->n; i++)
		if (!any_has(all, &labels->items[i]))
			return explain_label(all, &labels->items[i], e);
	if (idle)
		return err_set(e, ENOENT, "none of %zu targets matches the selector: %s/%s would, and is %s",
			       all->n, idle->ns, idle->name, idle->phase);
	return err_set(e, ENOENT, "none of %zu targets matches the selector", all->n);
}
