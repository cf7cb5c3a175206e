/*
 * plan_set - the plans of experiments, as `brunt plan` and `brunt run --dry-run` print them
 */
#pragma once

#include "output.h"
#include "session.h"

/* o->plan_only is set; output is "json" or NULL for text. */
int plan_set(const struct globals *g, const struct experiment_set *set,
	     const struct engine_options *o, enum output output, struct err *e);
