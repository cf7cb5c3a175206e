#include "observe.h"

#include "base/units.h"

#include <stdio.h>

static void emit(const struct injection *in, enum event_type type, const char *name,
		 const char *text)
{
	event_emit(in->pf->fault.env->listener,
		   (struct event){.type = type, .name = name, .text = text});
}

static void measure(struct injection *in)
{
	struct fault *f = &in->pf->fault;
	struct effect now = {0};
	struct err e = {0};
	char text[sizeof now.requested + sizeof now.measured + 16];

	if (!f->driver->effect) {
		now.state = EFFECT_MEASURED;
		snprintf(now.requested, sizeof now.requested, "%s", f->driver->kind);
	} else if (f->driver->effect(f, &now, &e) < 0) {
		snprintf(now.measured, sizeof now.measured, "%.*s", (int)sizeof now.measured - 1, e.text);
		now.state = EFFECT_UNKNOWN;
	}
	in->effect = now;
	if (in->effect_told || now.state != EFFECT_MEASURED)
		return;
	in->effect_told = true;
	snprintf(text, sizeof text, "%s: %s", now.requested,
		 now.measured[0] ? now.measured : "read back");
	emit(in, EVENT_EFFECT, f->name, text);
}

struct run_injections {
	struct injection *const *all;
	size_t n;
};

static bool killed_by_run(const struct run_injections *run, const struct target *t)
{
	autofree char *id = target_id(t);

	for (size_t i = 0; i < run->n; i++)
		if (run->all[i]->pf->spec->driver->one_shot && run->all[i]->presence.on_ns &&
		    strlist_has(&run->all[i]->names, id))
			return true;
	return false;
}

static bool is_down_by_run(void *data, const struct target *t)
{
	return !t->ready && killed_by_run(data, t);
}

void observe_fault(struct injection *in, struct injection *const *all, size_t n, bool last)
{
	struct run_injections run = {all, n};
	struct fault *f = &in->pf->fault;
	struct err e = {0};

	if (in->state != INJECTION_ON)
		return;
	/* Before the tick, which may write what somebody else has just changed. */
	presence_look(&in->presence, f, last, is_down_by_run, &run);
	if (f->driver->tick && f->driver->tick(f, &e) < 0)
		emit(in, EVENT_WARNING, f->name, e.text);
	measure(in);
}

static void warn(void *data, const char *text)
{
	event_emit(data, (struct event){.type = EVENT_WARNING, .text = text});
}

void observe_foresee(const struct experiment *x, const struct listener *l)
{
	experiment_foresee(x, warn, (void *)l);
}

char *observe_abort(const struct experiment *x, struct slo *const *slos, int64_t now_ns)
{
	for (size_t i = 0; i < x->n_aborts; i++) {
		const struct abort_spec *a = &x->aborts[i];
		char lasted[UNITS_TEXT_MAX];

		for (size_t k = 0; k < x->n_slos; k++) {
			if (!streq(x->slos[k].name, a->slo))
				continue;
			if (!slo_condition_held(slos[k], &a->condition, a->window_ns, a->for_ns,
						now_ns))
				continue;
			if (!a->for_ns)
				return xasprintf("%s: %s", a->slo, a->when);
			return xasprintf("%s: %s for %s", a->slo, a->when,
					 units_duration(a->for_ns, lasted));
		}
	}
	return NULL;
}

static bool has(const struct target_list *l, const struct target *t)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i] == t)
			return true;
	return false;
}

static bool still_there(const struct captured_target *c, const struct target_list *chosen)
{
	return has(chosen, c->target) && netns_same(c->target->netns_id, c->netns_id);
}

static bool same_list(const struct target_list *a, const struct target_list *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!has(b, a->items[i]))
			return false;
	return true;
}

static void move_list(struct target_list *dst, struct target_list *src)
{
	target_list_done(dst);
	*dst = *src;
	*src = (struct target_list){0};
}

/* One that only is chosen no more was let go on purpose. */
static void note_absence(struct injection *in, const struct captured_target *c, const char *id,
			 const struct run_injections *run)
{
	bool same = netns_same(c->target->netns_id, c->netns_id);

	if (killed_by_run(run, c->target) || (*c->target->phase && same))
		presence_leave(&in->presence, id);
	else
		presence_gone(&in->presence, &in->pf->fault, id,
			      *c->target->phase ? "it was started anew, in another network namespace"
						: "the target is gone");
}

/* Those of the fault's own that are left, in left; each that is not is told of. */
static void let_go(struct injection *in, const struct target_list *chosen,
		   const struct run_injections *run,
		   void (*gone)(void *data, const struct captured_target *c), void *data,
		   struct target_list *left)
{
	size_t kept = 0;

	for (size_t i = 0; i < in->n_captured; i++) {
		struct captured_target *c = &in->captured[i];
		autofree char *id = target_id(c->target);

		if (still_there(c, chosen)) {
			target_list_add(left, c->target);
			in->captured[kept++] = *c;
			continue;
		}
		note_absence(in, c, id, run);
		emit(in, EVENT_TARGET_GONE, id, in->pf->spec->name);
		gone(data, c);
		target_unref(c->target);
	}
	in->n_captured = kept;
}

static int update(struct injection *in, const struct target_list *chosen,
		  const struct target_list *peers, const struct run_injections *run,
		  void (*gone)(void *data, const struct captured_target *c), void *data,
		  struct err *e)
{
	struct fault *f = &in->pf->fault;
	autotargets left = {0};
	bool changed;
	int r = 0;

	let_go(in, chosen, run, gone, data, &left);
	changed = left.n != f->targets.n || !same_list(peers, &f->peers);
	if (changed) {
		target_list_done(&f->peers);
		target_list_copy(&f->peers, peers);
	}
	if (changed && f->driver->retarget)
		r = f->driver->retarget(f, &left, e);
	move_list(&f->targets, &left);
	return r;
}

int observe_targets(const struct fault_spec *spec, struct injection *const *all, size_t n,
		    const struct target_list *listed, uint64_t seed,
		    void (*gone)(void *data, const struct captured_target *c), void *data,
		    struct target_list *ret_came, struct err *e)
{
	const struct run_injections run = {all, n};
	autotargets held = {0}, chosen = {0}, peers = {0};
	int r;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; all[i]->pf->spec == spec && all[i]->state != INJECTION_OFF &&
				   k < all[i]->pf->fault.targets.n; k++)
			target_list_add(&held, all[i]->pf->fault.targets.items[k]);
	r = plan_choose(spec, listed, seed, &held, &chosen, &peers, NULL, e);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (all[i]->pf->spec == spec && all[i]->state == INJECTION_ON)
			r = update(all[i], &chosen, &peers, &run, gone, data, e);
	for (size_t i = 0; r == 0 && i < chosen.n; i++)
		if (!has(&held, chosen.items[i]))
			target_list_add(ret_came, chosen.items[i]);
	return r;
}
