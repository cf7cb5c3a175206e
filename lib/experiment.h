/*
 * experiment - what the user wrote, checked and bound
 *
 * Flow:    [experiment] -> plan -> journal -> inject -> observe -> recover -> verdict -> report
 * Owns:    an experiment_set owns its experiments, their specs and the parsed files
 * Errors:  all errors of all files are collected in diags; nothing is partly accepted
 *
 * A fault's kind standing alone becomes an experiment with one fault and no SLOs
 * (name from metadata, fault window = its duration, else EXPERIMENT_FAULT_NS).
 */
#pragma once

#include "base/diag.h"
#include "base/field.h"
#include "fault/driver.h"
#include "slo/slo.h"
#include "target/selector.h"

#define EXPERIMENT_FAULT_NS (30 * NSEC_PER_SEC)

struct fault_spec {
	char *name; /* unique in the experiment; "fault-1" when none was given */
	int64_t at_ns;       /* from the start of the fault window */
	int64_t duration_ns; /* the one that counts, given or not */
	struct tolerance tolerance; /* copied to params */
	const struct fault_driver *driver;
	void *params; /* driver->schema->size bytes; begins with a struct fault_common */
	const char *file;
	int line, column;
};

struct abort_spec {
	char *slo;
	char *when;  /* an objective's text: "p99 > 5s" */
	struct objective condition;
	int64_t for_ns;
	int64_t window_ns; /* what the statistic is taken over */
};

struct blast_radius {
	int64_t max_targets;  /* 0: no bound */
	int64_t max_percent;  /* of the selectable targets; 0: no bound */
};

struct experiment {
	char *file; /* where it was read; relative paths inside are relative to its folder */
	char *api_version;
	char *name;
	char *generate_name;
	char *ns;   /* metadata.namespace: where selectors look that name no namespace */
	char *kind; /* of the document it came from */
	bool is_object; /* a fault's kind that stood alone, or some of one file: over with its last fault */
	struct kvs labels, annotations;
	char *hypothesis;
	int64_t seed;
	bool seed_given;
	char *source; /* a row of target/sources.def; NULL: lab if there is one, else netns */
	struct strlist lab_manifests; /* absolute paths */
	bool has_lab;
	struct strlist load_command;
	int64_t baseline_ns, fault_ns, recovery_ns;
	struct slo_spec *slos;
	size_t n_slos;
	struct abort_spec *aborts;
	size_t n_aborts;
	struct blast_radius blast_radius;
	struct fault_spec *faults;
	size_t n_faults;
};

/* -ECANCELED when Chaos Mesh's annotation experiment.chaos-mesh.org/pause holds it back. */
int experiment_check_paused(const struct experiment *x, struct err *e);

/* Calls fn for each objective that cannot get the samples it takes: said before the time is spent. */
void experiment_foresee(const struct experiment *x, void (*fn)(void *data, const char *text), void *data);

struct experiment_set {
	struct experiment **items;
	size_t n;
	struct yaml **files;
	size_t n_files;
};

/* Loads files, directories (*.yaml, *.yml, sorted) and "-". 0, or -EINVAL with diags filled and
 * *ret NULL. */
int experiment_load(const char *const *paths, size_t n, struct diags *d,
		    struct experiment_set **ret);
int experiment_load_text(const char *file, const char *text, size_t len, struct diags *d,
			 struct experiment_set **ret);
/*
 * Makes one experiment of the faults' kinds that stand alone in one file, since a cluster would run
 * them together too. Those that are paused stay apart. Calls fn for each file where it did.
 */
void experiment_set_join(struct experiment_set *set, void (*fn)(void *data, const char *text), void *data);
void experiment_set_free(struct experiment_set *set);
DEFINE_AUTOPTR(experiment_set, experiment_set_free);

/* Where selectors of faults and SLOs look that name no namespaces; NULL: in all. */
void experiment_set_namespace(struct experiment *x, const char *ns);

/* The schema of a kind's spec ("Experiment", "NetworkChaos", ...); NULL when unknown. */
const struct schema *experiment_schema(const char *kind);
const char *experiment_api_version(const char *kind);
/* What stands around every kind's spec: apiVersion, kind, metadata. */
extern const struct schema experiment_head_schema;
/* All kinds, NULL-terminated, sorted; valid for the life of the process. */
const char *const *experiment_kinds(void);
/* A commented template of a kind that validates as it is; the caller frees. NULL when unknown. */
char *experiment_template(const char *kind);
/* Documentation of "KIND" or "KIND.field.path" ("spec." may be left out), from the tables alone;
 * -ENOENT with the nearest name when there is no such thing. The caller frees *ret. */
int experiment_explain(const char *path, char **ret, struct err *e);
