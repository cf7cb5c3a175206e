/*
 * Memory limit: the real limit of the target's control group shrinks, at once or in steps, and is
 * put back exactly. Nothing is allocated beside the victim.
 *
 * Between the limit as it was (or the usage, when there was none) and the goal lies a ladder of
 * values. They are all in the undo record before the first is written, so that whoever reverts can
 * tell our value from somebody else's. Where v1 refuses a rung with EBUSY because so little cannot
 * be reclaimed, the lowest that it takes is found by halving; the report says so, the effect compares
 * it with what was asked for, and each tick tries again. Rungs are equal ratios apart, so that "the
 * lowest" is true to some percent whatever the range.
 */
#include "driver.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "amount.h"
#include "group_check.h"
#include "group_record.h"
#include "memory_group.h"
#include "memory_undo.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/sysinfo.h>

enum memory_action { ACTION_HIGH, ACTION_LIMIT };
enum memory_of { OF_HOST, OF_LIMIT, OF_USAGE };
enum { RUNGS_MIN = 256, STEP_RUNGS_MIN = 4, PAGE = 4096 };

static const char *const action_names[] = {"high", "limit", NULL};
static const char *const of_names[] = {"host", "limit", "usage", NULL};

struct memory_params {
	struct fault_common common;
	int action, of;
	struct amount size; /* bytes */
	int64_t steps, over_ns;
	uint32_t until_pressure_ppm; /* 0: not asked */
};

static int parse_size(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	return amount_parse(storage, node, ctx, units_parse_size, "memory");
}

static int check_params(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct memory_params *p = obj;
	int r = 0;

	if (p->steps > 1 && p->over_ns == 0)
		r = field_error(ctx, node, "steps", "steps needs the field over: in which time?");
	if (p->steps == 1 && p->over_ns)
		r = field_error(ctx, node, "over", "only goes with steps: in how many?");
	if (p->size.fixed && yaml_get(node, "of"))
		r = field_error(ctx, node, "of", "only goes with a percentage: size is %s", p->size.text);
	return r;
}

#define OFFSET(f) offsetof(struct memory_params, f)

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .names = action_names, .required = true,
	 .offset = OFFSET(action), .example = "limit",
	 .doc = "limit: the hard limit, past which the kernel kills (v1 limit_in_bytes, v2 "
		"memory.max). high: the limit past which it stalls (memory.high; cgroup v2 only)."},
	{.name = "size", .type = FIELD_CUSTOM, .parse = parse_size, .free = amount_free,
	 .required = true, .offset = OFFSET(size), .example = "70%",
	 .doc = "What the limit becomes: bytes (256MiB) or a percentage of what `of` names."},
	{.name = "of", .type = FIELD_ENUM, .names = of_names, .deflt = "limit", .offset = OFFSET(of),
	 .doc = "What a percentage is taken of: the limit in force, the usage when the fault begins, "
		"or the host's memory."},
	{.name = "steps", .type = FIELD_INT, .deflt = "1", .offset = OFFSET(steps), .has_range = true,
	 .min = 1, .max = 1000, .doc = "In how many steps the limit shrinks."},
	{.name = "over", .type = FIELD_DURATION, .deflt = "0s", .offset = OFFSET(over_ns),
	 .example = "10s", .doc = "The time that the steps take together."},
	{.name = "untilPressure", .type = FIELD_PERCENT, .offset = OFFSET(until_pressure_ppm),
	 .example = "20", .doc = "Shrinks no further once some tasks have waited for memory for this "
				 "share of the last ten seconds (PSI of the group, or of the host on v1)."},
};

