/*
 * A run is a list of steps. Each step either is done when it returns (GO_ON) or has asked the
 * loop for something (WAIT): a timer, the journal's thread, the guard, the lab. Whoever brings the
 * answer calls next().
 *
 * Whatever goes wrong leads to the same place: an error, Ctrl-C, an abort condition, a dead guard
 * or a dead lab jump to `revert`, which is a step like the others, and the steps after it are gone
 * through to the end. There is no other way out of a run.
 *
 * The promise "no change without a record on disk" is kept in engine_fault.c.
 */
#include "engine_state.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

#define QUEUE_RETRY_NS (500 * NSEC_PER_MSEC)
/* How long after the fault window the guard gives the owner to revert. */
#define REVERT_GRACE_NS (10 * NSEC_PER_SEC)

enum { GO_ON, WAIT };

/* The steps, top to bottom. ------------------------------------------------------------------- */

static int claim_name(struct engine *en, struct err *e);
static int begin_record(struct engine *en, struct err *e);
static int start_guard(struct engine *en, struct err *e);
static int open_place(struct engine *en, struct err *e);
static int make_plan(struct engine *en, struct err *e);
static int start_measuring(struct engine *en, struct err *e);
static int watch_baseline(struct engine *en, struct err *e);
static int check_steady(struct engine *en, struct err *e);
static int run_faults(struct engine *en, struct err *e);
static int revert_faults(struct engine *en, struct err *e);
static int watch_recovery(struct engine *en, struct err *e);
static int judge(struct engine *en, struct err *e);
static int close_place(struct engine *en, struct err *e);
static int end_record(struct engine *en, struct err *e);
static int finish(struct engine *en, struct err *e);

enum step_id {
	CLAIM, BEGIN, GUARD, PLACE, PLAN, MEASURE, BASELINE, STEADY, FAULT, REVERT, RECOVERY, JUDGE,
	LEAVE, RECORD, FINISH,
};

static const struct step {
	const char *name, *phase;
	int (*enter)(struct engine *en, struct err *e);
} steps[] = {
	[CLAIM] = {"claim", "prepare", claim_name},
	[BEGIN] = {"begin", "prepare", begin_record},
	[GUARD] = {"guard", "prepare", start_guard},
	[PLACE] = {"place", "prepare", open_place},
	[PLAN] = {"plan", "prepare", make_plan},
	[MEASURE] = {"measure", "prepare", start_measuring},
	[BASELINE] = {"baseline", "baseline", watch_baseline},
	[STEADY] = {"steady", "baseline", check_steady},
	[FAULT] = {"fault", "fault", run_faults},
	[REVERT] = {"revert", "revert", revert_faults},
	[RECOVERY] = {"recovery", "recovery", watch_recovery},
	[JUDGE] = {"judge", "done", judge},
	[LEAVE] = {"leave", "done", close_place},
	[RECORD] = {"record", "done", end_record},
	[FINISH] = {"finish", "done", finish},
};

static void note_error(struct engine *en, const struct err *e)
{
	if (!en->error.code)
		en->error = *e;
}

static void set_phase(struct engine *en, const char *phase)
{
	if (en->phase == phase)
		return;
	en->phase = phase;
	en->phase_end_ns = 0;
	engine_emit(en, EVENT_PHASE, phase, NULL, 0);
}

/* Where a run goes on that is cut short in a step: what is past the revert goes its way. */
static int step_after_cut(int step)
{
	return step < REVERT ? REVERT : step == RECOVERY ? JUDGE : step;
}

/* Goes through steps until one has to wait. */
static void enter(struct engine *en)
{
	bool waits = false;

	en->entering = true;
	while (!waits) {
		const struct step *s = &steps[en->step];
		struct err e = {0};
		int r = GO_ON;

		set_phase(en, s->phase);
		engine_checkpoint(s->name);
		if (!en->cut)
			r = s->enter(en, &e);
		if (r < 0)
			note_error(en, &e);
		if ((r < 0 || en->cut) && step_after_cut(en->step) != en->step)
			en->step = step_after_cut(en->step);
		else if (r == WAIT)
			waits = true;
		else
			en->step++;
		en->cut = false;
	}
	en->entering = false;
}

static void next(struct engine *en)
{
	en->step_timer = sd_event_source_unref(en->step_timer);
	en->step++;
	enter(en);
}

