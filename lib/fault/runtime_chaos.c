/*
 * Runtime chaos: a service's own scheduler or memory is disturbed, through the control socket that it
 * opened for that. What can be asked for stands in runtime_actions.c, one row each.
 *
 * One connection a target, from prepare to off. The service ends what was asked for when the connection
 * closes or is not renewed: that is the kernel lease of this kind, and off is one close().
 *
 * What was felt is told by the service, in its answers to "status".
 */
#include "driver.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "../kernel/pidfd.h"
#include "runtime_actions.h"
#include "runtime_control.h"
#include "runtime_doctor.h"
#include "runtime_lease.h"
#include "runtime_undo.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define LEASE_DEFAULT_NS (2 * NSEC_PER_SEC)
#define LEASE_MAX_NS (60 * NSEC_PER_SEC)

/* One target's connection. */
struct link {
	struct target *target;
	pid_t pid;
	unsigned long long start;
	struct runtime_control *control; /* NULL: closed */
	struct runtime_seen seen;
	char lost[160]; /* why it ended before its time */
};

struct runtime_state {
	struct link *items;
	size_t n;
	char *tag;
	bool injected;
	struct runtime_lease *lease;
};

static const struct runtime_params *params_of(const struct fault *f)
{
	return f->params;
}

static int64_t lease_of(const struct fault *f)
{
	int64_t ns = f->env->lease_ns ? f->env->lease_ns : LEASE_DEFAULT_NS;

	return MIN_OF(ns, LEASE_MAX_NS);
}