static const struct schema memory_schema = {
	.name = "MemoryChaos",
	.doc = "Shrinks the memory limit of its targets' control groups and restores it exactly.",
	.size = sizeof(struct memory_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_params,
};

/* One control group, shrunk or to be shrunk. */
struct squeeze {
	struct memory_group group;
	struct target *target;
	uint64_t start_bytes, goal_bytes;
	uint64_t *rungs; /* from just below start down to goal */
	size_t n_rungs, n_steps, reached; /* reached: how many rungs have been taken */
	bool busy;
	struct memory_counts before, now;
	struct group_watch watch;
};

struct memory_state {
	struct squeeze *items;
	size_t n;
	int64_t begun_ns;
	bool pressed; /* untilPressure was reached */
};

static const struct memory_params *params_of(const struct fault *f)
{
	return f->params;
}

static bool is_high(const struct fault *f)
{
	return params_of(f)->action == ACTION_HIGH;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static uint64_t host_bytes(void)
{
	struct sysinfo si;

	return sysinfo(&si) == 0 ? (uint64_t)si.totalram * si.mem_unit : 0;
}

static int choose_goal(const struct fault *f, struct squeeze *s, struct err *e)
{
	const struct memory_params *p = params_of(f);
	uint64_t limit, base;
	int r = memory_group_limit(&s->group, is_high(f), &limit, e);

	if (r == 0)
		r = memory_group_counts(&s->group, &s->before, e);
	if (r < 0)
		return r;
	if (p->of == OF_LIMIT && !p->size.fixed && limit == UINT64_MAX) {
		err_set(e, EINVAL, "%s has no limit to take %s of", s->group.cg.path, p->size.text);
		return err_hint(e, "say of: usage, of: host, or a size in bytes");
	}
	base = p->of == OF_LIMIT ? limit : p->of == OF_USAGE ? s->before.usage_bytes : host_bytes();
	s->start_bytes = limit == UINT64_MAX ? MAX_OF(s->before.usage_bytes, (uint64_t)PAGE) : limit;
	s->goal_bytes = p->size.fixed ? p->size.fixed : amount_share(&p->size, base);
	s->goal_bytes = MAX_OF(s->goal_bytes / PAGE * PAGE, (uint64_t)PAGE);
	if (s->goal_bytes >= limit)
		return err_set(e, EINVAL, "%s is limited to %" PRIu64 " bytes already: %s would not "
			       "shrink it", s->group.cg.path, limit, p->size.text);
	s->start_bytes = MAX_OF(s->start_bytes, s->goal_bytes);
	return 0;
}

/* Of the steps that were asked for, all equal. */
static uint64_t step_bytes(const struct squeeze *s, size_t step)
{
	double way = (double)(s->start_bytes - s->goal_bytes);

	if (step == s->n_steps)
		return s->goal_bytes;
	return (s->start_bytes - (uint64_t)(way * (double)step / (double)s->n_steps)) / PAGE * PAGE;
}

/* Each step is a rung, and between two of them are more, to stop at where the kernel refuses. */
static void build_ladder(const struct memory_params *p, struct squeeze *s)
{
	size_t each;

	s->n_steps = (size_t)p->steps;
	each = MAX_OF((RUNGS_MIN + s->n_steps - 1) / s->n_steps, (size_t)STEP_RUNGS_MIN);
	s->n_rungs = s->n_steps * each;
	s->rungs = xcalloc(s->n_rungs, sizeof *s->rungs);
	for (size_t i = 0; i < s->n_rungs; i++) {
		double from = (double)step_bytes(s, i / each), to = (double)step_bytes(s, i / each + 1);
		double at = from * pow(to / from, (double)(i % each + 1) / (double)each);

		s->rungs[i] = MAX_OF((uint64_t)(at + 0.5) / PAGE * PAGE, s->goal_bytes);
		if ((i + 1) % each == 0)
			s->rungs[i] = step_bytes(s, (i + 1) / each);
	}
}

static bool known_group(const struct memory_state *st, const char *path)
{
	for (size_t i = 0; i < st->n; i++)
		if (streq(st->items[i].group.cg.path, path))
			return true;
	return false;
}

static int plan_container(struct fault *f, struct target *t, pid_t pid, void *ops, struct err *e)
{
	struct memory_state *st = f->state;
	struct memory_group group;
	struct squeeze *s;
	char from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];
	autofree char *op = NULL;
	int r = memory_group_of_pid(pid, &group, e);

	if (r < 0)
		return r;
	if (known_group(st, group.cg.path)) { /* containers of one pod may share a group */
		memory_group_done(&group);
		return 0;
	}
	s = array_push(st->items, st->n);
	s->group = group;
	s->target = target_ref(t);
	if (group_holds_brunt(&group.cg, "memory"))
		return err_set(e, EPERM, "%s holds brunt itself: its limit is left alone",
			       group.cg.path);
	if (is_high(f) && group.cg.version == 1)
		return err_set(e, EOPNOTSUPP, "%s is on cgroup v1, which has no memory.high: use "
			       "action: limit", group.cg.path);
	r = choose_goal(f, s, e);
	if (r < 0)
		return r;
	build_ladder(params_of(f), s);
	op = xasprintf("%s: shrink %s from %s to %s in %zu step%s", group.cg.path,
		       group.cg.version == 1 ? "memory.limit_in_bytes"
		       : is_high(f)          ? "memory.high"
					     : "memory.max",
		       units_size(s->start_bytes, from), units_size(s->goal_bytes, to), s->n_steps,
		       s->n_steps == 1 ? "" : "s");
	strlist_add(ops, op);
	return 0;
}

static int memory_plan(struct fault *f, struct strlist *ops, struct err *e)
{
	struct memory_state *st = xcalloc(1, sizeof *st);
	int r;

	f->state = st;
	r = group_each_process(f, "memory", plan_container, ops, e);
	if (st->n)
		f->backend = st->items[0].group.cg.version == 1 ? "cgroup v1" : "cgroup v2";
	return r;
}

/* ---- prepare, inject, tick ------------------------------------------------------------------- */

static json_t *ladder_json(const struct squeeze *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->n_rungs; i++)
		json_array_append_new(list, json_integer((json_int_t)s->rungs[i]));
	return list;
}

