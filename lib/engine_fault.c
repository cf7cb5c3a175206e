/*
 * The life of one fault, each step called by the completion of the one before:
 *
 *   start    its time has come; the selection is looked at again
 *   capture  snapshots and undo records; nothing has changed yet
 *   journal  the records are committed, on the journal's thread
 *   arm      the guard holds the namespaces and knows the time
 *   inject   the change, read back from the kernel
 *   ...      observed in every evaluation period
 *   end      off, revert, compare with the snapshot, mark the records
 *
 * A run that is being stopped lets the faults in flight land before it goes on: between journal
 * and guard nothing has changed, so their records are marked as undone.
 */
#include "engine_state.h"

#include "base/clock.h"
#include "blast.h"
#include "base/units.h"

#include <errno.h>
#include <stdio.h>

static const char *name_of(const struct fault_run *fr)
{
	return fr->in->pf->spec->name;
}

static struct fault *fault_of(const struct fault_run *fr)
{
	return &fr->in->pf->fault;
}

/* Marking ------------------------------------------------------------------------------------- */

struct marks {
	struct engine *en;
	int64_t *ids;
	size_t n;
};

static int write_marks(struct journal *j, void *arg, struct err *e)
{
	struct marks *m = arg;

	return journal_mark_undone(j, m->ids, m->n, e);
}

static void marks_written(void *arg, int r, const struct err *e)
{
	struct marks *m = arg;

	/* Nothing is lost: `recover` reverts once more, and finds it done. */
	if (r < 0)
		engine_emit(m->en, EVENT_WARNING, NULL, e->text, 0);
	free(m->ids);
	free(m);
}

/* rows: one a record, NULL when all are undone. */
static void mark_undone(struct engine *en, const struct undo *undo, size_t n,
			const struct restored *rows)
{
	struct marks *m = xcalloc(1, sizeof *m);

	m->en = en;
	m->ids = xcalloc(n, sizeof *m->ids);
	for (size_t i = 0; i < n; i++)
		if (undo[i].id && !(rows && restored_is_left(&rows[i])))
			m->ids[m->n++] = undo[i].id;
	if (en->guard)
		guard_undone(en->guard, m->ids, m->n);
	committer_submit(en->committer, write_marks, marks_written, m);
}

/* Start to inject ----------------------------------------------------------------------------- */

/* A target that came during the fault may be refused; one that was planned may not. */
static void failed(struct fault_run *fr, struct err *e)
{
	struct engine *en = fr->en;

	err_wrap(e, "fault %s", name_of(fr));
	if (!fr->in->late) {
		engine_fail(en, e);
		return;
	}
	engine_emit(en, EVENT_WARNING, name_of(fr), e->text, 0);
	for (size_t i = 0; i < fault_of(fr)->targets.n; i++)
		target_list_add(&en->refused, fault_of(fr)->targets.items[i]);
}

/* In flight no more, without having been injected. */
static void give_up(struct fault_run *fr, struct err *e)
{
	struct engine *en = fr->en;

	en->in_flight--;
	if (fr->in->state == INJECTION_PREPARING)
		mark_undone(en, fault_of(fr)->undo.items, fault_of(fr)->undo.n, NULL);
	fr->in->state = INJECTION_OFF;
	if (e)
		failed(fr, e);
	engine_landed(en);
}

static void revert_some(struct engine *en, struct fault_run **some, size_t n);

static void look(struct fault_run *fr, bool last)
{
	if (!fr->in->ended)
		observe_fault(fr->in, fr->en->injections, fr->en->n_faults, last);
}

static bool is_quick(const struct injection *in)
{
	return !in->pf->fault.driver->slow && !in->pf->fault.driver->one_shot;
}

/* A revert holds the loop up; while that of a slow kind waits for an answer, no other fault that
 * is on could end in its time. */
static bool would_hold_up(const struct engine *en, const struct fault_run *fr)
{
	for (size_t i = 0; !is_quick(fr->in) && i < en->n_faults; i++)
		if (is_quick(en->injections[i]) && en->injections[i]->state != INJECTION_OFF)
			return true;
	return false;
}