/* To the revert, from wherever the run is. Inside a step, enter() sees to it afterwards. */
static void cut_short(struct engine *en)
{
	int to = step_after_cut(en->step);

	if (to == en->step)
		return;
	en->stopping = true;
	if (en->entering) {
		en->cut = true;
		return;
	}
	en->step_timer = sd_event_source_unref(en->step_timer);
	en->step = to;
	enter(en);
}

void engine_fail(struct engine *en, const struct err *e)
{
	note_error(en, e);
	cut_short(en);
}

void engine_landed(struct engine *en)
{
	if (en->step == REVERT && en->in_flight == 0)
		next(en);
}

static int on_step_timer(sd_event_source *s, uint64_t usec, void *data)
{
	next(data);
	return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *data)
{
	struct engine *en = data;

	en->step_timer = sd_event_source_unref(en->step_timer);
	enter(en);
	return 0;
}

static int wait_ns(struct engine *en, int64_t ns, sd_event_time_handler_t fn, struct err *e)
{
	int r;

	en->step_timer = sd_event_source_unref(en->step_timer);
	r = sd_event_add_time_relative(en->loop, &en->step_timer, CLOCK_MONOTONIC,
				       (uint64_t)(ns / NSEC_PER_USEC), 1000, fn, en);
	return r < 0 ? err_errno(e, -r, "timer") : WAIT;
}

/* Somebody else holds what this run needs: refused, or asked for again a little later. */
static int held_by_other(struct engine *en, struct err *e)
{
	if (!en->o.wait)
		return -e->code;
	if (!en->queued)
		engine_emit(en, EVENT_WARNING, NULL, e->text, 0);
	en->queued = true;
	lock_drop_names(en->lock);
	return wait_ns(en, QUEUE_RETRY_NS, on_retry, e);
}

/* prepare ------------------------------------------------------------------------------------- */

static int claim_experiment(struct engine *en, struct err *e)
{
	autofree char *name = xasprintf("experiment/%s", en->x->name);

	return lock_name(en->lock, LOCK_STATE_DIR, name, e);
}

static int claim_name(struct engine *en, struct err *e)
{
	int r = experiment_check_paused(en->x, e);

	if (r < 0 || en->o.plan_only)
		return r < 0 ? r : GO_ON;
	if (!en->committer) { /* makes the state directory */
		r = committer_start(en->o.state_dir, en->loop, &en->committer, e);
		if (r < 0)
			return r;
	}
	if (!en->lock) {
		r = lock_new(en->o.state_dir, en->run_id, en->x->name, &en->lock, e);
		if (r < 0)
			return r;
	}
	r = claim_experiment(en, e);
	return r == -EBUSY ? held_by_other(en, e) : r;
}

static int journal_begin(struct journal *j, void *arg, struct err *e)
{
	struct engine *en = arg;

	return journal_run_begin(j, en->run_id, en->x->name, e);
}

static void begun(void *arg, int r, const struct err *e)
{
	struct engine *en = arg;

	if (r < 0)
		engine_fail(en, e);
	else if (en->step == BEGIN)
		next(en);
}

static int begin_record(struct engine *en, struct err *e)
{
	if (en->o.plan_only)
		return GO_ON;
	committer_submit(en->committer, journal_begin, begun, en);
	return WAIT;
}

static void guard_died(void *data)
{
	struct engine *en = data;
	struct err e = {0};

	err_set(&e, EOWNERDEAD, "the guard process ended before the run: it %s", guard_fate(en->guard));
	engine_fail(en, &e);
}

/* A run that stood still may come to its verdict before the loop tells of the guard's end. */
static void check_guard(struct engine *en)
{
	if (en->guard && !guard_lives(en->guard))
		guard_died(en);
}

static int start_guard(struct engine *en, struct err *e)
{
	int r;

	r = broker_start(&en->broker, e);
	if (r < 0)
		return r;
	en->env.broker = en->slo_env.broker = en->broker;
	if (en->o.plan_only)
		return GO_ON;
	r = guard_start(en->o.state_dir, en->run_id, en->lock, en->loop, guard_died, en, &en->guard,
			e);
	return r < 0 ? r : lock_set_guard(en->lock, guard_pid(en->guard), e);
}

static void place_ready(void *data, int r, const struct err *e)
{
	struct engine *en = data;

	if (r < 0)
		engine_fail(en, e);
	else if (en->step == PLACE)
		next(en);
}