static int record_group(const struct fault *f, const struct squeeze *s, json_t *groups, struct err *e)
{
	json_t *record = group_record_new(&s->group.cg, e), *saved;
	int r = record ? memory_group_save(&s->group, &saved, e) : -ENOENT;

	if (r < 0) {
		json_decref(record);
		return r;
	}
	json_object_set_new(record, "high", json_boolean(is_high(f)));
	json_object_set_new(record, "saved", saved);
	json_object_set_new(record, "wrote", ladder_json(s));
	json_array_append_new(groups, record);
	return 0;
}

/* The plan saw the usage before the baseline; what counts is the usage when the fault begins. */
static int aim_again(struct fault *f, struct err *e)
{
	struct memory_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++) {
		free(take(st->items[i].rungs));
		r = choose_goal(f, &st->items[i], e);
		build_ladder(params_of(f), &st->items[i]);
	}
	return r;
}

static int record_target(const struct fault *f, const struct target *target, json_t *groups, struct err *e)
{
	const struct memory_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		if (st->items[i].target == target)
			r = record_group(f, &st->items[i], groups, e);
	return r;
}

static int memory_prepare(struct fault *f, struct err *e)
{
	int r = aim_again(f, e);

	return r < 0 ? r : group_prepare(f, record_target, e);
}

/* 1 when the rung was taken, 0 when the kernel refuses it. */
static int try_rung(const struct fault *f, struct squeeze *s, size_t rung, struct err *e)
{
	struct err why = {0};
	int r = memory_group_shrink(&s->group, is_high(f), s->rungs[rung - 1], &why);

	if (r == -EBUSY)
		return 0;
	if (r < 0) {
		*e = why;
		return r;
	}
	s->reached = rung;
	return 1;
}

/* Down to rung `want`, or where that is refused, to the lowest rung that is not. */
static int descend(const struct fault *f, struct squeeze *s, size_t want, struct err *e)
{
	size_t refused = want + 1, rung = want;
	int r = 1;

	s->busy = false;
	while (refused > s->reached + 1) {
		r = try_rung(f, s, rung, e);
		if (r < 0)
			break;
		if (r == 0)
			refused = rung;
		if (rung == want && r == 1)
			break;
		s->busy = true;
		rung = s->reached + MAX_OF((refused - s->reached) / 2, (size_t)1);
	}
	/* The group went with its pod. */
	return r == -ENOENT || r == -ENODEV ? 0 : MIN_OF(r, 0);
}