static void end_fault(struct fault_run *fr)
{
	struct fault *f = fault_of(fr);

	if (!would_hold_up(fr->en, fr)) {
		revert_some(fr->en, &fr, 1);
		return;
	}
	if (f->driver->off)
		f->driver->off(f);
	fr->in->ended = true;
}

/* Whose revert waited, once nothing is on that it could hold up. */
static void revert_ended(struct engine *en)
{
	for (size_t i = 0; i < en->n_faults; i++)
		if (en->injections[i]->ended && en->injections[i]->state == INJECTION_ON &&
		    !would_hold_up(en, en->faults[i]))
			revert_some(en, &en->faults[i], 1);
}

static int on_end(sd_event_source *s, uint64_t usec, void *data)
{
	struct fault_run *fr = data;

	if (fr->in->state == INJECTION_ON) {
		look(fr, true);
		end_fault(fr);
		revert_ended(fr->en);
	}
	return 0;
}

static int set_timer(struct fault_run *fr, int64_t offset_ns, sd_event_time_handler_t fn,
		     struct err *e)
{
	int64_t at = fr->en->windows[WINDOW_FAULT].start_ns + offset_ns;
	int r;

	fr->timer = sd_event_source_unref(fr->timer);
	r = sd_event_add_time(fr->en->loop, &fr->timer, CLOCK_MONOTONIC,
			      (uint64_t)(at / NSEC_PER_USEC), 1000, fn, fr);
	return r < 0 ? err_errno(e, -r, "timer") : 0;
}

/* A target that came back has the fault again. */
static void close_gaps(const struct fault_run *fr)
{
	const struct engine *en = fr->en;

	for (size_t i = 0; i < en->n_faults; i++)
		for (size_t k = 0; en->injections[i] != fr->in && k < fr->in->names.n; k++)
			if (en->injections[i]->pf->spec == fr->in->pf->spec)
				presence_back(&en->injections[i]->presence, fr->in->names.items[k]);
}

/* The end of the fault, or of the window if that is earlier, on the clock. */
static int64_t end_of(const struct fault_run *fr)
{
	int64_t end = plan_end_ns(fr->en->x, fr->in->pf->spec);

	return fr->en->windows[WINDOW_FAULT].start_ns + MIN_OF(end, fr->en->x->fault_ns);
}

/* What stood still between its record and now may have come too late. */
static bool is_over(struct fault_run *fr)
{
	int64_t late_ns = clock_now_ns() - end_of(fr);
	char late[UNITS_TEXT_MAX];
	autofree char *text = NULL;

	if (late_ns < 0)
		return false;
	text = xasprintf("not injected: its time was over %s before all was ready for it",
			 units_duration(late_ns, late));
	engine_emit(fr->en, EVENT_WARNING, name_of(fr), text, 0);
	return true;
}

/* The run has gone on to its end meanwhile; if that is why, the user is told. */
static void comes_too_late(struct fault_run *fr)
{
	is_over(fr);
	give_up(fr, NULL);
}

static void inject(struct fault_run *fr)
{
	struct engine *en = fr->en;
	int64_t end = plan_end_ns(en->x, fr->in->pf->spec);
	struct err e = {0};
	int r;

	if (is_over(fr) || guard_enter(en->guard, &e) < 0) {
		give_up(fr, e.code ? &e : NULL);
		return;
	}
	engine_checkpoint("inject");
	r = inject_apply(fr->in, &e);
	guard_exit(en->guard);
	en->in_flight--;
	if (r == 0 && end < en->x->fault_ns)
		r = set_timer(fr, end, on_end, &e);
	if (r < 0) {
		revert_some(en, &fr, 1);
		failed(fr, &e);
		return;
	}
	if (fr->in->late)
		close_gaps(fr);
	engine_emit(en, fr->in->late ? EVENT_CHANGED : EVENT_INJECTED, name_of(fr),
		    fr->in->late ? "a target came" : fault_of(fr)->backend, fr->in->inject_ns);
	engine_checkpoint("injected");
}

static void armed(void *arg, int r)
{
	struct fault_run *fr = arg;
	struct err e = {0};

	engine_checkpoint("armed");
	if (r < 0) {
		err_errno(&e, -r, "guard");
		give_up(fr, &e);
	} else if (fr->en->stopping) {
		comes_too_late(fr);
	} else {
		inject(fr);
	}
}