/* RUN/FAULT; names may hold what a tag may not. */
static char *make_tag(const struct fault *f)
{
	char *tag = xasprintf("%.60s/%.60s", f->env->run_id, f->name);

	for (char *p = tag; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._/-", *p))
			*p = '-';
	return tag;
}

/* ---- connections ----------------------------------------------------------------------------- */

static int ask_status(struct runtime_control *c, struct runtime_status *ret, struct err *e)
{
	char answer[RUNTIME_LINE_MAX];
	int r = runtime_control_ask(c, "status", answer, e);

	return r < 0 ? r : runtime_status_parse(answer, ret, e);
}

static bool is_chosen(const struct fault *f, const struct container *c)
{
	const struct strlist *names = &params_of(f)->common.selection.container_names;

	return c->pid > 0 && (!names->n || strlist_has(names, c->name));
}

/* The first chosen container that has the socket; the first one's reason when none has. */
static int connect_target(const struct fault *f, struct target *t, struct link *ret, struct err *e)
{
	struct err first = {0};

	for (size_t i = 0; i < t->n_containers; i++) {
		const struct container *c = &t->containers[i];
		struct err why = {0};

		if (!is_chosen(f, c))
			continue;
		*ret = (struct link){.target = target_ref(t), .pid = c->pid};
		if (pidfd_start_time(c->pid, &ret->start) == 0 &&
		    runtime_control_open(c->pid, params_of(f)->control, &ret->control, &why) == 0)
			return 0;
		target_unref(t);
		if (!why.code)
			err_set(&why, ESRCH, "process %d has ended", c->pid);
		if (!first.code)
			first = why;
	}
	if (!first.code)
		err_set(&first, ESRCH, params_of(f)->common.selection.container_names.n
					       ? "runs none of the containers in containerNames"
					       : "has no process of its own");
	*e = first;
	return err_wrap(e, "%s/%s", t->ns, t->name);
}

static void drop_link(struct link *l)
{
	runtime_control_close(take(l->control));
	target_unref(l->target);
}

static void drop_links(struct runtime_state *st)
{
	runtime_lease_stop(take(st->lease));
	for (size_t i = 0; i < st->n; i++)
		drop_link(&st->items[i]);
	free(st->items);
	st->items = NULL;
	st->n = 0;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static int check_service(const struct fault *f, struct link *l, struct err *e)
{
	const struct runtime_params *p = params_of(f);
	char help[RUNTIME_LINE_MAX];
	int r = runtime_control_ask(l->control, "help", help, e);

	if (r == 0 && !strstr(help, runtime_action_names[p->action]))
		r = err_set(e, EOPNOTSUPP, "the service does not know %s (it knows: %.200s)",
			    runtime_action_names[p->action], help);
	if (r == 0)
		r = ask_status(l->control, &l->seen.before, e);
	return r < 0 ? r : runtime_check_service(p, &l->seen.before, e);
}

static int plan_target(struct fault *f, struct target *t, struct strlist *ops, struct err *e)
{
	char what[96], lease[UNITS_TEXT_MAX];
	autofree char *op = NULL;
	struct link l;
	int r = connect_target(f, t, &l, e);

	if (r < 0)
		return r;
	r = check_service(f, &l, e);
	if (r < 0)
		err_wrap(e, "%s/%s: %s", t->ns, t->name, params_of(f)->control);
	runtime_describe(params_of(f), what, sizeof what);
	op = xasprintf("process %d (%s/%s) by %s: %s, %u Ps, lease %s",
		       runtime_control_peer(l.control), t->ns, t->name, params_of(f)->control, what,
		       l.seen.before.procs, units_duration(lease_of(f), lease));
	if (r == 0)
		strlist_add(ops, op);
	drop_link(&l);
	return r;
}

static int runtime_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	struct runtime_state *st = xcalloc(1, sizeof *st);
	int r = 0;

	f->state = st;
	f->backend = "control socket";
	st->tag = make_tag(f);
	for (size_t i = 0; r == 0 && i < f->targets.n; i++)
		r = plan_target(f, f->targets.items[i], ops, e);
	return r;
}

/* ---- snapshot, prepare, inject --------------------------------------------------------------- */

static int snapshot(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	const struct runtime_state *st = f->state;
	struct link l;
	int r = connect_target(f, (struct target *)t, &l, e);

	if (r < 0)
		return r;
	r = runtime_snapshot(l.control, st->tag, ret, e);
	drop_link(&l);
	return r;
}

static int prepare_target(struct fault *f, struct target *t, struct err *e)
{
	struct runtime_state *st = f->state;
	struct link l;
	int r = connect_target(f, t, &l, e);
	struct undo *u;

	if (r < 0)
		return r;
	*array_push(st->items, st->n) = l;
	u = array_push(f->undo.items, f->undo.n);
	*u = (struct undo){.fault = xstrdup(f->name), .target = target_id(t), .driver = f->driver,
			   .netns_fd = -1};
	undo_set_json(u, json_pack("{s:i, s:I, s:s, s:s}", "pid", (int)l.pid, "start",
				   (json_int_t)l.start, "control", params_of(f)->control, "tag",
				   st->tag));
	return 0;
}

/* The service may have been started anew since the plan. */
static int runtime_prepare(struct fault *f, struct err *e)
{
	int r = 0;

	drop_links(f->state);
	for (size_t i = 0; r == 0 && i < f->targets.n; i++)
		r = prepare_target(f, f->targets.items[i], e);
	return r;
}

static char *command_of(const struct fault *f)
{
	const struct runtime_state *st = f->state;
	const struct runtime_params *p = params_of(f);
	int64_t left = f->env->hard_end_ns ? f->env->hard_end_ns - clock_now_ns() : 0;
	autostr s = {0};

	str_addf(&s, "%s tag=%s lease_ms=%" PRId64, runtime_action_names[p->action], st->tag,
		 (int64_t)(lease_of(f) / NSEC_PER_MSEC));
	runtime_add_values(p, &s);
	if (f->env->hard_end_ns)
		str_addf(&s, " for_ms=%" PRId64, MAX_OF((int64_t)(left / NSEC_PER_MSEC), (int64_t)1));
	return str_take(&s);
}

/* Asked for and read back. */
static int inject_link(const struct fault *f, struct link *l, const char *command, struct err *e)
{
	const struct runtime_state *st = f->state;
	char answer[RUNTIME_LINE_MAX];
	struct runtime_action a;
	int r = ask_status(l->control, &l->seen.before, e);

	runtime_seen_begin(&l->seen);
	if (r == 0)
		r = runtime_control_ask(l->control, command, answer, e);
	if (r == 0)
		r = ask_status(l->control, &l->seen.now, e);
	if (r == 0 && !runtime_status_find(&l->seen.now, st->tag, &a))
		r = err_set(e, EIO, "the service does not list the action that it just took");
	return r < 0 ? err_wrap(e, "%s/%s", l->target->ns, l->target->name) : 0;
}

static int hold_lease(struct fault *f, struct err *e)
{
	struct runtime_state *st = f->state;
	autofree int *fds = xcalloc(st->n, sizeof *fds);

	for (size_t i = 0; i < st->n; i++)
		fds[i] = runtime_control_fd(st->items[i].control);
	return runtime_lease_start(fds, st->n, lease_of(f), &st->lease, e);
}

static int runtime_inject(struct fault *f, struct err *e)
{
	struct runtime_state *st = f->state;
	autofree char *command = command_of(f);
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		r = inject_link(f, &st->items[i], command, e);
	if (r == 0)
		r = hold_lease(f, e);
	st->injected = r == 0;
	return r;
}

/* ---- while it is on -------------------------------------------------------------------------- */

static void lose(struct link *l, const char *why)
{
	if (!l->lost[0])
		snprintf(l->lost, sizeof l->lost, "%s", why);
}

static void take_status(const struct runtime_state *st, struct link *l, const char *text)
{
	struct runtime_action a;

	if (runtime_status_parse(text, &l->seen.now, NULL) < 0)
		return;
	runtime_seen_take(&l->seen);
	if (runtime_status_find(&l->seen.now, st->tag, &a))
		l->seen.worst_us = MAX_OF(l->seen.worst_us, a.worst_us);
	else
		lose(l, "the service ended it: its lease was not renewed in time");
}

/* What has come in since the last look, the answers to "renew" among it; then asks again. */
static void look(const struct runtime_state *st, struct link *l)
{
	char line[RUNTIME_LINE_MAX];
	int r;

	while ((r = runtime_control_next(l->control, line)) > 0) {
		if (strncmp(line, "ok procs=", 9) == 0)
			take_status(st, l, line + 3);
		else if (strncmp(line, "error ", 6) == 0)
			lose(l, line + 6);
	}
	if (r < 0)
		lose(l, "the service closed the connection");
	else if (runtime_control_send(l->control, "status", NULL) == 0)
		l->seen.asked_ns = clock_now_ns();
}

static int runtime_tick(struct fault *f, struct err *e)
{
	struct runtime_state *st = f->state;
	int r = 0;

	for (size_t i = 0; st->injected && i < st->n; i++) {
		struct link *l = &st->items[i];
		bool had = !l->lost[0];

		if (!l->control || !had)
			continue;
		look(st, l);
		if (l->lost[0])
			r = err_set(e, EPIPE, "%s/%s: %s", l->target->ns, l->target->name, l->lost);
	}
	return r;
}

static int runtime_check(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	const struct runtime_state *st = f->state;

	for (size_t i = 0; st->injected && i < st->n; i++)
		if (st->items[i].target == t && st->items[i].lost[0])
			str_addf(ret, "%s\n", st->items[i].lost);
	return 0;
}

static bool has_target(const struct target_list *l, const struct target *t)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i] == t)
			return true;
	return false;
}