static size_t rung_now(const struct fault *f, const struct squeeze *s)
{
	const struct memory_state *st = f->state;
	const struct memory_params *p = params_of(f);
	int64_t gone = clock_now_ns() - st->begun_ns;
	size_t step = p->over_ns == 0 || gone >= p->over_ns
			      ? s->n_steps
			      : (size_t)((double)gone / (double)p->over_ns * (double)s->n_steps) + 1;

	return MIN_OF(step, s->n_steps) * (s->n_rungs / s->n_steps);
}

/* "some avg10=1.23 ..." in parts per million; 0 where there is no PSI. */
static uint32_t pressure_ppm(const struct memory_group *g)
{
	static const struct cgroup host = {.path = "/proc/pressure", .version = 2};
	autostr text = {0};
	const char *p;

	if (g->cg.version == 1 ? cgroup_read(&host, "memory", &text, NULL) < 0
			       : cgroup_read(&g->cg, "memory.pressure", &text, NULL) < 0)
		return 0;
	p = strstr(text.s, "some avg10=");
	return p ? (uint32_t)(strtod(p + strlen("some avg10="), NULL) * 10000) : 0;
}

static void note_pressure(const struct fault *f)
{
	struct memory_state *st = f->state;
	uint32_t until = params_of(f)->until_pressure_ppm;

	for (size_t i = 0; until && i < st->n; i++)
		st->pressed |= pressure_ppm(&st->items[i].group) >= until;
}

static int squeeze_all(struct fault *f, struct err *e)
{
	struct memory_state *st = f->state;
	int r = 0;

	note_pressure(f);
	for (size_t i = 0; r == 0 && !st->pressed && i < st->n; i++)
		r = descend(f, &st->items[i], rung_now(f, &st->items[i]), e);
	for (size_t i = 0; i < st->n; i++)
		memory_group_counts(&st->items[i].group, &st->items[i].now, NULL);
	for (size_t i = 0; i < st->n; i++) /* our own writes */
		group_watch_take(&st->items[i].watch);
	return r;
}

static int memory_inject(struct fault *f, struct err *e)
{
	struct memory_state *st = f->state;
	int r;

	st->begun_ns = clock_now_ns();
	r = squeeze_all(f, e);
	for (size_t i = 0; r == 0 && i < st->n; i++) {
		struct squeeze *s = &st->items[i];
		uint64_t limit;

		r = memory_group_limit(&s->group, is_high(f), &limit, e);
		if (r == 0 && s->reached && limit != s->rungs[s->reached - 1])
			r = err_set(e, EIO, "%s: wrote a limit of %" PRIu64 " bytes, read back %" PRIu64,
				    s->group.cg.path, s->rungs[s->reached - 1], limit);
		if (r == 0 && !s->reached)
			r = err_set(e, EBUSY, "%s: the kernel cannot reclaim below %" PRIu64 " bytes",
				    s->group.cg.path, s->start_bytes);
		group_watch_begin(&s->watch, &s->group.cg, memory_group_files(&s->group));
	}
	return r;
}

/* ---- check ----------------------------------------------------------------------------------- */

static bool is_squeezed(const struct fault *f, const char *path)
{
	const struct memory_state *st = f->state;

	for (size_t i = 0; i < st->n; i++)
		if (group_covers(&st->items[i].group.cg, path))
			return true;
	return false;
}

static void check_limit(const struct fault *f, struct squeeze *s, struct str *ret)
{
	const char *const *file = memory_group_files(&s->group);
	bool written = group_watch_take(&s->watch);
	autofree char *want = NULL;
	size_t before = ret->len;

	if (!group_check_there(&s->watch, &s->group.cg, ret) || !s->reached)
		return;
	want = xasprintf("%" PRIu64, s->rungs[s->reached - 1]);
	for (; *file; file++)
		if (memory_group_writes(&s->group, is_high(f), *file))
			group_check_file(&s->group.cg, *file, want, ret);
	if (written && ret->len == before)
		str_addf(ret, "somebody wrote to the memory limit of %s; it is %s again\n",
			 s->group.cg.path, want);
}