static void journaled(void *arg, int r, const struct err *error)
{
	struct fault_run *fr = arg;
	struct engine *en = fr->en;
	struct err e = *error;

	fr->in->journal_ns = clock_now_ns() - fr->in->asked_ns;
	engine_checkpoint("journaled");
	if (r < 0) {
		give_up(fr, &e);
		return;
	}
	if (en->stopping) {
		comes_too_late(fr);
		return;
	}
	engine_emit(en, EVENT_JOURNALED, name_of(fr), NULL, (int64_t)fault_of(fr)->undo.n);
	guard_arm(en->guard, &fault_of(fr)->targets, &fault_of(fr)->undo, en->env.hard_end_ns, armed, fr);
}

static int append(struct journal *j, void *arg, struct err *e)
{
	struct fault_run *fr = arg;
	struct undo_list *l = &fault_of(fr)->undo;

	/* What the revert would refuse to believe must not be injected in the first place. */
	for (size_t i = 0; i < l->n; i++)
		if (undo_vet(&l->items[i], e) < 0)
			return -EPERM;
	return journal_append(j, fr->en->run_id, l->items, l->n, e);
}

static void capture(struct fault_run *fr)
{
	struct engine *en = fr->en;
	struct err e = {0};

	en->in_flight++;
	if (inject_capture(fr->in, en->injections, en->n_faults, &e) < 0) {
		give_up(fr, &e);
		return;
	}
	engine_checkpoint("captured");
	fr->in->asked_ns = clock_now_ns();
	committer_submit(en->committer, append, journaled, fr);
}

static bool same_targets(const struct target_list *a, const struct target_list *b)
{
	for (size_t i = 0; a->n == b->n && i < a->n; i++)
		if (a->items[i] != b->items[i])
			return false;
	return a->n == b->n;
}

/* What the run holds or is to hold, with `targets` in place of those of `instead`, which may be
 * NULL. */
static int check_blast(const struct engine *en, const struct fault_run *instead,
		       const struct fault_spec *spec, const struct target_list *targets,
		       struct err *e)
{
	autofree struct blast_part *parts = xcalloc(en->n_faults + 1, sizeof *parts);
	size_t n = 0;

	parts[n++] = (struct blast_part){spec, targets};
	for (size_t i = 0; i < en->n_faults; i++)
		if (en->faults[i] != instead && en->injections[i]->state != INJECTION_OFF)
			parts[n++] = (struct blast_part){en->injections[i]->pf->spec,
							 &en->injections[i]->pf->fault.targets};
	return blast_check(en->x, place_targets(en->place), parts, n, e);
}

/* The plan is as old as the baseline is long: what has changed since is planned again. */
static int plan_again(struct fault_run *fr, struct err *e)
{
	struct engine *en = fr->en;
	struct plan_fault *old = fr->in->pf, *pf;
	autotargets targets = {0}, peers = {0};
	size_t matched;
	int r;

	r = place_list(en->place, e);
	if (r == 0)
		r = plan_choose(old->spec, place_targets(en->place), en->seed, &old->fault.targets,
				&targets, &peers, &matched, e);
	if (r == 0)
		r = check_blast(en, fr, old->spec, &targets, e);
	if (r < 0 || (same_targets(&targets, &old->fault.targets) &&
		      same_targets(&peers, &old->fault.peers)))
		return r;
	if (targets.n == 0 && !en->o.allow_empty)
		return err_set(e, ENOENT, "its targets went before it began");
	r = plan_fault_new(old->spec, old->fault.order, &targets, &peers, &en->env, &pf, e);
	if (r == 0)
		r = engine_hold(en, &targets, e);
	if (r < 0)
		return r;
	pf->n_matched = matched;
	fr->in->pf = pf;
	plan_fault_free(old);
	engine_emit(en, EVENT_PLANNED, name_of(fr), NULL, (int64_t)targets.n);
	return 0;
}

static int on_start(sd_event_source *s, uint64_t usec, void *data)
{
	struct fault_run *fr = data;
	struct err e = {0};

	fr->timer = sd_event_source_unref(fr->timer);
	if (fr->en->stopping)
		return 0;
	if (plan_again(fr, &e) < 0)
		failed(fr, &e);
	else if (fault_of(fr)->targets.n)
		capture(fr);
	return 0;
}

