#include "plan.h"

#include "base/clock.h"
#include "base/units.h"
#include "blast.h"
#include "target/target_set.h"

#include <errno.h>
#include <inttypes.h>

int64_t plan_start_ns(const struct fault_spec *spec)
{
	return spec->at_ns;
}

int64_t plan_end_ns(const struct experiment *x, const struct fault_spec *spec)
{
	if (!spec->duration_ns)
		return x->fault_ns;
	return MIN_OF(spec->at_ns + spec->duration_ns, x->fault_ns);
}

char *plan_target_name(const struct target *t, bool *ret_machine_wide)
{
	const struct netns_id *id = &t->netns_id;

	*ret_machine_wide = id->ino && !t->host_network;
	if (*ret_machine_wide)
		return xasprintf("target/netns/%" PRIu64 ":%" PRIu64 ":%" PRIu64, id->dev, id->ino,
				 id->cookie);
	return xasprintf("target/%s/%s", t->ns, t->name);
}

void plan_fault_free(struct plan_fault *pf)
{
	if (!pf)
		return;
	if (pf->fault.driver->release)
		pf->fault.driver->release(&pf->fault);
	undo_list_done(&pf->fault.undo);
	target_list_done(&pf->fault.targets);
	target_list_done(&pf->fault.peers);
	strlist_done(&pf->ops);
	free(pf);
}

void plan_free(struct plan *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_faults; i++)
		plan_fault_free(p->faults[i]);
	free(p->faults);
	free(p);
}

static bool overlap_in_time(const struct experiment *x, const struct fault_spec *a,
			    const struct fault_spec *b)
{
	return plan_start_ns(a) < plan_end_ns(x, b) && plan_start_ns(b) < plan_end_ns(x, a);
}

static bool is_earlier(const struct fault_spec *a, const struct fault_spec *b)
{
	int64_t x = plan_start_ns(a), y = plan_start_ns(b);

	return x != y ? x < y : a < b;
}

static bool takes_order(const struct fault_spec *spec)
{
	return !spec->driver->takes_order || spec->driver->takes_order(spec->params);
}

static bool wants_same_order(const struct experiment *x, size_t a, size_t b, const bool *share)
{
	const struct fault_spec *p = &x->faults[a], *q = &x->faults[b];

	return p->driver == q->driver && (!share || share[a * x->n_faults + b]) &&
	       takes_order(p) && takes_order(q) && overlap_in_time(x, p, q);
}

/*
 * ordered[i]: the i-th fault's order is known. Answers one more fault, the earliest left. share says
 * which faults have a target in common, in rows; NULL: any may.
 */
static size_t give_order(const struct experiment *x, bool *ordered, unsigned *orders,
			 const bool *share)
{
	size_t next = x->n_faults;
	bool taken;

	for (size_t i = 0; i < x->n_faults; i++)
		if (!ordered[i] &&
		    (next == x->n_faults || is_earlier(&x->faults[i], &x->faults[next])))
			next = i;
	do {
		taken = false;
		for (size_t i = 0; i < x->n_faults && !taken; i++)
			taken = ordered[i] && orders[i] == orders[next] &&
				wants_same_order(x, i, next, share);
		orders[next] += taken;
	} while (taken);
	ordered[next] = true;
	return next;
}

unsigned plan_order(const struct experiment *x, const struct fault_spec *spec)
{
	autofree bool *ordered = xcalloc(x->n_faults, sizeof *ordered);
	autofree unsigned *orders = xcalloc(x->n_faults, sizeof *orders);
	size_t i;

	do
		i = give_order(x, ordered, orders, NULL);
	while (&x->faults[i] != spec);
	return orders[i];
}

static int refuse_common(const struct fault_spec *spec, const struct target_list *targets,
			 struct err *e)
{
	const struct fault_common *common = spec->params;

	if (common->remote_cluster)
		return err_set(e, ENOTSUP, "remoteCluster %s: brunt works on one cluster or machine at a "
			       "time", common->remote_cluster);
	return selection_check_containers(&common->selection, targets, e);
}

