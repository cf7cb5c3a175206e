/*
 * plan - which targets, which kernel operations, how far it reaches; nothing is touched
 *
 * Flow:    experiment -> [plan] -> journal
 * Owns:    a plan owns its faults and what their drivers made; experiment and env are borrowed
 * Threads: the loop's thread only
 * Errors:  an empty selection, a blast radius that is too large, two faults that cannot share a
 *          target, and every refusal of a driver's preflight; the fault's name stands in front
 */
#pragma once

#include "experiment.h"

struct plan_fault {
	const struct fault_spec *spec;
	struct fault fault;
	struct strlist ops;
	size_t n_matched; /* by the selector, before mode and value */
	int64_t took_ns;
};

struct plan {
	const struct experiment *x;
	struct plan_fault **faults;
	size_t n_faults;
};

int plan_build(const struct experiment *x, const struct target_list *all,
	       const struct fault_env *env, bool allow_empty, struct plan **ret, struct err *e);
void plan_free(struct plan *p);
DEFINE_AUTOPTR(plan, plan_free);

/* One fault for given targets; what plan_build makes of each spec. A fault that is planned again, or
 * for targets that came, keeps its order. */
int plan_fault_new(const struct fault_spec *spec, unsigned order,
		   const struct target_list *targets, const struct target_list *peers,
		   const struct fault_env *env, struct plan_fault **ret, struct err *e);
void plan_fault_free(struct plan_fault *pf);
DEFINE_AUTOPTR(plan_fault, plan_fault_free);

/* The targets and peers of a spec among all; those in keep stay while they match. */
int plan_choose(const struct fault_spec *spec, const struct target_list *all, uint64_t seed,
		const struct target_list *keep, struct target_list *ret_targets,
		struct target_list *ret_peers, size_t *ret_matched, struct err *e);

/* The targets that plan_build will choose, each once, without asking any driver. */
int plan_choose_all(const struct experiment *x, const struct target_list *all, uint64_t seed,
		    struct target_list *ret, struct err *e);

/* When the fault is on, as offsets in the fault window. */
int64_t plan_start_ns(const struct fault_spec *spec);
int64_t plan_end_ns(const struct experiment *x, const struct fault_spec *spec);

/* The fault's place among those of its kind that overlap it in time: the least that none of them
 * has, the earlier one first; 0 for one that takes none. It follows from the experiment alone;
 * plan_build, when that gives more orders than the kind has, looks at the targets too. */
unsigned plan_order(const struct experiment *x, const struct fault_spec *spec);

/* The name under which a run holds a target (lock_name): its network namespace where it has one
 * of its own, which is known on the whole machine, so that no two sources or state directories can
 * both hold it. The caller frees. */
char *plan_target_name(const struct target *t, bool *ret_machine_wide);
/* All targets of all faults, each once. */
void plan_targets(const struct plan *p, struct target_list *ret);

json_t *plan_json(const struct plan *p);
