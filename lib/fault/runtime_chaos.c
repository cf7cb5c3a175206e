/*
 * Runtime chaos: a service's own scheduler is disturbed, through the control socket that it opened for
 * that. stall-safepoint keeps a coroutine's P through regions that no stop gets into, so that the
 * time to safepoint rises; park-p takes Ps out of service.
 *
 * One connection a target, from prepare to off. The service ends what was asked for when the connection
 * closes or is not renewed: that is the kernel lease of this kind, and off is one close().
 *
 * What was felt is told by the service: the worst time to safepoint that its probe met while the action
 * was on, and the number of Ps that live.
 */
#include "driver.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "../kernel/pidfd.h"
#include "runtime_control.h"
#include "runtime_doctor.h"
#include "runtime_lease.h"
#include "runtime_undo.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum runtime_action_kind { PARK_P, STALL_SAFEPOINT };

static const char *const action_names[] = {
	[PARK_P] = "park-p",
	[STALL_SAFEPOINT] = "stall-safepoint",
	NULL,
};

#define LEASE_DEFAULT_NS (2 * NSEC_PER_SEC)
#define LEASE_MAX_NS (60 * NSEC_PER_SEC)

struct runtime_params {
	struct fault_common common;
	int action;
	char *control;
	int64_t count, stall_ns, interval_ns;
};

static int check_params(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct runtime_params *p = obj;
	int r = 0;

	if (p->control[0] != '/')
		r = field_error(ctx, node, "control", "\"%s\" is not an absolute path", p->control);
	if (p->action != STALL_SAFEPOINT) {
		if (yaml_get(node, "stall"))
			r = field_error(ctx, node, "stall", "only goes with action stall-safepoint");
		if (yaml_get(node, "interval"))
			r = field_error(ctx, node, "interval", "only goes with action stall-safepoint");
	} else if (p->stall_ns >= p->interval_ns) {
		r = field_error(ctx, node, yaml_get(node, "stall") ? "stall" : "interval",
				"a stall must be shorter than the interval from one to the next");
	}
	return r;
}

#define OFFSET(f) offsetof(struct runtime_params, f)

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .names = action_names, .required = true,
	 .offset = OFFSET(action), .example = "stall-safepoint",
	 .doc = "stall-safepoint: again and again a coroutine goes through a region in which it cannot be "
		"stopped, so that stopping the world takes longer. park-p: Ps (what runs coroutines, one "
		"for each CPU) go out of service; at least one stays."},
	{.name = "control", .type = FIELD_STRING, .required = true, .offset = OFFSET(control),
	 .example = "/dev/shm/liveroom.control",
	 .doc = "The service's control socket (liveroom serve --control PATH), as the target itself sees "
		"its files. Who answers there must be of the target."},
	{.name = "count", .type = FIELD_INT, .deflt = "1", .offset = OFFSET(count), .has_range = true,
	 .min = 1, .max = 64,
	 .doc = "How many coroutines stall, or how many Ps are parked, at one time."},
	{.name = "stall", .type = FIELD_DURATION, .deflt = "30ms", .offset = OFFSET(stall_ns),
	 .has_range = true, .min = 100 * NSEC_PER_USEC, .max = 5 * NSEC_PER_SEC,
	 .doc = "How long each stall of stall-safepoint lasts."},
	{.name = "interval", .type = FIELD_DURATION, .deflt = "500ms", .offset = OFFSET(interval_ns),
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "The time from one stall to the next."},
};