int plan_fault_new(const struct fault_spec *spec, unsigned order,
		   const struct target_list *targets, const struct target_list *peers,
		   const struct fault_env *env, struct plan_fault **ret, struct err *e)
{
	autoptr(plan_fault) pf = xcalloc(1, sizeof *pf);
	int64_t start = clock_now_ns();
	int r;

	pf->spec = spec;
	pf->fault = (struct fault){
		.driver = spec->driver,
		.params = spec->params,
		.name = spec->name,
		.duration_ns = spec->duration_ns,
		.order = order,
		.env = env,
	};
	target_list_copy(&pf->fault.targets, targets);
	target_list_copy(&pf->fault.peers, peers);
	pf->n_matched = targets->n;
	r = refuse_common(spec, targets, e);
	if (r < 0)
		return r;
	if (targets->n) {
		r = spec->driver->plan(&pf->fault, &pf->ops, e);
		if (r < 0)
			return r;
	}
	pf->took_ns = clock_now_ns() - start;
	*ret = take(pf);
	return 0;
}

int plan_choose(const struct fault_spec *spec, const struct target_list *all, uint64_t seed,
		const struct target_list *keep, struct target_list *ret_targets,
		struct target_list *ret_peers, size_t *ret_matched, struct err *e)
{
	const struct fault_common *common = spec->params;
	autofree char *stream = xasprintf("targets/%s", spec->name);
	autofree char *peer_stream = xasprintf("peers/%s", spec->name);
	const struct selection *peers;
	int r;

	r = selection_choose(&common->selection, all, seed, stream, keep, ret_targets, ret_matched,
			     e);
	if (r < 0 || !spec->driver->peer_selection)
		return r;
	peers = spec->driver->peer_selection(spec->params);
	if (!peers || !peers->given)
		return r;
	r = selection_choose(peers, all, seed, peer_stream, NULL, ret_peers, NULL, e);
	return r < 0 ? err_wrap(e, "target") : r;
}

int plan_choose_all(const struct experiment *x, const struct target_list *all, uint64_t seed,
		    struct target_list *ret, struct err *e)
{
	autotargetset known = {0};

	target_set_add_list(&known, ret);
	for (size_t i = 0; i < x->n_faults; i++) {
		autotargets targets = {0}, peers = {0};

		if (plan_choose(&x->faults[i], all, seed, NULL, &targets, &peers, NULL, e) < 0)
			return err_wrap(e, "fault %s", x->faults[i].name);
		for (size_t k = 0; k < targets.n; k++)
			if (target_set_add(&known, targets.items[k]))
				target_list_add(ret, targets.items[k]);
	}
	return 0;
}

/* A peer list that comes out empty would turn "to these" into "to everybody" or "to nobody". */
static int refuse_empty(const struct fault_spec *spec, const struct target_list *all,
			const struct target_list *targets, const struct target_list *peers,
			struct err *e)
{
	const struct fault_common *common = spec->params;
	const struct selection *p =
		spec->driver->peer_selection ? spec->driver->peer_selection(spec->params) : NULL;
	int r;

	if (targets->n == 0)
		r = selection_explain_empty(&common->selection, all, e);
	else if (p && p->given && peers->n == 0)
		r = selection_explain_empty(p, all, e) < 0 ? err_wrap(e, "target") : 0;
	else
		return 0;
	err_hint(e, "correct the selector, or pass --allow-empty if that is no mistake");
	return r;
}

static bool same_target(const struct target *a, const struct target *b)
{
	return a == b || (a->netns_id.ino && netns_same(a->netns_id, b->netns_id) &&
			  !a->host_network);
}

static const struct target *shared_in(const struct target_list *a, const struct target_list *b)
{
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++)
			if (same_target(a->items[i], b->items[k]))
				return a->items[i];
	return NULL;
}