static struct fault_run *add_fault(struct engine *en, struct plan_fault *pf)
{
	struct fault_run *fr = xcalloc(1, sizeof *fr);
	size_t n = en->n_faults;

	fr->en = en;
	fr->in = injection_new(pf);
	*array_push(en->faults, n) = fr;
	*array_push(en->injections, en->n_faults) = fr->in;
	return fr;
}

int faults_schedule(struct engine *en, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < en->plan->n_faults; i++)
		add_fault(en, take(en->plan->faults[i]));
	en->plan->n_faults = 0;
	for (size_t i = 0; r == 0 && i < en->n_faults; i++)
		r = set_timer(en->faults[i], plan_start_ns(en->faults[i]->in->pf->spec), on_start,
			      e);
	return r;
}

/* While it is on ------------------------------------------------------------------------------ */

static void target_went(void *data, const struct captured_target *c)
{
	struct engine *en = data;

	if (c->netns_id.ino)
		guard_forget(en->guard, c->netns_id);
}

/* Targets that came get a fault of their own, which goes the whole way. */
static void take_in(struct engine *en, const struct fault_run *like, const struct target_list *came)
{
	struct plan_fault *pf = NULL;
	autotargets fresh = {0};
	struct fault_run *fr;
	struct err e = {0};
	int r;

	for (size_t i = 0; i < came->n; i++)
		if (!target_list_find(&en->refused, came->items[i]->ns, came->items[i]->name))
			target_list_add(&fresh, came->items[i]);
	if (!fresh.n)
		return;
	r = check_blast(en, NULL, like->in->pf->spec, &fresh, &e);
	if (r == 0)
		r = engine_hold(en, &fresh, &e);
	if (r == 0)
		r = plan_fault_new(like->in->pf->spec, like->in->pf->fault.order, &fresh,
				   &like->in->pf->fault.peers,
				   &en->env, &pf, &e);
	if (r < 0) {
		engine_emit(en, EVENT_WARNING, name_of(like), e.text, 0);
		for (size_t i = 0; i < fresh.n; i++)
			target_list_add(&en->refused, fresh.items[i]);
		return;
	}
	fr = add_fault(en, pf);
	fr->in->late = true;
	capture(fr);
}

static void observe_all(struct engine *en)
{
	size_t n = en->n_faults;

	for (size_t i = 0; i < n; i++)
		look(en->faults[i], false);
	for (size_t i = 0; i < n && !en->stopping; i++) {
		struct fault_run *fr = en->faults[i];
		autotargets came = {0};
		struct err e = {0};

		if (fr->in->late || fr->in->ended || fr->in->state != INJECTION_ON ||
		    fault_of(fr)->driver->one_shot)
			continue;
		if (observe_targets(fr->in->pf->spec, en->injections, n, place_targets(en->place),
				    en->seed, target_went, en, &came, &e) < 0)
			engine_emit(en, EVENT_WARNING, name_of(fr), e.text, 0);
		take_in(en, fr, &came);
	}
}

void faults_observe(struct engine *en)
{
	struct err e = {0};

	if (!en->n_faults)
		return;
	/* A tick may change targets: a limit that shrinks by steps, a grace period that ends. */
	if (guard_enter(en->guard, &e) < 0) {
		engine_fail(en, &e);
		return;
	}
	observe_all(en);
	guard_exit(en->guard);
}

bool faults_over(const struct engine *en)
{
	for (size_t i = 0; i < en->n_faults; i++) {
		const struct injection *in = en->injections[i];
		const struct fault *f = &in->pf->fault;

		if (in->state != INJECTION_OFF &&
		    (in->state != INJECTION_ON || !f->driver->is_over || !f->driver->is_over(f)))
			return false;
	}
	return en->n_faults && !en->in_flight;
}

/* End ----------------------------------------------------------------------------------------- */

static void take_detail(struct injection *in)
{
	struct fault *f = &in->pf->fault;

	if (!in->detail && f->driver->report && f->driver->report(f, &in->detail, NULL) < 0)
		in->detail = NULL;
}