/* A target that the limit has killed is down by the fault itself. */
static int memory_check(struct fault *f, const struct target *target, struct str *ret, struct err *e)
{
	struct memory_state *st = f->state;
	bool any = false, killed = false;
	size_t running;

	for (size_t i = 0; i < st->n; i++) {
		if (st->items[i].target != target)
			continue;
		check_limit(f, &st->items[i], ret);
		any = true;
		killed |= st->items[i].now.oom_kills > st->items[i].before.oom_kills;
	}
	running = group_check_processes(f, target, "memory", is_squeezed, ret);
	if (any && !running && !killed)
		str_add(ret, "none of its processes runs any more\n");
	return 0;
}

/* ---- snapshot -------------------------------------------------------------------------------- */

static int memory_snapshot(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	const struct memory_state *st = f->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < st->n; i++)
		if (st->items[i].target == t)
			r = memory_group_snapshot(&st->items[i].group, ret, e);
	return r;
}

/* ---- effect, report -------------------------------------------------------------------------- */

/* The limit that is in force, as the kernel reads it; the last that was set when the group is gone. */
static uint64_t limit_now(const struct fault *f, const struct squeeze *s)
{
	uint64_t limit = s->reached ? s->rungs[s->reached - 1] : s->start_bytes, read;

	return memory_group_limit(&s->group, is_high(f), &read, NULL) == 0 ? read : limit;
}

/* Stopped by pressure, it went as far as was asked, which is no number. */
static void compare_limits(const struct fault *f, struct effect *ret)
{
	const struct memory_state *st = f->state;

	if (st->pressed)
		ret->no_figure = "it stopped at the pressure that was asked for";
	for (size_t i = 0; !st->pressed && i < st->n; i++) {
		const struct squeeze *s = &st->items[i];
		double limit = (double)limit_now(f, s);

		effect_add(ret, &(struct effect_figure){
					.name = is_high(f) ? "memory.high" : "limit",
					.unit = EFFECT_BYTES,
					.asked = (double)s->goal_bytes,
					.value = limit,
					.low = limit,
					.high = limit,
					.tolerance = params_of(f)->common.tolerance,
					.limit = true,
				});
	}
}

/* A limit that nobody meets is not felt: it must have made the group reclaim, or kill. */
static int memory_effect(struct fault *f, struct effect *ret, struct err *e)
{
	const struct memory_state *st = f->state;
	char limit[UNITS_TEXT_MAX], was[UNITS_TEXT_MAX], is[UNITS_TEXT_MAX];
	const struct squeeze *s = &st->items[0];
	uint64_t met = 0, kills = 0;
	bool shrunk = false, busy = false;

	*ret = (struct effect){.state = EFFECT_UNKNOWN};
	if (!st->n)
		return 0;
	for (size_t i = 0; i < st->n; i++) {
		const struct squeeze *q = &st->items[i];

		met += q->now.met - q->before.met;
		kills += q->now.oom_kills - q->before.oom_kills;
		busy |= q->busy;
		shrunk |= q->reached && q->before.usage_bytes > q->rungs[q->reached - 1];
	}
	snprintf(ret->requested, sizeof ret->requested, "%s %s", action_names[params_of(f)->action],
		 units_size(s->goal_bytes, limit));
	snprintf(ret->measured, sizeof ret->measured,
		 "limit %s%s, usage %s to %s, met %" PRIu64 " times, %" PRIu64 " OOM kills",
		 units_size(limit_now(f, s), limit), busy ? " (no more can be reclaimed)" : "",
		 units_size(s->before.usage_bytes, was), units_size(s->now.usage_bytes, is), met, kills);
	effect_fold(ret, met || kills || shrunk ? EFFECT_MEASURED : EFFECT_NONE);
	compare_limits(f, ret);
	return 0;
}