/* By the targets as they are now: faults that have none in common may have the same order. */
static int order_by_targets(const struct experiment *x, const struct target_list *all,
			    uint64_t seed, unsigned *orders, struct err *e)
{
	autofree struct target_list *chosen = xcalloc(x->n_faults, sizeof *chosen);
	autofree bool *share = xcalloc(x->n_faults * x->n_faults, sizeof *share);
	autofree bool *ordered = xcalloc(x->n_faults, sizeof *ordered);
	size_t n = 0;
	int r = 0;

	for (; r == 0 && n < x->n_faults; n++) {
		autotargets peers = {0};

		r = plan_choose(&x->faults[n], all, seed, NULL, &chosen[n], &peers, NULL, e);
		for (size_t k = 0; r == 0 && k <= n; k++)
			share[n * x->n_faults + k] = share[k * x->n_faults + n] =
				shared_in(&chosen[n], &chosen[k]);
	}
	memset(orders, 0, x->n_faults * sizeof *orders);
	for (size_t i = 0; r == 0 && i < x->n_faults; i++)
		give_order(x, ordered, orders, share);
	for (size_t i = 0; i < n; i++)
		target_list_done(&chosen[i]);
	return r;
}

/* Which follows from the experiment alone where that is enough: a later target changes nothing. */
static int give_orders(const struct experiment *x, const struct target_list *all, uint64_t seed,
		       unsigned *orders, struct err *e)
{
	bool too_many = false;

	for (size_t i = 0; i < x->n_faults; i++) {
		unsigned max = x->faults[i].driver->max_orders;

		orders[i] = plan_order(x, &x->faults[i]);
		too_many |= max && orders[i] >= max;
	}
	return too_many ? order_by_targets(x, all, seed, orders, e) : 0;
}

static int add_fault(struct plan *p, const struct fault_spec *spec, unsigned order,
		     const struct target_list *all,
		     const struct fault_env *env, bool allow_empty, struct err *e)
{
	autotargets targets = {0}, peers = {0};
	struct plan_fault *pf;
	size_t matched = 0;
	int r;

	r = plan_choose(spec, all, env->seed, NULL, &targets, &peers, &matched, e);
	if (r == 0 && !allow_empty)
		r = refuse_empty(spec, all, &targets, &peers, e);
	if (r == 0)
		r = plan_fault_new(spec, order, &targets, &peers, env, &pf, e);
	if (r < 0)
		return r;
	pf->n_matched = matched;
	*array_push(p->faults, p->n_faults) = pf;
	return 0;
}

static const struct target *shared_target(const struct plan_fault *a, const struct plan_fault *b)
{
	return shared_in(&a->fault.targets, &b->fault.targets);
}

static int check_pair(const struct experiment *x, const struct plan_fault *a,
		      const struct plan_fault *b, struct err *e)
{
	const struct fault_driver *d = a->spec->driver;
	const struct target *t;
	const char *why;

	if (d != b->spec->driver || !d->conflict || !overlap_in_time(x, a->spec, b->spec))
		return 0;
	why = d->conflict(a->spec->params, b->spec->params);
	t = shared_target(a, b);
	if (!why || !t)
		return 0;
	err_set(e, EBUSY, "fault %s and fault %s cannot be on %s/%s at one time: %s", a->spec->name,
		b->spec->name, t->ns, t->name, why);
	err_hint(e, "merge them into one fault, or let one end before the other begins");
	return -EBUSY;
}

/* Said in the plan of the one that comes later. */
static void tell_together(const struct experiment *x, struct plan_fault *a, struct plan_fault *b)
{
	const struct fault_driver *d = a->spec->driver;
	int64_t start = MAX_OF(plan_start_ns(a->spec), plan_start_ns(b->spec));
	int64_t end = MIN_OF(plan_end_ns(x, a->spec), plan_end_ns(x, b->spec));
	char from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];
	autofree char *op = NULL;
	const struct target *t;
	autostr how = {0};

	if (a->fault.order > b->fault.order) {
		tell_together(x, b, a);
		return;
	}
	t = shared_target(a, b);
	if (!t || !d->together || d != b->spec->driver || !overlap_in_time(x, a->spec, b->spec))
		return;
	d->together(&a->fault, &b->fault, &how);
	op = xasprintf("from %s to %s with fault %s on %s/%s: %s", units_duration(start, from),
		       units_duration(end, to), a->spec->name, t->ns, t->name, how.s);
	strlist_add(&b->ops, op);
}