static void place_lost(void *data, const struct err *e)
{
	engine_fail(data, e);
}

static int open_place(struct engine *en, struct err *e)
{
	const struct place_options o = {
		.state_dir = en->o.state_dir,
		.lab = en->o.lab,
		.source = en->o.source,
		.allow_host_network = en->o.allow_host_network,
		.listener = &en->listener,
	};
	int r = place_open(en->x, &o, en->loop, place_ready, place_lost, en, &en->place, e);

	return r < 0 ? r : WAIT;
}

/* The lock knows it by its namespace, a person by its name. */
static void call_by_name(const struct target *t, const char *lock_name, struct err *e)
{
	size_t n = strlen(lock_name);
	autofree char *rest = NULL;

	if (strncmp(e->text, lock_name, n) != 0)
		return;
	rest = xstrdup(e->text + n);
	snprintf(e->text, sizeof e->text, "target %s/%s%s", t->ns, t->name, rest);
}

int engine_hold(struct engine *en, const struct target_list *targets, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < targets->n; i++) {
		struct target *t = targets->items[i];
		autofree char *name = NULL;
		bool wide;

		if (t->netns_fd >= 0 && !t->netns_id.cookie)
			r = broker_netns_cookie(en->broker, t->netns_fd, &t->netns_id, e);
		name = plan_target_name(t, &wide);
		if (r == 0)
			r = lock_name(en->lock, wide ? LOCK_MACHINE : LOCK_STATE_DIR, name, e);
		if (r == -EBUSY)
			call_by_name(t, name, e);
	}
	return r;
}

/* Before any driver looks at them: what another run has put there is no obstacle but a holder. */
static int claim_targets(struct engine *en, struct err *e)
{
	autotargets targets = {0};
	int r = claim_experiment(en, e);

	if (r == 0)
		r = plan_choose_all(en->x, place_targets(en->place), en->seed, &targets, e);
	if (r == 0)
		r = engine_hold(en, &targets, e);
	return r == -EBUSY ? held_by_other(en, e) : r;
}

static int make_plan(struct engine *en, struct err *e)
{
	int r;

	en->env.vantage = en->slo_env.vantage = place_vantage(en->place);
	r = place_list(en->place, e);
	if (r == 0 && !en->o.plan_only)
		r = claim_targets(en, e);
	if (r != 0)
		return r;
	r = plan_build(en->x, place_targets(en->place), &en->env, en->o.allow_empty, &en->plan, e);
	if (r < 0)
		return r;
	if (en->o.plan_only)
		en->plan_json = plan_json(en->plan);
	for (size_t i = 0; i < en->plan->n_faults; i++)
		engine_emit(en, EVENT_PLANNED, en->plan->faults[i]->spec->name, NULL,
			    (int64_t)en->plan->faults[i]->fault.targets.n);
	if (en->o.plan_only)
		cut_short(en);
	return GO_ON;
}

/* measure ------------------------------------------------------------------------------------- */

static void load_ended(void *data, int status, const char *text)
{
	struct engine *en = data;
	struct err e = {0};

	err_set(&e, EPIPE, "load: %s ended early: %s", en->x->load_command.items[0], text);
	err_hint(&e, "load.command must go on to the end of the recovery, then it is stopped");
	engine_fail(en, &e);
}

static int start_slos(struct engine *en, struct err *e)
{
	observe_foresee(en->x, &en->listener);
	en->slos = xcalloc(en->x->n_slos, sizeof(struct slo *));
	for (size_t i = 0; i < en->x->n_slos; i++) {
		int r = slo_new(&en->x->slos[i], &en->slo_env, &en->slos[i], e);

		if (r == 0)
			en->n_slos++;
		if (r == 0)
			r = slo_start(en->slos[i], e);
		if (r < 0)
			return err_wrap(e, "slo %s", en->x->slos[i].name);
	}
	return 0;
}

