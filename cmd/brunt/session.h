/*
 * session - experiments run one after another on one event loop
 *
 * Ctrl-C, SIGTERM and a closed terminal interrupt the run that is on; those after it are not begun.
 */
#pragma once

#include "verb.h"

#include "../../lib/engine.h"

/* Where selectors look that name no namespaces, in manifests that name none: -n and -A. */
struct session_scope {
	const char *ns;
	bool all;
};

/* Loads the manifests named by -f and by the arguments; what is wrong with them, and what is
 * odd, goes to stderr.
 * NULL when anything was wrong. */
struct experiment_set *session_load(const char *verb, const struct strlist *files,
				    const struct strlist *args, const struct session_scope *scope,
				    struct err *e);

struct session_hooks {
	/* Before a run starts and after it has ended; either may be NULL. */
	int (*before)(void *data, struct engine *en, struct sd_event *loop, struct err *e);
	void (*after)(void *data, const struct engine *en);
	void *data;
};

/* The worst exit code of all; an experiment that could not be started has set e. */
int session_run(const struct experiment_set *set, const struct engine_options *o,
		int64_t jitter_ns, const struct session_hooks *hooks, struct err *e);