static void let_go(struct link *l)
{
	runtime_control_close(take(l->control));
}

/* Closing is ending. The thread that renews goes first: it knows the sockets by number. */
static int runtime_retarget(struct fault *f, const struct target_list *now, struct err *e)
{
	struct runtime_state *st = f->state;
	size_t kept = 0;

	runtime_lease_stop(take(st->lease));
	for (size_t i = 0; i < st->n; i++) {
		if (has_target(now, st->items[i].target))
			st->items[kept++] = st->items[i];
		else
			drop_link(&st->items[i]);
	}
	st->n = kept;
	return st->n ? hold_lease(f, e) : 0;
}

static void runtime_off(struct fault *f)
{
	struct runtime_state *st = f->state;

	if (!st)
		return;
	runtime_lease_stop(take(st->lease));
	for (size_t i = 0; i < st->n; i++)
		let_go(&st->items[i]);
	st->injected = false;
}

/* ---- effect, report -------------------------------------------------------------------------- */

/* Of each target that can tell. */
static void compare(const struct fault *f, struct effect *ret)
{
	const struct runtime_params *p = params_of(f);
	const struct runtime_state *st = f->state;
	struct effect_figure g;

	for (size_t i = 0; i < st->n; i++) {
		if (!runtime_can_tell(p, &st->items[i].seen))
			continue;
		if (runtime_figure(p, &st->items[i].seen, &g))
			effect_add(ret, &g);
		else
			ret->no_figure = "the action is on or off, which is no number";
	}
}

