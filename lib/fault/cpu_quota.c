/*
 * CPU quota: the target's control group gets so much CPU time in each period and is put to sleep for the
 * rest of it, as a container is that hits its limit. Nothing competes with the victim for CPUs.
 *
 * The period stays what it is; v1's quota file and v2's cpu.max are saved as text and written back as
 * such. The value that was written is in the undo record before it is written: a value that is
 * neither that nor the saved one is somebody else's by now, and stays.
 */
#include "driver.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "amount.h"
#include "cpu_group.h"
#include "group_check.h"
#include "group_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sysinfo.h>

enum { QUOTA_MIN_US = 1000 }; /* the kernel's */

static const int64_t full_min_ns = 500 * NSEC_PER_MSEC; /* less says little of what is used */

enum cpu_action { ACTION_QUOTA };
static const char *const action_names[] = {"quota", NULL};

struct cpu_params {
	struct fault_common common;
	int action;
	struct amount cpu; /* milli CPUs */
};

static int parse_cpu(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	return amount_parse(storage, node, ctx, units_parse_milli_cpu, "CPU time");
}

#define OFFSET(f) offsetof(struct cpu_params, f)

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .names = action_names, .required = true,
	 .offset = OFFSET(action), .example = "quota",
	 .doc = "quota: the CPU time that the target's control group may use in each of its periods "
		"(v1 cfs_quota_us, v2 cpu.max), beyond which it is throttled."},
	{.name = "cpu", .type = FIELD_CUSTOM, .parse = parse_cpu, .free = amount_free, .required = true,
	 .offset = OFFSET(cpu), .example = "250m",
	 .doc = "CPUs as Kubernetes writes them (250m, 1.5), or a percentage of what the target may use "
		"when the fault is planned: its quota, or the machine's CPUs if it has none."},
};