static const struct schema runtime_schema = {
	.name = "RuntimeChaos",
	.doc = "Disturbs the scheduler inside a service that has a control socket (liveroom, or any other "
	       "on its runtime).",
	.size = sizeof(struct runtime_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_params,
};

/* One target's connection. */
struct link {
	struct target *target;
	pid_t pid;
	unsigned long long start;
	struct runtime_control *control; /* NULL: closed */
	struct runtime_status before, now;
	int64_t worst_us;
	unsigned fewest_live;
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

static void describe(const struct fault *f, char *buf, size_t size)
{
	const struct runtime_params *p = params_of(f);
	char stall[UNITS_TEXT_MAX], interval[UNITS_TEXT_MAX];

	if (p->action == PARK_P)
		snprintf(buf, size, "park-p %" PRId64, p->count);
	else if (p->count == 1)
		snprintf(buf, size, "stall-safepoint %s every %s", units_duration(p->stall_ns, stall),
			 units_duration(p->interval_ns, interval));
	else
		snprintf(buf, size, "stall-safepoint %" PRId64 " x %s every %s", p->count,
			 units_duration(p->stall_ns, stall), units_duration(p->interval_ns, interval));
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

	if (r == 0 && !strstr(help, action_names[p->action]))
		r = err_set(e, EOPNOTSUPP, "the service does not know %s (it knows: %.200s)",
			    action_names[p->action], help);
	if (r == 0)
		r = ask_status(l->control, &l->before, e);
	if (r == 0 && p->action == PARK_P && p->count >= l->before.procs) {
		r = err_set(e, ERANGE, "it has %u Ps, and parking %" PRId64 " would leave none",
			    l->before.procs, p->count);
		err_hint(e, "ask for a smaller count, or give the target more CPUs");
	}
	return r;
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
	describe(f, what, sizeof what);
	op = xasprintf("process %d (%s/%s) by %s: %s, %u Ps, lease %s",
		       runtime_control_peer(l.control), t->ns, t->name, params_of(f)->control, what,
		       l.before.procs, units_duration(lease_of(f), lease));
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

	str_addf(&s, "%s tag=%s lease_ms=%" PRId64 " count=%" PRId64, action_names[p->action], st->tag,
		 (int64_t)(lease_of(f) / NSEC_PER_MSEC), p->count);
	if (p->action == STALL_SAFEPOINT)
		str_addf(&s, " stall_us=%" PRId64 " interval_us=%" PRId64,
			 (int64_t)(p->stall_ns / NSEC_PER_USEC),
			 (int64_t)(p->interval_ns / NSEC_PER_USEC));
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
	int r = ask_status(l->control, &l->before, e);

	if (r == 0)
		r = runtime_control_ask(l->control, command, answer, e);
	if (r == 0)
		r = ask_status(l->control, &l->now, e);
	if (r == 0 && !runtime_status_find(&l->now, st->tag, &a))
		r = err_set(e, EIO, "the service does not list the action that it just took");
	l->fewest_live = l->before.live;
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

	if (runtime_status_parse(text, &l->now, NULL) < 0)
		return;
	l->fewest_live = MIN_OF(l->fewest_live, l->now.live);
	if (runtime_status_find(&l->now, st->tag, &a))
		l->worst_us = MAX_OF(l->worst_us, a.worst_us);
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
	else
		runtime_control_send(l->control, "status", NULL);
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

/* Half a stall is what a probe that comes at any time inside one meets on average. */
static bool felt(const struct runtime_params *p, const struct link *l)
{
	if (p->action == PARK_P)
		return l->fewest_live < l->before.live;
	return l->worst_us * NSEC_PER_USEC >= p->stall_ns / 2;
}

static int runtime_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct runtime_params *p = params_of(f);
	const struct runtime_state *st = f->state;
	char worst[UNITS_TEXT_MAX];
	const struct link *l = NULL;
	size_t n = 0, probed = 0;

	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	describe(f, ret->requested, sizeof ret->requested);
	for (size_t i = 0; i < st->n; i++) {
		n += felt(p, &st->items[i]);
		probed += p->action == PARK_P || st->items[i].now.probes > st->items[i].before.probes;
		if (!l || st->items[i].worst_us > l->worst_us)
			l = &st->items[i];
	}
	if (!l || !probed)
		return 0;
	if (p->action == PARK_P)
		snprintf(ret->measured, sizeof ret->measured, "Ps %u to %u, on %zu of %zu targets",
			 l->before.live, l->fewest_live, n, st->n);
	else
		snprintf(ret->measured, sizeof ret->measured,
			 "time to safepoint up to %s, felt on %zu of %zu targets",
			 units_duration(l->worst_us * NSEC_PER_USEC, worst), n, st->n);
	ret->state = n ? EFFECT_MEASURED : EFFECT_NONE;
	return 0;
}

static int runtime_report(struct fault *f, json_t **ret, struct err *e)
{
	const struct runtime_state *st = f->state;
	json_t *list = json_array();

	for (size_t i = 0; i < st->n; i++) {
		const struct link *l = &st->items[i];

		json_array_append_new(
			list, json_pack("{s:s++, s:i, s:i, s:i, s:I, s:I, s:s}", "target", l->target->ns,
					"/", l->target->name, "pid", (int)l->pid, "ps_before",
					(int)l->before.live, "ps_fewest", (int)l->fewest_live,
					"worst_ttsp_ns", (json_int_t)(l->worst_us * NSEC_PER_USEC), "probes",
					(json_int_t)(l->now.probes - l->before.probes), "lost", l->lost));
	}
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

/* Stalls add up; two that park could together ask for more Ps than there are. */
static const char *runtime_conflict(const void *a, const void *b)
{
	const struct runtime_params *x = a, *y = b;

	return x->action == PARK_P && y->action == PARK_P
		       ? "together they may ask for more Ps than the service has"
		       : NULL;
}

const struct fault_driver runtime_chaos = {
	.kind = "RuntimeChaos",
	.field = "runtimeChaos",
	.api_version = "brunt.dev/v1alpha1",
	.advice = "ask for longer or more frequent stalls; a service with one P cannot ask itself to stop",
	.schema = &runtime_schema,
	.conflict = runtime_conflict,
	.plan = runtime_plan,
	.snapshot = snapshot,
	.prepare = runtime_prepare,
	.inject = runtime_inject,
	.tick = runtime_tick,
	.retarget = runtime_retarget,
	.off = runtime_off,
	.revert = runtime_revert,
	.resnapshot = runtime_resnapshot,
	.effect = runtime_effect,
	.lease_left = runtime_lease_left,
	.report = runtime_report,
	.release = runtime_release,
	.doctor = runtime_doctor,
};
