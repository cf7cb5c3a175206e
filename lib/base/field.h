/*
 * field - one parameter table feeds binding, validation, `explain`, templates and the man page
 *
 * A schema describes a C struct: its fields, their YAML names, types, defaults, ranges and
 * documentation. field_bind() fills the struct from a YAML map and reports every unknown field
 * (with the nearest valid name), missing required field, wrong type, wrong unit and out-of-range
 * value with file:line:column and path.
 *
 * Storage by type:
 *   FIELD_STRING    char *             FIELD_DURATION  int64_t ns
 *   FIELD_BOOL      bool               FIELD_PERCENT   uint32_t ppm (0..1000000)
 *   FIELD_INT       int64_t            FIELD_RATE      uint64_t bytes per second
 *   FIELD_DOUBLE    double             FIELD_SIZE      uint64_t bytes
 *   FIELD_ENUM      int (index into names)
 *   FIELD_FREQUENCY double per second  FIELD_PATH      char *, absolute: relative to ctx's file
 *   FIELD_STRINGS   struct strlist
 *   FIELD_STRMAP    struct kvs         FIELD_OBJECT    the struct itself, embedded
 *   FIELD_LIST      pointer to array of sub->size items; count_offset says where size_t n lies
 *   FIELD_VARIANT   struct variant_value: what one of several keys was chosen, and its params
 *   FIELD_CUSTOM    whatever parse() makes of the node
 *   FIELD_IGNORED   nothing: known, and of no meaning here (status, metadata.uid)
 *   FIELD_REFUSED   nothing: known, and an error that doc explains (a retired field)
 *
 * A field that was present in the YAML sets the bool at present_offset, if there is one. An empty
 * value (null) counts as absent, and so does "" of an optional scalar that is not a number.
 * Defaults are applied inside absent objects too.
 * String-typed numbers of Chaos Mesh ("25", value: "50") take both quoted and plain scalars.
 *
 * A variant is a field whose value is a map with exactly one key out of a table
 * ("indicator: {http: {...}}"); with an empty name its keys stand beside the other fields
 * ("networkChaos: {...}" in an item of faults).
 */
#pragma once

#include "mem.h"
#include "yaml.h"

#include <stdbool.h>
#include <stdint.h>

enum field_type {
	FIELD_STRING,
	FIELD_BOOL,
	FIELD_INT,
	FIELD_DOUBLE,
	FIELD_ENUM,
	FIELD_DURATION,
	FIELD_PERCENT,
	FIELD_RATE,
	FIELD_SIZE,
	FIELD_FREQUENCY,
	FIELD_PATH,
	FIELD_STRINGS,
	FIELD_STRMAP,
	FIELD_OBJECT,
	FIELD_LIST,
	FIELD_VARIANT,
	FIELD_CUSTOM,
	FIELD_IGNORED,
	FIELD_REFUSED,
};

/* What a binder or check reports into: the file, the diags and the path so far. */
struct field_ctx {
	const char *file;
	struct diags *diags;
	char path[512];
};

struct schema;

/* One row of a variant's table. tag is the driver, indicator type, ... that the row stands for. */
struct variant {
	const char *name;
	const struct schema *schema;
	const void *tag;
};

/* Where a variant is stored: two pointers that follow each other in the owner's struct
 * ("const struct fault_driver *driver; void *params;"). params is schema->size bytes. */
struct variant_value {
	const void *tag;
	void *params;
};

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
	const char *doc;     /* one or two sentences, for explain and the man page */
	const char *deflt;   /* as written in YAML; NULL: zero value */
	const char *example; /* for documentation and templates; FIELD_VARIANT: the row to show */
	bool required;
	bool in_template; /* optional, yet not commented out in a template */
	bool has_range; /* min..max, in the stored unit */
	int64_t min, max;
	const char *const *names; /* FIELD_ENUM: NULL-terminated */
	const struct schema *sub; /* FIELD_OBJECT, FIELD_LIST */
	/* FIELD_VARIANT: the i-th row; false after the last. */
	bool (*variant)(size_t i, struct variant *ret);
	char *(*unknown)(const char *name); /* FIELD_VARIANT: as in a schema */
	size_t count_offset;      /* FIELD_LIST: offset of the size_t count */
	size_t present_offset;    /* 0: none (offset 0 is never a present flag) */
	int (*parse)(const struct yaml_node *node, void *storage, struct field_ctx *ctx);
	void (*free)(void *storage); /* FIELD_CUSTOM */
};

struct schema {
	const char *name; /* "NetworkChaos", "delay" */
	const char *doc;
	size_t size; /* of the struct */
	const struct field *fields;
	size_t n_fields;
	/* A better sentence about an unknown field than the nearest name, which the caller frees;
	 * NULL when there is none. */
	char *(*unknown)(const char *name);
	/* Rules between fields, called when the fields themselves are good; reports into ctx,
	 * returns 0 or -EINVAL. */
	int (*check)(const void *obj, const struct yaml_node *node, struct field_ctx *ctx);
};

/* Parses the text of one scalar into storage, in range or not; err quotes the text. */
int field_parse_scalar(const struct field *f, const char *text, void *storage, struct err *e);
/* -ERANGE with a sentence when the stored value is out of the field's range. */
int field_check_range(const struct field *f, const void *storage, struct err *e);
/* "between 1 and 20", "at least 1.00 ms"; nothing when any value will do. */
void field_range_text(const struct field *f, struct str *ret);
/* What to call a value of this type: "duration", "whole number", ... */
const char *field_type_name(const struct field *f);

/* Fills obj (zeroed by the caller, schema->size bytes). 0, or -EINVAL with everything wrong
 * reported; obj is then still good for field_free. */
int field_bind(const struct schema *schema, const struct yaml_node *node, void *obj,
	       struct field_ctx *ctx);
/* Releases what obj owns, not obj itself. */
void field_free(const struct schema *schema, void *obj);

/* Reports with ctx's path and returns -EINVAL. When sub ("latency", "delay.latency") is given it is
 * appended to the path, and the place is that of its value if node has it, else node's. */
int field_error(struct field_ctx *ctx, const struct yaml_node *node, const char *sub,
		const char *fmt, ...) format_like(4, 5);

/* As field_error, for what is taken all the same. */
void field_warn(struct field_ctx *ctx, const struct yaml_node *node, const char *sub,
		const char *fmt, ...) format_like(4, 5);

/* A path as seen from the folder of ctx's file, absolute; the caller frees. */
char *field_path(const struct field_ctx *ctx, const char *path);

/* Goes one step down in ctx's path (".name" or "[i]"); the result restores it with field_leave. */
size_t field_enter(struct field_ctx *ctx, const char *name);
size_t field_enter_item(struct field_ctx *ctx, size_t i);
void field_leave(struct field_ctx *ctx, size_t mark);

/* The field at a dotted path ("delay.latency"), through objects and lists; NULL when none. */
const struct field *field_find(const struct schema *schema, const char *path);

/* The names of a schema's fields, those of an inlined variant among them, for suggestions and
 * documentation; without ignored and refused ones. The caller frees the array only. */
const char **field_names(const struct schema *schema, size_t *ret_n);