static const struct schema cpu_schema = {
	.name = "CPUChaos",
	.doc = "Gives its targets' control groups less CPU time and restores their quota exactly.",
	.size = sizeof(struct cpu_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
};

/* One control group. */
struct throttle {
	struct cgroup cg;
	struct target *target;
	struct cpu_quota was;
	int64_t goal_us;
	struct cpu_counts before, now;
	struct group_watch watch;
	int64_t looked_ns;
	bool full; /* throttled in nearly every period since the look before */
	unsigned runs; /* times that it was */
	int64_t full_ns, full_used_ns;
};

struct cpu_state {
	struct throttle *items;
	size_t n;
	bool injected;
};

static const struct cpu_params *params_of(const struct fault *f)
{
	return f->params;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static int choose_goal(const struct fault *f, struct throttle *t, struct err *e)
{
	const struct cpu_params *p = params_of(f);
	int64_t all_us, limit_us;
	int r = cpu_group_read(&t->cg, &t->was, e);

	if (r < 0)
		return r;
	all_us = t->was.period_us * get_nprocs();
	limit_us = MIN_OF(t->was.quota_us, all_us);
	t->goal_us = (int64_t)(p->cpu.fixed ? p->cpu.fixed * (uint64_t)t->was.period_us / 1000
					    : amount_share(&p->cpu, (uint64_t)limit_us));
	if (t->goal_us < QUOTA_MIN_US) {
		err_set(e, EINVAL, "%s: %s would be %" PRId64 " us of each %" PRId64 " us, the kernel's "
			"least is %d us", t->cg.path, p->cpu.text, t->goal_us, t->was.period_us,
			QUOTA_MIN_US);
		return err_hint(e, "ask for more");
	}
	if (t->goal_us >= limit_us)
		return err_set(e, EINVAL, "%s may use %" PRId64 "m already: %s would not throttle it",
			       t->cg.path, limit_us * 1000 / t->was.period_us, p->cpu.text);
	if (t->was.burst_us > t->goal_us)
		return err_set(e, EBUSY, "%s has a burst of %" PRId64 " us, which the kernel does not allow "
			       "above a quota of %" PRId64 " us", t->cg.path, t->was.burst_us, t->goal_us);
	return 0;
}

static bool known_group(const struct cpu_state *st, const char *path)
{
	for (size_t i = 0; i < st->n; i++)
		if (streq(st->items[i].cg.path, path))
			return true;
	return false;
}

static int plan_process(struct fault *f, struct target *target, pid_t pid, void *ops, struct err *e)
{
	struct cpu_state *st = f->state;
	autofree char *op = NULL;
	struct throttle *t;
	struct cgroup cg;
	int r = cgroup_of_pid(pid, "cpu", &cg, e);

	if (r < 0)
		return r;
	if (known_group(st, cg.path)) { /* containers of one pod may share a group */
		cgroup_done(&cg);
		return 0;
	}
	t = array_push(st->items, st->n);
	*t = (struct throttle){.cg = cg, .target = target_ref(target)};
	if (group_holds_brunt(&cg, "cpu"))
		return err_set(e, EPERM, "%s holds brunt itself: its quota is left alone", cg.path);
	r = choose_goal(f, t, e);
	if (r < 0)
		return r;
	op = xasprintf("%s: write \"%" PRId64 "\" to %s, of a period of %" PRId64 " us", cg.path,
		       t->goal_us, cpu_group_file(&cg), t->was.period_us);
	strlist_add(ops, op);
	return 0;
}

static int cpu_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	struct cpu_state *st = xcalloc(1, sizeof *st);
	int r;

	f->state = st;
	r = group_each_process(f, "CPU time", plan_process, ops, e);
	if (st->n)
		f->backend = st->items[0].cg.version == 1 ? "cgroup v1" : "cgroup v2";
	return r;
}

/* ---- snapshot, prepare, inject --------------------------------------------------------------- */

static int cpu_snapshot(struct fault *f, const struct target *target, struct str *ret, struct err *e)
{
	const struct cpu_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		if (st->items[i].target == target)
			r = cpu_group_snapshot(&st->items[i].cg, ret, e);
	return r;
}

static int record_group(const struct throttle *t, json_t *groups, struct err *e)
{
	autofree char *wrote = cpu_group_text(&t->cg, t->goal_us, t->was.period_us);
	json_t *record = group_record_new(&t->cg, e);
	autostr saved = {0};
	int r = record ? cgroup_read(&t->cg, cpu_group_file(&t->cg), &saved, e) : -ENOENT;

	if (r < 0) {
		json_decref(record);
		return r;
	}
	json_object_set_new(record, "saved", json_string(saved.s));
	json_object_set_new(record, "wrote", json_string(wrote));
	json_array_append_new(groups, record);
	return 0;
}

static int record_target(const struct fault *f, const struct target *target, json_t *groups, struct err *e)
{
	const struct cpu_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		if (st->items[i].target == target)
			r = record_group(&st->items[i], groups, e);
	return r;
}

static int cpu_prepare(struct fault *f, struct err *e)
{
	struct cpu_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		r = choose_goal(f, &st->items[i], e);
	return r < 0 ? r : group_prepare(f, record_target, e);
}

static int inject_group(struct throttle *t, struct err *e)
{
	autofree char *text = cpu_group_text(&t->cg, t->goal_us, t->was.period_us);
	autostr now = {0};
	int r = cpu_group_counts(&t->cg, &t->before, e);

	if (r == 0)
		r = cgroup_write(&t->cg, cpu_group_file(&t->cg), text, e);
	if (r == 0)
		r = cgroup_read(&t->cg, cpu_group_file(&t->cg), &now, e);
	if (r == 0 && !streq(now.s, text))
		r = err_set(e, EIO, "%s: wrote \"%s\", read back \"%s\"", t->cg.path, text, now.s);
	t->now = t->before;
	if (r == 0)
		group_watch_begin(&t->watch, &t->cg, cpu_group_files(&t->cg));
	t->looked_ns = clock_now_ns();
	return r;
}

static int cpu_inject(struct fault *f, struct err *e)
{
	struct cpu_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		r = inject_group(&st->items[i], e);
	st->injected = r == 0;
	return r;
}

/* What is used while it wants more than it may is what the quota gives. */
static void look(struct throttle *t)
{
	struct cpu_counts was = t->now;
	int64_t now_ns = clock_now_ns();
	uint64_t periods, throttled;
	bool full;

	if (cpu_group_counts(&t->cg, &t->now, NULL) < 0) { /* it may be gone */
		t->now = was;
		return;
	}
	periods = t->now.periods - was.periods;
	throttled = t->now.throttled - was.throttled;
	full = was.has_used && t->now.has_used && periods && throttled * 10 >= periods * 9;
	t->runs += full && !t->full;
	t->full = full;
	if (full) {
		t->full_ns += now_ns - t->looked_ns;
		t->full_used_ns += (int64_t)(t->now.used_ns - was.used_ns);
	}
	t->looked_ns = now_ns;
}

static int cpu_tick(struct fault *f, struct err *e)
{
	struct cpu_state *st = f->state;

	for (size_t i = 0; st->injected && i < st->n; i++)
		look(&st->items[i]);
	return 0;
}

static bool is_throttled(const struct fault *f, const char *path)
{
	const struct cpu_state *st = f->state;

	for (size_t i = 0; i < st->n; i++)
		if (group_covers(&st->items[i].cg, path))
			return true;
	return false;
}

static void check_group(struct throttle *t, struct str *ret)
{
	autofree char *text = cpu_group_text(&t->cg, t->goal_us, t->was.period_us);
	autofree char *period = xasprintf("%" PRId64, t->was.period_us);
	bool written = group_watch_take(&t->watch);
	size_t before = ret->len;

	if (!group_check_there(&t->watch, &t->cg, ret))
		return;
	group_check_file(&t->cg, cpu_group_file(&t->cg), text, ret);
	if (t->cg.version == 1)
		group_check_file(&t->cg, cpu_group_files(&t->cg)[1], period, ret);
	if (written && ret->len == before)
		str_addf(ret, "somebody wrote to the CPU limit of %s; it is %s again\n", t->cg.path,
			 text);
}

static int cpu_check(struct fault *f, const struct target *target, struct str *ret, struct err *e)
{
	struct cpu_state *st = f->state;
	bool any = false;

	for (size_t i = 0; st->injected && i < st->n; i++) {
		if (st->items[i].target == target)
			check_group(&st->items[i], ret);
		any |= st->items[i].target == target;
	}
	/* A group that it shares with another target is looked at there. */
	if (st->injected && !group_check_processes(f, target, "cpu", is_throttled, ret) && any)
		str_add(ret, "none of its processes runs any more\n");
	return 0;
}

/* ---- revert ---------------------------------------------------------------------------------- */

static enum undo_outcome revert_in(const struct cgroup *cg, const char *saved, const char *wrote,
				   struct err *e)
{
	const char *file = cpu_group_file(cg);
	autostr now = {0};
	int r = cgroup_read(cg, file, &now, e);

	if (r == 0 && streq(now.s, wrote))
		r = cgroup_write(cg, file, saved, e);
	else if (r == 0 && !streq(now.s, saved)) {
		err_set(e, EEXIST, "%s: somebody set %s to \"%s\" meanwhile; left", cg->path, file, now.s);
		return UNDO_FOREIGN;
	}
	if (r == -ENOENT || r == -ENODEV)
		return UNDO_GONE;
	return r < 0 ? UNDO_FAILED : UNDO_REVERTED;
}

static enum undo_outcome revert_group(const json_t *record, char *text, size_t size)
{
	const char *saved = json_string_value(json_object_get(record, "saved"));
	const char *wrote = json_string_value(json_object_get(record, "wrote"));
	enum undo_outcome outcome;
	autocgroup cg = {0};
	struct err e = {0};

	if (!saved || !wrote) {
		snprintf(text, size, "undo record of CPUChaos is damaged");
		return UNDO_FAILED;
	}
	if (group_record_find(record, &cg) < 0)
		return UNDO_GONE;
	outcome = revert_in(&cg, saved, wrote, &e);
	if (e.code && outcome != UNDO_GONE)
		snprintf(text, size, "%s", e.text);
	return outcome;
}

static int vet_record(const json_t *record, struct err *e)
{
	if (group_is_limit(json_object_get(record, "saved")) &&
	    group_is_limit(json_object_get(record, "wrote")))
		return 0;
	return err_set(e, EINVAL, "it has no quotas");
}

static int cpu_vet(const struct undo *u, struct err *e)
{
	return group_vet(u, vet_record, e);
}

static int cpu_revert(const struct undo *undo, size_t n, struct broker *broker,
		      struct undo_result *results, struct err *e)
{
	return group_revert(undo, n, results, revert_group);
}

static int snapshot_record(const json_t *record, struct str *ret, struct err *e)
{
	autocgroup cg = {0};
	int r = group_record_find(record, &cg);

	return r < 0 ? r : cpu_group_snapshot(&cg, ret, e);
}

static int cpu_resnapshot(const struct undo *u, struct broker *broker, struct str *ret, struct err *e)
{
	return group_resnapshot(u, ret, snapshot_record, e);
}

/* ---- effect, report -------------------------------------------------------------------------- */

static double milli(const struct throttle *t, double us_each_period)
{
	return us_each_period * 1000 / (double)t->was.period_us;
}

/* The quota in force, as the kernel reads it; nothing when the group is gone. */
static void compare_quota(const struct fault *f, const struct throttle *t, struct effect *ret)
{
	struct cpu_quota now;
	double quota;

	if (cpu_group_read(&t->cg, &now, NULL) < 0)
		return;
	quota = now.quota_us == INT64_MAX ? (double)get_nprocs() * 1000
					  : (double)now.quota_us * 1000 / (double)now.period_us;
	effect_add(ret, &(struct effect_figure){
				.name = "quota",
				.unit = EFFECT_MILLI_CPU,
				.asked = milli(t, (double)t->goal_us),
				.value = quota,
				.low = quota,
				.high = quota,
				.tolerance = params_of(f)->common.tolerance,
				.limit = true,
			});
}

/* A period's quota may have been used before the first look, or be used after the last. */
static void compare_use(const struct fault *f, const struct throttle *t, struct effect *ret)
{
	double used = (double)t->full_used_ns, ns = (double)t->full_ns;
	double margin = (double)(t->runs * t->goal_us) * NSEC_PER_USEC;

	if (t->full_ns < full_min_ns)
		return;
	effect_add(ret, &(struct effect_figure){
				.name = "CPU time while throttled",
				.unit = EFFECT_MILLI_CPU,
				.asked = milli(t, (double)t->goal_us),
				.value = 1000 * used / ns,
				.low = 1000 * MAX_OF(used - margin, 0.0) / ns,
				.high = 1000 * (used + margin) / ns,
				.slack = milli(t, (double)t->was.burst_us),
				.tolerance = params_of(f)->common.tolerance,
				.limit = true,
			});
}

/* A quota that nobody uses up is not felt. */
static int cpu_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct cpu_state *st = f->state;
	uint64_t periods = 0, throttled = 0, ns = 0;
	char text[UNITS_TEXT_MAX];

	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	if (!st->n)
		return 0;
	for (size_t i = 0; i < st->n; i++) {
		const struct throttle *t = &st->items[i];

		periods += t->now.periods - t->before.periods;
		throttled += t->now.throttled - t->before.throttled;
		ns += t->now.throttled_ns - t->before.throttled_ns;
	}
	snprintf(ret->requested, sizeof ret->requested, "quota %" PRId64 "m",
		 st->items[0].goal_us * 1000 / st->items[0].was.period_us);
	snprintf(ret->measured, sizeof ret->measured,
		 "throttled in %" PRIu64 " of %" PRIu64 " periods, for %s in all", throttled, periods,
		 units_duration((int64_t)ns, text));
	effect_fold(ret, throttled ? EFFECT_MEASURED : EFFECT_NONE);
	for (size_t i = 0; i < st->n; i++) {
		compare_quota(f, &st->items[i], ret);
		compare_use(f, &st->items[i], ret);
	}
	return 0;
}

