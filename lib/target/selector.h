/*
 * selector - Chaos Mesh's PodSelector, mode and value, on every target source
 */
#pragma once

#include "../base/field.h"
#include "target.h"

enum select_mode {
	SELECT_ONE,
	SELECT_ALL,
	SELECT_FIXED,
	SELECT_FIXED_PERCENT,
	SELECT_RANDOM_MAX_PERCENT,
};

struct select_expression {
	char *key;
	int op; /* In, NotIn, Exists, DoesNotExist */
	struct strlist values;
};

struct selector {
	struct strlist namespaces;
	struct kvs label_selectors, annotation_selectors, field_selectors, node_selectors;
	struct select_expression *expressions;
	size_t n_expressions;
	struct strlist nodes, pod_phases;
	/* pods: {namespace: [name, ...]} as "namespace/name" */
	struct strlist pods;
};

struct selection {
	struct selector selector;
	int mode;       /* enum select_mode */
	char *value;    /* as written */
	int64_t number; /* value, checked */
	struct strlist container_names;
	bool given;
};

/* The fields selector, mode, value, containerNames; drivers put SELECTION_FIELDS first. */
extern const struct schema selector_schema;
extern const struct schema selection_schema; /* selector, mode and value as an object of its own */

/* Rules between mode and value; for the check functions of schemas that embed a selection. */
int selection_check(struct selection *s, const struct yaml_node *node, struct field_ctx *ctx);

/* True when the selector alone matches; only running targets match unless phases say otherwise. */
bool selector_matches(const struct selector *s, const struct target *t);

/*
 * Chooses among all: those that match, ordered by namespace/name, thinned by mode with the seed
 * (stream names the purpose). ret borrows the targets. ret_matched, if given, counts the matches
 * before thinning. Already-chosen targets in keep stay chosen while they still match.
 */
int selection_choose(const struct selection *s, const struct target_list *all, uint64_t seed,
		     const char *stream, const struct target_list *keep, struct target_list *ret,
		     size_t *ret_matched, struct err *e);