static int check_pairs(const struct plan *p, struct err *e)
{
	for (size_t i = 0; i < p->n_faults; i++)
		for (size_t k = i + 1; k < p->n_faults; k++) {
			int r = check_pair(p->x, p->faults[i], p->faults[k], e);

			if (r < 0)
				return r;
			tell_together(p->x, p->faults[i], p->faults[k]);
		}
	return 0;
}

void plan_targets(const struct plan *p, struct target_list *ret)
{
	autotargetset known = {0};

	for (size_t i = 0; i < p->n_faults; i++) {
		const struct target_list *l = &p->faults[i]->fault.targets;

		for (size_t k = 0; k < l->n; k++)
			if (target_set_add(&known, l->items[k]))
				target_list_add(ret, l->items[k]);
	}
}

static int check_blast(const struct plan *p, const struct target_list *all, struct err *e)
{
	autofree struct blast_part *parts = xcalloc(p->n_faults, sizeof *parts);

	for (size_t i = 0; i < p->n_faults; i++)
		parts[i] = (struct blast_part){p->faults[i]->spec, &p->faults[i]->fault.targets};
	return blast_check(p->x, all, parts, p->n_faults, e);
}

int plan_build(const struct experiment *x, const struct target_list *all,
	       const struct fault_env *env, bool allow_empty, struct plan **ret, struct err *e)
{
	autoptr(plan) p = xcalloc(1, sizeof *p);
	autofree unsigned *orders = xcalloc(x->n_faults, sizeof *orders);
	int r;

	p->x = x;
	if (give_orders(x, all, env->seed, orders, e) < 0)
		return -e->code;
	for (size_t i = 0; i < x->n_faults; i++)
		if (add_fault(p, &x->faults[i], orders[i], all, env, allow_empty, e) < 0)
			return err_wrap(e, "fault %s", x->faults[i].name);
	r = check_blast(p, all, e);
	if (r == 0)
		r = check_pairs(p, e);
	if (r < 0)
		return r;
	*ret = take(p);
	return 0;
}

static json_t *names_json(const struct target_list *l)
{
	json_t *names = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(names, json_sprintf("%s/%s", l->items[i]->ns,
							  l->items[i]->name));
	return names;
}

static json_t *fault_json(const struct experiment *x, const struct plan_fault *pf)
{
	json_t *ops = json_array();

	for (size_t i = 0; i < pf->ops.n; i++)
		json_array_append_new(ops, json_string(pf->ops.items[i]));
	return json_pack("{s:s, s:s, s:s?, s:I, s:I, s:I, s:o, s:o, s:o}", "name", pf->spec->name,
			 "kind", pf->spec->driver->kind, "backend", pf->fault.backend, "start_ms",
			 (json_int_t)(plan_start_ns(pf->spec) / NSEC_PER_MSEC), "end_ms",
			 (json_int_t)(plan_end_ns(x, pf->spec) / NSEC_PER_MSEC), "matched",
			 (json_int_t)pf->n_matched, "targets", names_json(&pf->fault.targets),
			 "peers", names_json(&pf->fault.peers), "ops", ops);
}

json_t *plan_json(const struct plan *p)
{
	json_t *faults = json_array();
	autotargets all = {0};

	plan_targets(p, &all);
	for (size_t i = 0; i < p->n_faults; i++)
		json_array_append_new(faults, fault_json(p->x, p->faults[i]));
	return json_pack("{s:s, s:s?, s:I, s:o}", "experiment", p->x->name, "hypothesis",
			 p->x->hypothesis, "targets", (json_int_t)all.n, "faults", faults);
}
