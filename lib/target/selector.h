/*
 * selector - Chaos Mesh's PodSelector, mode and value, on every target source
 *
 * A schema that embeds a struct selection puts SELECTION_FIELDS among its rows; a selection that is
 * an object of its own (`target:`) uses selection_schema. Percentages of matches are rounded up: a
 * share of what matches is never nothing.
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

enum select_op { SELECT_IN, SELECT_NOT_IN, SELECT_EXISTS, SELECT_NOT_EXISTS };

struct select_expression {
	char *key;
	int op; /* enum select_op */
	struct strlist values;
};

struct selector {
	struct strlist namespaces;
	char *default_namespace; /* where it looks when it names none; NULL: in all */
	struct kvs label_selectors, annotation_selectors, field_selectors, node_selectors;
	struct select_expression *expressions;
	size_t n_expressions;
	struct strlist nodes, pod_phases;
	/* pods: {namespace: [name, ...]} as "namespace/name" */
	struct strlist pods;
};

struct selection {
	struct selector selector;
	int mode;    /* enum select_mode */
	char *value; /* as written; selection_number() reads it */
	struct strlist container_names;
	bool given;
};

extern const struct schema selector_schema;
extern const struct schema selection_schema; /* selector, mode and value as an object of its own */
extern const char *const select_mode_names[];

/* Rows for the struct selection that lies at byte `base` of the schema's struct. */
#define SELECTION_FIELDS(base)                                                                     \
	{                                                                                          \
		.name = "selector", .type = FIELD_OBJECT, .sub = &selector_schema,                 \
		.offset = (base) + offsetof(struct selection, selector), .in_template = true,      \
		.present_offset = (base) + offsetof(struct selection, given),                      \
		.doc = "Which targets may be chosen: all parts that are given must match. An "     \
		       "empty selector ({}) matches every running target.",                        \
	},                                                                                         \
	{                                                                                          \
		.name = "mode", .type = FIELD_ENUM, .names = select_mode_names,                    \
		.offset = (base) + offsetof(struct selection, mode), .required = true,             \
		.example = "one", .doc = "How many of the matching targets are chosen.",           \
	},                                                                                         \
	{                                                                                          \
		.name = "value", .type = FIELD_STRING,                                             \
		.offset = (base) + offsetof(struct selection, value), .example = "\"50\"",          \
		.doc = "The number for mode fixed (at least 1), or the percentage for mode "       \
		       "fixed-percent and random-max-percent (1 to 100, rounded up).",           \
	}

/* Rules between mode and value of a selection whose fields are those of the map `node`.
 * selection_schema has them; for faults the experiment's loader calls it. */
int selection_check(const struct selection *s, const struct yaml_node *node,
		    struct field_ctx *ctx);
/* Sets where a selector looks that names no namespaces; NULL: in all. */
void selector_set_default(struct selector *s, const char *ns);
/* -ENOENT when containerNames has a name that no container of these targets has. */
int selection_check_containers(const struct selection *s, const struct target_list *targets,
			       struct err *e);
/* value as a number; 0 when there is none. */
int64_t selection_number(const struct selection *s);

/* True when the selector alone matches; only running targets match unless phases say otherwise. */
bool selector_matches(const struct selector *s, const struct target *t);

/*
 * Chooses among all: those that match, ordered by namespace/name, thinned by mode with the seed
 * (stream names the purpose). Each target's luck depends on its name only, so that a choice is
 * replayed whatever else comes and goes. ret_matched, if given, counts the matches before thinning.
 * Already-chosen targets in keep (may be NULL) stay chosen while they still match, and are replaced
 * when they are gone. An empty choice is 0 and an empty list: selection_explain_empty() says why.
 */
int selection_choose(const struct selection *s, const struct target_list *all, uint64_t seed,
		     const char *stream, const struct target_list *keep, struct target_list *ret,
		     size_t *ret_matched, struct err *e);

/* Sets err to why nothing was chosen ("no target has label app=rooms (app is room or gateway)") and
 * returns -ENOENT. */
int selection_explain_empty(const struct selection *s, const struct target_list *all,
			    struct err *e);