/* The undo records of some faults in one array, newest first; they stay the faults'. */
static struct undo *gather(struct fault_run **some, size_t n, size_t *ret_n)
{
	struct undo *all = NULL;

	*ret_n = 0;
	for (size_t i = n; i-- > 0;) {
		const struct undo_list *l = &fault_of(some[i])->undo;

		for (size_t k = l->n; k-- > 0;)
			*array_push(all, *ret_n) = l->items[k];
	}
	return all;
}

/* What is left of one fault is said, and whether it is gone. */
static void tell_reverted(struct engine *en, struct fault_run *fr, const struct restored *rows,
			  size_t n)
{
	bool left = false;

	for (size_t i = 0; i < n; i++) {
		if (!streq(rows[i].fault, name_of(fr)) || !rows[i].text)
			continue;
		if (restored_is_left(&rows[i]))
			engine_emit(en, EVENT_RESIDUE, rows[i].target, rows[i].text, 0);
		else
			engine_emit(en, EVENT_WARNING, rows[i].target, rows[i].text, 0);
		left |= restored_is_left(&rows[i]);
	}
	if (!left)
		engine_emit(en, EVENT_RECOVERED, name_of(fr), NULL, fr->in->revert_ns);
}

static void check_all(struct engine *en, struct fault_run **some, const struct undo *undo, size_t n,
		      struct restored *rows)
{
	for (size_t i = 0; i < n; i++)
		if (!inject_shares_target(some[0]->in, &undo[i], en->injections, en->n_faults))
			recover_check(&undo[i], en->broker, &rows[i]);
}

static void revert_some(struct engine *en, struct fault_run **some, size_t n)
{
	autofree struct undo *undo = NULL;
	size_t n_undo, first = en->restoration.n;
	int64_t start = clock_now_ns(), took;
	struct restored *rows;

	for (size_t i = 0; i < n; i++)
		presence_end(&some[i]->in->presence);
	for (size_t i = 0; i < n; i++)
		if (fault_of(some[i])->driver->off)
			fault_of(some[i])->driver->off(fault_of(some[i]));
	engine_checkpoint("off");
	for (size_t i = 0; i < n; i++) {
		take_detail(some[i]->in);
		some[i]->timer = sd_event_source_unref(some[i]->timer);
	}
	undo = gather(some, n, &n_undo);
	recover_revert(undo, n_undo, en->broker, &en->restoration);
	took = clock_now_ns() - start;
	engine_checkpoint("reverted");
	for (size_t i = 0; i < n; i++) {
		some[i]->in->state = INJECTION_OFF;
		some[i]->in->revert_ns = took;
	}
	rows = en->restoration.items + first;
	check_all(en, some, undo, n_undo, rows);
	mark_undone(en, undo, n_undo, rows);
	for (size_t i = 0; i < n; i++) {
		tell_reverted(en, some[i], rows, n_undo);
		undo_list_done(&fault_of(some[i])->undo);
	}
}

void faults_revert(struct engine *en, bool at_once)
{
	autofree struct fault_run **on = xcalloc(en->n_faults, sizeof *on);
	size_t n = 0;

	for (size_t i = 0; i < en->n_faults; i++) {
		struct fault_run *fr = en->faults[i];

		fr->timer = sd_event_source_unref(fr->timer);
		if (fr->in->state != INJECTION_ON || fault_of(fr)->driver->one_shot)
			continue;
		if (!at_once)
			look(fr, true);
		on[n++] = fr;
	}
	if (n)
		revert_some(en, on, n);
}

void faults_settle(struct engine *en)
{
	for (size_t i = 0; i < en->n_faults; i++) {
		struct injection *in = en->injections[i];

		if (in->state != INJECTION_ON)
			continue;
		look(en->faults[i], true);
		revert_some(en, &en->faults[i], 1);
	}
}

void faults_free(struct engine *en)
{
	for (size_t i = 0; i < en->n_faults; i++) {
		sd_event_source_unref(en->faults[i]->timer);
		injection_free(en->injections[i]);
		free(en->faults[i]);
	}
	free(en->faults);
	free(en->injections);
	target_list_done(&en->refused);
}
