/*
 * experiment_schema - the tables of kind Experiment and of what every kind has; for experiment_*.c
 */
#pragma once

#include "experiment.h"

extern const struct schema experiment_spec_schema;

/* Rules that reach across parts of an Experiment. Looks at whatever was bound and skips what is
 * missing: that has been reported already. */
void experiment_check(const struct experiment *x, const struct yaml_node *spec,
		      struct field_ctx *ctx);

/* "StressChaos is not supported yet" for a kind of Chaos Mesh that has no driver here, NULL for
 * anything else; the caller frees. */
char *experiment_unsupported_kind(const char *kind);
/* Reports what is wrong with a kind that is not in experiment_kinds(). */
int experiment_unknown_kind(const char *kind, const struct yaml_node *doc, struct field_ctx *ctx);

/* Binds one document, reporting into d; never NULL, and good for experiment_free in any case. */
struct experiment *experiment_bind(const struct yaml *y, const struct yaml_node *doc,
				   struct diags *d);
void experiment_free(struct experiment *x);