static int cpu_report(struct fault *f, json_t **ret, struct err *e)
{
	const struct cpu_state *st = f->state;
	json_t *groups = json_array();

	for (size_t i = 0; i < st->n; i++) {
		const struct throttle *t = &st->items[i];

		json_array_append_new(
			groups,
			json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "path", t->cg.path, "version",
				  t->cg.version, "quota_us", (json_int_t)t->goal_us, "period_us",
				  (json_int_t)t->was.period_us, "periods",
				  (json_int_t)(t->now.periods - t->before.periods), "throttled",
				  (json_int_t)(t->now.throttled - t->before.throttled), "throttled_ns",
				  (json_int_t)(t->now.throttled_ns - t->before.throttled_ns)));
	}
	*ret = json_pack("{s:o}", "groups", groups);
	return 0;
}

static void cpu_release(struct fault *f)
{
	struct cpu_state *st = f->state;

	for (size_t i = 0; st && i < st->n; i++) {
		cgroup_done(&st->items[i].cg);
		group_watch_done(&st->items[i].watch);
		target_unref(st->items[i].target);
	}
	if (st)
		free(st->items);
	free(st);
	f->state = NULL;
}

static const char *cpu_conflict(const void *a, const void *b)
{
	return "a control group has one quota, and each would take the other's value for a stranger's";
}