static int memory_report(struct fault *f, json_t **ret, struct err *e)
{
	const struct memory_state *st = f->state;
	json_t *groups = json_array();

	for (size_t i = 0; i < st->n; i++) {
		const struct squeeze *s = &st->items[i];

		json_array_append_new(
			groups,
			json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "path",
				  s->group.cg.path, "version", s->group.cg.version, "start_bytes",
				  (json_int_t)s->start_bytes, "goal_bytes", (json_int_t)s->goal_bytes,
				  "reached_bytes",
				  (json_int_t)(s->reached ? s->rungs[s->reached - 1] : s->start_bytes),
				  "usage_before_bytes", (json_int_t)s->before.usage_bytes,
				  "usage_after_bytes", (json_int_t)s->now.usage_bytes, "met",
				  (json_int_t)(s->now.met - s->before.met), "oom_kills",
				  (json_int_t)(s->now.oom_kills - s->before.oom_kills), "busy", s->busy));
	}
	*ret = json_pack("{s:o, s:b}", "groups", groups, "stopped_by_pressure", st->pressed);
	return 0;
}

static void memory_release(struct fault *f)
{
	struct memory_state *st = f->state;

	for (size_t i = 0; st && i < st->n; i++) {
		memory_group_done(&st->items[i].group);
		group_watch_done(&st->items[i].watch);
		target_unref(st->items[i].target);
		free(st->items[i].rungs);
	}
	if (st)
		free(st->items);
	free(st);
	f->state = NULL;
}

static const char *memory_conflict(const void *a, const void *b)
{
	(void)a;
	(void)b;
	return "a memory group has one limit, and each would take the other's value for a stranger's";
}

static int memory_doctor(struct broker *broker, struct capability_list *ret, struct err *e)
{
	struct cgroup parent = {0}, scratch = {0};
	autofree char *name = xasprintf("brunt-doctor-%d", (int)getpid());
	struct memory_group g = {0};
	struct err why = {0};
	uint64_t limit = 0, high = 0;
	bool high_ok = false;
	bool ok = cgroup_own("memory", &parent, &why) == 0 &&
		  cgroup_make(&parent, name, &scratch, &why) == 0;

	if (ok) {
		g.cg = scratch;
		ok = memory_group_shrink(&g, false, 64 << 20, &why) == 0 &&
		     memory_group_limit(&g, false, &limit, &why) == 0 && limit == 64 << 20;
		high_ok = scratch.version == 2 && memory_group_shrink(&g, true, 32 << 20, &why) == 0 &&
			  memory_group_limit(&g, true, &high, &why) == 0 && high == 32 << 20;
		cgroup_remove(&scratch, NULL);
	}
	capability_add(ret, "MemoryChaos", "limit", true, ok,
		       ok ? scratch.version == 1 ? "set and read back on cgroup v1"
						 : "set and read back on cgroup v2"
			  : why.text,
		       "mount the memory controller and run as root");
	capability_add(ret, "MemoryChaos", "high", false, high_ok,
		       high_ok		      ? "set and read back on cgroup v2"
		       : scratch.version == 1 ? "the memory controller is on cgroup v1"
					      : why.text,
		       "boot with a unified cgroup hierarchy: systemd.unified_cgroup_hierarchy=1");
	cgroup_done(&scratch);
	cgroup_done(&parent);
	return 0;
}

static const char *memory_unseeded(const struct fault *f)
{
	const struct memory_params *p = f->params;

	if (p->until_pressure_ppm)
		return "untilPressure ends it by what the service does";
	return !p->size.fixed && streq(of_names[p->of], "usage")
		       ? "its size follows from the usage when it begins"
		       : NULL;
}

const struct fault_driver memory_limit = {
	.kind = "MemoryChaos",
	.field = "memoryChaos",
	.api_version = "brunt.dev/v1alpha1",
	.advice = "ask for a smaller size, of: usage, or put load on the targets",
	.schema = &memory_schema,
	.conflict = memory_conflict,
	.plan = memory_plan,
	.snapshot = memory_snapshot,
	.prepare = memory_prepare,
	.inject = memory_inject,
	.tick = squeeze_all,
	.check = memory_check,
	.vet = memory_vet,
	.revert = memory_revert,
	.resnapshot = memory_resnapshot,
	.effect = memory_effect,
	.unseeded = memory_unseeded,
	.report = memory_report,
	.release = memory_release,
	.doctor = memory_doctor,
};