static int on_period(sd_event_source *s, uint64_t usec, void *data)
{
	struct engine *en = data;
	int64_t now = clock_now_ns();
	struct err e = {0};

	sd_event_source_set_time_relative(s, (uint64_t)(en->o.evaluation_ns / NSEC_PER_USEC));
	sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	if (place_list(en->place, &e) < 0)
		engine_emit(en, EVENT_WARNING, NULL, e.text, 0);
	faults_observe(en);
	for (size_t i = 0; i < en->n_slos; i++)
		slo_tick(en->slos[i], now);
	if (en->step != FAULT)
		return 0;
	en->aborted = observe_abort(en->x, en->slos, now);
	if (en->aborted) {
		engine_emit(en, EVENT_ABORTED, NULL, en->aborted, 0);
		cut_short(en);
	} else if (en->x->is_object && faults_over(en)) {
		next(en);
	}
	return 0;
}

static bool starts_programs(const struct experiment *x)
{
	bool found = x->load_command.n;

	for (size_t i = 0; i < x->n_slos; i++)
		found = found || streq(x->slos[i].type->name, "command");
	return found;
}

/* Written down before it is made, so that whoever finds this process dead ends the group. */
static int make_group(struct engine *en, struct err *e)
{
	autofree char *path = NULL;
	struct err why = {0};

	if (!starts_programs(en->x))
		return 0;
	if (workgroup_plan(en->run_id, &path, &why) < 0) {
		autofree char *text = xasprintf("load and commands run without a control group (%s): "
						"what they start may outlive the run", why.text);

		engine_emit(en, EVENT_WARNING, NULL, text, 0);
		return 0;
	}
	if (lock_set_group(en->lock, path, e) < 0 || workgroup_make(path, &en->group, e) < 0)
		return -e->code;
	en->slo_env.group = en->group;
	return 0;
}

static void end_group(struct engine *en)
{
	en->slo_env.group = NULL;
	workgroup_end(take(en->group));
}

static int start_measuring(struct engine *en, struct err *e)
{
	int r = make_group(en, e);

	if (r == 0 && en->x->load_command.n)
		r = load_start(&en->x->load_command, en->slo_env.base_dir, place_vantage(en->place),
			       en->group, en->loop, load_ended, en, &en->load, e);
	if (r == 0)
		r = start_slos(en, e);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(en->loop, &en->period_timer, CLOCK_MONOTONIC,
				       (uint64_t)(en->o.evaluation_ns / NSEC_PER_USEC), 1000,
				       on_period, en);
	return r < 0 ? err_errno(e, -r, "timer") : GO_ON;
}

/* the windows --------------------------------------------------------------------------------- */

static int open_window(struct engine *en, enum window w, int64_t length_ns, struct err *e)
{
	int64_t now = clock_now_ns();

	en->windows[w].start_ns = now;
	en->phase_end_ns = now + length_ns;
	for (size_t i = 0; i < en->n_slos; i++)
		slo_window_open(en->slos[i], w, now);
	return wait_ns(en, length_ns, on_step_timer, e);
}

static void close_window(struct engine *en, enum window w)
{
	int64_t now = clock_now_ns();

	if (!en->windows[w].start_ns || en->windows[w].end_ns)
		return;
	en->windows[w].end_ns = now;
	for (size_t i = 0; i < en->n_slos; i++)
		slo_window_close(en->slos[i], w, now);
}

static int watch_baseline(struct engine *en, struct err *e)
{
	return en->x->baseline_ns ? open_window(en, WINDOW_BASELINE, en->x->baseline_ns, e) : GO_ON;
}

static int check_steady(struct engine *en, struct err *e)
{
	char why[400];

	close_window(en, WINDOW_BASELINE);
	for (size_t i = 0; en->x->baseline_ns && i < en->n_slos; i++) {
		if (slo_steady(en->slos[i], why, sizeof why) == 1)
			continue;
		en->unsteady = xasprintf("%s: %s", en->x->slos[i].name, why);
		cut_short(en);
		break;
	}
	return GO_ON;
}

static int run_faults(struct engine *en, struct err *e)
{
	int r = open_window(en, WINDOW_FAULT, en->x->fault_ns, e);

	en->env.hard_end_ns = en->windows[WINDOW_FAULT].start_ns + en->x->fault_ns + REVERT_GRACE_NS;
	if (r >= 0 && faults_schedule(en, e) < 0)
		return -e->code;
	return r;
}

/* Effects end first, and at once; then everything is taken out again. */
static int revert_faults(struct engine *en, struct err *e)
{
	faults_revert(en, en->stopping);
	en->stopping = true;
	close_window(en, WINDOW_BASELINE);
	close_window(en, WINDOW_FAULT);
	return en->in_flight ? WAIT : GO_ON;
}