static int cpu_doctor(struct broker *broker, struct capability_list *ret, struct err *e)
{
	autofree char *name = xasprintf("brunt-doctor-cpu-%d", (int)getpid());
	autocgroup parent = {0}, scratch = {0};
	struct cpu_quota q = {0};
	struct err why = {0};
	bool ok = cgroup_own("cpu", &parent, &why) == 0 &&
		  cgroup_make(&parent, name, &scratch, &why) == 0;

	if (ok) {
		ok = cpu_group_read(&scratch, &q, &why) == 0;
		if (ok) {
			autofree char *text = cpu_group_text(&scratch, q.period_us / 2, q.period_us);

			ok = cgroup_write(&scratch, cpu_group_file(&scratch), text, &why) == 0 &&
			     cpu_group_read(&scratch, &q, &why) == 0 && q.quota_us == q.period_us / 2;
		}
		cgroup_remove(&scratch, NULL);
	}
	capability_add(ret, "CPUChaos", "quota", true, ok,
		       !ok			? why.text
		       : scratch.version == 1 ? "set and read back on cgroup v1"
						: "set and read back on cgroup v2",
		       "mount the cpu controller (CONFIG_CFS_BANDWIDTH) and run as root");
	return 0;
}

const struct fault_driver cpu_quota = {
	.kind = "CPUChaos",
	.field = "cpuChaos",
	.api_version = "brunt.dev/v1alpha1",
	.advice = "ask for less CPU, or put load on the targets",
	.schema = &cpu_schema,
	.conflict = cpu_conflict,
	.plan = cpu_plan,
	.snapshot = cpu_snapshot,
	.prepare = cpu_prepare,
	.inject = cpu_inject,
	.tick = cpu_tick,
	.check = cpu_check,
	.vet = cpu_vet,
	.revert = cpu_revert,
	.resnapshot = cpu_resnapshot,
	.effect = cpu_effect,
	.report = cpu_report,
	.release = cpu_release,
	.doctor = cpu_doctor,
};