static int runtime_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct runtime_params *p = params_of(f);
	const struct runtime_state *st = f->state;
	const struct link *l = NULL;
	size_t n = 0, told = 0;
	char what[96];

	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	runtime_describe(p, ret->requested, sizeof ret->requested);
	for (size_t i = 0; i < st->n; i++) {
		n += runtime_was_felt(p, &st->items[i].seen);
		told += runtime_can_tell(p, &st->items[i].seen);
		if (!l || st->items[i].seen.worst_us > l->seen.worst_us)
			l = &st->items[i];
	}
	if (!l || !told)
		return 0;
	runtime_measured(p, &l->seen, what, sizeof what);
	snprintf(ret->measured, sizeof ret->measured, "%s, felt on %zu of %zu targets", what, n, st->n);
	effect_fold(ret, n ? EFFECT_MEASURED : EFFECT_NONE);
	compare(f, ret);
	return 0;
}

static json_t *json_of(const struct link *l)
{
	const struct runtime_seen *s = &l->seen;

	return json_pack("{s:s++, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:s}", "target", l->target->ns, "/",
			 l->target->name, "pid", (int)l->pid, "ps_before", (int)s->before.live, "ps_fewest",
			 (int)s->fewest_live, "worst_ttsp_ns", (json_int_t)(s->worst_us * NSEC_PER_USEC),
			 "probes", (json_int_t)(s->now.probes - s->before.probes), "collections",
			 (json_int_t)(s->now.cycles - s->before.cycles), "allocated",
			 (json_int_t)(s->now.allocated - s->before.allocated), "coroutines_most",
			 (json_int_t)s->most_coroutines, "lost", l->lost);
}

static int runtime_report(struct fault *f, json_t **ret, struct err *e)
{
	const struct runtime_state *st = f->state;
	json_t *list = json_array();

	for (size_t i = 0; i < st->n; i++)
		json_array_append_new(list, json_of(&st->items[i]));
	*ret = json_pack("{s:s, s:o}", "tag", st->tag, "targets", list);
	return 0;
}

static void runtime_release(struct fault *f)
{
	struct runtime_state *st = f->state;

	if (!st)
		return;
	drop_links(st);
	free(st->tag);
	free(st);
	f->state = NULL;
}

static const char *runtime_unseeded(const struct fault *f)
{
	return "what the service's runtime makes of it is its own choice";
}

const struct fault_driver runtime_chaos = {
	.kind = "RuntimeChaos",
	.field = "runtimeChaos",
	.api_version = "brunt.dev/v1alpha1",
	.advice = "ask for more: longer stalls, more of them, a higher rate; a service with one P cannot ask "
		  "itself to stop",
	.schema = &runtime_schema,
	.slow = true,
	.conflict = runtime_conflict,
	.plan = runtime_plan,
	.snapshot = snapshot,
	.prepare = runtime_prepare,
	.inject = runtime_inject,
	.tick = runtime_tick,
	.check = runtime_check,
	.retarget = runtime_retarget,
	.off = runtime_off,
	.vet = runtime_vet,
	.revert = runtime_revert,
	.resnapshot = runtime_resnapshot,
	.effect = runtime_effect,
	.lease_left = runtime_lease_left,
	.unseeded = runtime_unseeded,
	.report = runtime_report,
	.release = runtime_release,
	.doctor = runtime_doctor,
};