static bool is_cut_short(const struct engine *en)
{
	return en->error.code || en->interrupted || en->aborted || en->unsteady;
}

static int watch_recovery(struct engine *en, struct err *e)
{
	if (en->guard && restoration_left(&en->restoration) == 0)
		guard_disarm(en->guard);
	if (is_cut_short(en) || !en->x->recovery_ns || en->o.plan_only)
		return GO_ON;
	return open_window(en, WINDOW_RECOVERY, en->x->recovery_ns, e);
}

/* the end ------------------------------------------------------------------------------------- */

static int judge(struct engine *en, struct err *e)
{
	close_window(en, WINDOW_RECOVERY);
	en->period_timer = sd_event_source_unref(en->period_timer);
	faults_settle(en);
	for (size_t i = 0; i < en->n_slos; i++)
		slo_stop(en->slos[i]);
	if (en->load)
		en->load_output = load_finish(take(en->load));
	end_group(en);
	check_guard(en);
	record_judge(en);
	return GO_ON;
}

static void place_closed(void *data)
{
	struct engine *en = data;

	if (en->step == LEAVE)
		next(en);
}

static int close_place(struct engine *en, struct err *e)
{
	if (!en->place)
		return GO_ON;
	place_close(en->place, place_closed, en);
	return WAIT;
}

static int journal_end(struct journal *j, void *arg, struct err *e)
{
	struct engine *en = arg;
	bool left = restoration_left(&en->restoration) > 0;
	int r = journal_run_end(j, en->run_id, left ? "not-restored" : "done",
				verdict_name(en->verdict.verdict), en->record, e);

	return r < 0 ? r : journal_prune(j, JOURNAL_KEEP, e);
}

/* A run that cannot be recorded is no success, though nothing is left behind. */
static void recorded(void *arg, int r, const struct err *e)
{
	struct engine *en = arg;

	if (r < 0 && !en->error.code) {
		note_error(en, e);
		record_judge(en);
		json_decref(en->record);
		en->record = record_build(en);
	}
	next(en);
}

static int end_record(struct engine *en, struct err *e)
{
	guard_free(take(en->guard));
	en->end_wall_ns = clock_wall_ns();
	engine_emit(en, EVENT_VERDICT, NULL, verdict_name(en->verdict.verdict), 0);
	en->record = record_build(en);
	if (!en->committer || en->o.plan_only)
		return GO_ON;
	committer_submit(en->committer, journal_end, recorded, en);
	return WAIT;
}

static int on_done(sd_event_source *s, void *data)
{
	struct engine *en = data;

	en->done_source = sd_event_source_unref(en->done_source);
	en->done(en->done_data, en);
	return 0;
}

/* Through the loop, because done may free the engine that somebody below is still using. */
static int finish(struct engine *en, struct err *e)
{
	lock_free(take(en->lock));
	if (sd_event_add_defer(en->loop, &en->done_source, on_done, en) < 0)
		en->done(en->done_data, en);
	return WAIT;
}

/* from outside -------------------------------------------------------------------------------- */

void engine_checkpoint(const char *point)
{
	const char *stop_at = getenv("BRUNT_TEST_STOP_AT");

	if (stop_at && streq(stop_at, point))
		raise(SIGSTOP);
}

void engine_emit(struct engine *en, enum event_type type, const char *name, const char *text,
		 int64_t value)
{
	event_emit(&en->listener,
		   (struct event){.type = type, .name = name, .text = text, .value = value});
}

/* Each target costs some descriptors. */
static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int engine_start(struct engine *en, void (*done)(void *data, struct engine *en), void *data,
		 struct err *e)
{
	en->done = done;
	en->done_data = data;
	en->start_ns = clock_now_ns();
	en->start_wall_ns = clock_wall_ns();
	if (geteuid() != 0) {
		err_set(e, EPERM, "faults need root: this is user %d", (int)geteuid());
		err_hint(e, "run it as root: sudo brunt run %s", en->x->file ? en->x->file : "FILE");
		return -EPERM;
	}
	raise_file_limit();
	enter(en);
	return 0;
}

void engine_interrupt(struct engine *en, const char *reason)
{
	if (en->lock)
		lock_note_ending(en->lock);
	if (en->interrupted || en->step >= JUDGE)
		return;
	en->interrupted = xstrdup(reason);
	cut_short(en);
}
