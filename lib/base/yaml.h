/*
 * yaml - documents as trees in which every node knows its place
 *
 * Anchors, aliases and merge keys ("<<") are resolved while loading. Bounded: file size, number
 * of nodes after alias expansion, and depth; beyond a bound it is an error with the place, never a
 * slow or huge parse. Duplicate keys in a map are errors.
 *
 * Owns:    the tree owns its nodes and strings; yaml_release releases all. An aliased node is one
 *          object with several parents, whose place is that of its anchor.
 * Source:  YAML 1.1 as libyaml parses it; merge keys after yaml.org/type/merge.html
 */
#pragma once

#include "diag.h"

#include <stdbool.h>

enum {
	YAML_MAX_BYTES = 4 << 20,
	YAML_MAX_NODES = 200000,
	YAML_MAX_DEPTH = 64,
};

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	int line, column; /* from 1 */
	char *text;       /* scalar */
	bool plain;       /* scalar without quotes: null, true and numbers are told by this */
	struct yaml_node **keys; /* map: scalars, n of them */
	struct yaml_node **items; /* map: values; sequence: items */
	size_t n;
	size_t weight; /* nodes from here down, counting an aliased node once for each use */
};

struct yaml {
	char *file; /* as shown in messages; "<stdin>" for - */
	struct yaml_node **docs;
	size_t n_docs;
	struct yaml_node **pool; /* every node, for release */
	size_t n_pool;
};

/* Loads all documents; "-" is stdin. Empty documents are left out. Negative when the diags got an
 * error; *ret is then NULL after a syntax error, a bound or an unreadable file, and still a tree to
 * look for further errors in after a duplicate key or a wrong merge. */
int yaml_load_file(const char *path, struct diags *d, struct yaml **ret);
int yaml_load_text(const char *file, const char *text, size_t len, struct diags *d,
		   struct yaml **ret);
/* Not yaml_free: libyaml exports one, and calls it. */
void yaml_release(struct yaml *y);
DEFINE_AUTOPTR(yaml, yaml_release);

/* The value under key, NULL when absent. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
bool yaml_is_null(const struct yaml_node *node);
