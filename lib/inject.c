#include "inject.h"

#include "base/clock.h"

#include <errno.h>

static const char *const state_names[] = {
	[INJECTION_WAITING] = "waiting",
	[INJECTION_PREPARING] = "preparing",
	[INJECTION_ON] = "on",
	[INJECTION_OFF] = "off",
};

const char *injection_state_name(enum injection_state s)
{
	return state_names[s];
}

struct injection *injection_new(struct plan_fault *pf)
{
	struct injection *in = xcalloc(1, sizeof *in);

	in->pf = pf;
	return in;
}

void injection_free(struct injection *in)
{
	if (!in)
		return;
	for (size_t i = 0; i < in->n_captured; i++)
		target_unref(in->captured[i].target);
	free(in->captured);
	strlist_done(&in->names);
	json_decref(in->detail);
	presence_done(&in->presence);
	plan_fault_free(in->pf);
	free(in);
}

/* The oldest record with a snapshot that a fault of this kind, still on, has of the target. */
static const struct undo *earlier_record(const struct injection *in, const char *target,
					 struct injection *const *all, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct undo_list *l = &all[i]->pf->fault.undo;

		if (all[i] == in || all[i]->state < INJECTION_PREPARING ||
		    all[i]->state == INJECTION_OFF ||
		    all[i]->pf->fault.driver != in->pf->fault.driver)
			continue;
		for (size_t k = 0; k < l->n; k++)
			if (l->items[k].before && streq(l->items[k].target, target))
				return &l->items[k];
	}
	return NULL;
}

bool inject_shares_target(const struct injection *in, const struct undo *u,
			  struct injection *const *all, size_t n)
{
	return earlier_record(in, u->target, all, n) != NULL;
}

static void capture_identity(struct injection *in)
{
	const struct target_list *l = &in->pf->fault.targets;

	for (size_t i = 0; i < l->n; i++) {
		autofree char *id = target_id(l->items[i]);

		strlist_add(&in->names, id);
		*array_push(in->captured, in->n_captured) = (struct captured_target){
			.target = target_ref(l->items[i]),
			.netns_id = l->items[i]->netns_id,
		};
	}
}

/* before[i] is the snapshot of the i-th target, to free. */
static int take_snapshots(struct injection *in, char **before, struct injection *const *all,
			  size_t n, struct err *e)
{
	struct fault *f = &in->pf->fault;

	for (size_t i = 0; f->driver->snapshot && i < f->targets.n; i++) {
		const struct target *t = f->targets.items[i];
		autofree char *id = target_id(t);
		const struct undo *earlier = earlier_record(in, id, all, n);
		autostr now = {0};

		if (earlier) {
			before[i] = xstrdup(earlier->before);
			continue;
		}
		if (f->driver->snapshot(f, t, &now, e) < 0)
			return err_wrap(e, "%s", id);
		before[i] = str_take(&now);
	}
	return 0;
}

static void attach_snapshots(struct fault *f, char **before)
{
	for (size_t i = 0; i < f->targets.n; i++) {
		autofree char *id = target_id(f->targets.items[i]);

		for (size_t k = 0; k < f->undo.n && before[i]; k++)
			if (!f->undo.items[k].before && streq(f->undo.items[k].target, id))
				f->undo.items[k].before = take(before[i]);
	}
}

int inject_capture(struct injection *in, struct injection *const *all, size_t n, struct err *e)
{
	struct fault *f = &in->pf->fault;
	autofree char **before = xcalloc(f->targets.n, sizeof *before);
	int64_t start = clock_now_ns();
	int r;

	r = take_snapshots(in, before, all, n, e);
	if (r == 0 && f->driver->prepare)
		r = f->driver->prepare(f, e);
	if (r == 0)
		attach_snapshots(f, before);
	for (size_t i = 0; i < f->targets.n; i++)
		free(before[i]);
	capture_identity(in);
	in->state = INJECTION_PREPARING;
	in->prepare_ns = clock_now_ns() - start;
	return r;
}

int inject_apply(struct injection *in, struct err *e)
{
	int64_t start = clock_now_ns();
	int r;

	in->state = INJECTION_ON; /* from here on there may be something to revert */
	r = in->pf->fault.driver->inject(&in->pf->fault, e);
	in->inject_ns = clock_now_ns() - start;
	if (r == 0)
		presence_begin(&in->presence, &in->pf->fault);
	return r;
}
