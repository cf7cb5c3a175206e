/*
 * target - what the kernel and the targets' source say about them
 *
 * Every target that was ever read is due in every round after; one that cannot be read makes the
 * round's reading a failed one, unless it is down by this run's own fault.
 *
 * Control groups are resolved once for each process and then read by their path. Containers that
 * share a group (those of one pod) count once.
 */
#include "slo.h"
#include "tally.h"

#include "../base/clock.h"
#include "../kernel/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

struct target_params {
	struct selector selector;
	int metric, across;
	int64_t interval_ns;
};

enum metric {
	METRIC_CPU,
	METRIC_MEMORY,
	METRIC_OOM_KILLS,
	METRIC_MEMORY_PRESSURE,
	METRIC_CPU_PRESSURE,
	METRIC_IO_PRESSURE,
	METRIC_RESTARTS,
	METRIC_READY,
};

static const char *const metric_names[] = {
	"cpu",		"memory",     "oomKills", "memoryPressure",
	"cpuPressure", "ioPressure", "restarts", "ready",	   NULL,
};

enum across { ACROSS_SUM, ACROSS_MAX, ACROSS_MIN, ACROSS_MEAN };
static const char *const across_names[] = {"sum", "max", "min", "mean", NULL};

static enum sample_type target_yields(const void *params)
{
	return SAMPLE_VALUE;
}

static enum objective_dim target_measures(const void *params)
{
	switch ((enum metric)((const struct target_params *)params)->metric) {
	case METRIC_MEMORY:
		return DIM_BYTES;
	case METRIC_CPU:
	case METRIC_MEMORY_PRESSURE:
	case METRIC_CPU_PRESSURE:
	case METRIC_IO_PRESSURE:
		return DIM_TIME;
	default:
		return DIM_PLAIN;
	}
}

/* A control group that is read. */
struct group {
	char *id; /* "namespace/name/container" */
	pid_t pid;
	struct cgroup cg;
	uint64_t inode;
	int64_t epoch_ns; /* start of the container that the group was first seen with */
};

struct reader {
	struct indicator *indicator;
	const struct target_params *params;
	sd_event_source *timer;
	int64_t first_ns;
	int64_t rounds; /* number of the next one */
	struct group *groups;
	size_t n_groups;
	struct tally tally;
	struct strlist known; /* "namespace", "name", ... of all that were ever read */
	uint64_t readings, failures;
	char last_error[200];
};

static bool grows(enum metric m)
{
	return m != METRIC_MEMORY && m != METRIC_READY;
}

static const char *controller_of(enum metric m)
{
	switch (m) {
	case METRIC_CPU:
		return "cpuacct";
	case METRIC_MEMORY:
	case METRIC_OOM_KILLS:
		return "memory";
	default:
		return ""; /* pressure: the v2 tree */
	}
}

/* v2 has no cpuacct controller: cpu.stat is in every group of its tree. */
static int resolve_any(enum metric m, pid_t pid, struct cgroup *ret, struct err *e)
{
	int r = cgroup_of_pid(pid, controller_of(m), ret, e);

	return r < 0 && m == METRIC_CPU ? cgroup_of_pid(pid, "", ret, e) : r;
}

/* A group that holds brunt too says nothing about the target: it counts its neighbours with it. */
static int resolve(enum metric m, pid_t pid, struct cgroup *ret, struct err *e)
{
	autocgroup own = {0};
	int r = resolve_any(m, pid, ret, e);

	if (r < 0 || resolve_any(m, getpid(), &own, NULL) < 0 || !streq(own.path, ret->path))
		return r;
	cgroup_done(ret);
	return err_set(e, ENODATA, "process %d has no control group of its own for %s: it is in %s with "
		       "brunt itself", (int)pid, metric_names[m], own.path);
}

static uint64_t inode_of(const struct cgroup *cg)
{
	struct stat st;

	return stat(cg->path, &st) == 0 ? st.st_ino : 0;
}

/* A group that outlives its container goes on counting: a restart begins nothing anew there. */
static void note_epoch(struct group *g, int64_t started_ns)
{
	uint64_t inode = inode_of(&g->cg);

	if (!inode || inode != g->inode)
		g->epoch_ns = started_ns;
	g->inode = inode;
}

static int group_of(struct reader *rd, const char *id, const struct container *c, struct group **ret,
		    struct err *e)
{
	struct group *g = NULL;
	int r;

	for (size_t i = 0; i < rd->n_groups && !g; i++)
		if (streq(rd->groups[i].id, id))
			g = &rd->groups[i];
	if (!g) {
		g = array_push(rd->groups, rd->n_groups);
		g->id = xstrdup(id);
	}
	if (g->pid != c->pid) {
		cgroup_done(&g->cg);
		g->pid = 0;
		if ((r = resolve((enum metric)rd->params->metric, c->pid, &g->cg, e)) < 0)
			return r;
		g->pid = c->pid;
		note_epoch(g, c->started_ns);
	}
	*ret = g;
	return 0;
}

static int read_scaled(const struct cgroup *cg, const char *file, double scale, double *ret,
		       struct err *e)
{
	uint64_t v;
	int r = cgroup_read_u64(cg, file, &v, e);

	*ret = r < 0 ? 0 : (double)v * scale;
	return r;
}

static int read_key(const struct cgroup *cg, const char *file, const char *key, double scale,
		    double *ret, struct err *e)
{
	uint64_t v;
	int r = cgroup_read_key(cg, file, key, &v, e);

	*ret = r < 0 ? 0 : (double)v * scale;
	return r;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345": microseconds. */
static int read_pressure(const struct cgroup *cg, const char *file, double *ret, struct err *e)
{
	autostr text = {0};
	uint64_t us;
	int r = cgroup_read(cg, file, &text, e);
	const char *total = r < 0 ? NULL : strstr(text.s, "total=");

	if (r < 0)
		return r;
	if (!total || sscanf(total, "total=%" SCNu64, &us) != 1)
		return err_set(e, EINVAL, "%s of %s has no total", file, cg->path);
	*ret = (double)us * 1e-6;
	return 0;
}

static int read_group(const struct cgroup *cg, enum metric m, double *ret, struct err *e)
{
	switch (m) {
	case METRIC_CPU:
		return cg->version == 1 ? read_scaled(cg, "cpuacct.usage", 1e-9, ret, e)
					: read_key(cg, "cpu.stat", "usage_usec", 1e-6, ret, e);
	case METRIC_MEMORY:
		return read_scaled(cg, cg->version == 1 ? "memory.usage_in_bytes" : "memory.current",
				   1, ret, e);
	case METRIC_OOM_KILLS:
		return read_key(cg, cg->version == 1 ? "memory.oom_control" : "memory.events",
				"oom_kill", 1, ret, e);
	case METRIC_MEMORY_PRESSURE:
		return read_pressure(cg, "memory.pressure", ret, e);
	case METRIC_CPU_PRESSURE:
		return read_pressure(cg, "cpu.pressure", ret, e);
	case METRIC_IO_PRESSURE:
		return read_pressure(cg, "io.pressure", ret, e);
	default:
		return -EINVAL;
	}
}

/* One container's part of its target's value; seen holds the paths that were counted already. */
static int read_container(struct reader *rd, const struct target *t, const struct container *c,
			  struct strlist *seen, double *value, struct err *e)
{
	enum metric m = (enum metric)rd->params->metric;
	autofree char *id = xasprintf("%s/%s/%s", t->ns, t->name, c->name);
	struct group *g;
	double v;
	int r;

	if (m == METRIC_RESTARTS) {
		*value += tally_add(&rd->tally, id, 0, c->restarts);
		return 0;
	}
	if (c->pid <= 0)
		return -ESRCH;
	if ((r = group_of(rd, id, c, &g, e)) < 0)
		return r;
	if (strlist_has(seen, g->cg.path))
		return 0;
	strlist_add(seen, g->cg.path);
	if ((r = read_group(&g->cg, m, &v, e)) < 0)
		return r;
	*value += grows(m) ? tally_add(&rd->tally, id, g->epoch_ns, v) : v;
	return 0;
}

/* 0 when at least one container could be read. */
static int read_target(struct reader *rd, const struct target *t, double *ret, struct err *e)
{
	struct strlist seen = {0};
	int r = -ESRCH;

	*ret = 0;
	if (rd->params->metric == METRIC_READY) {
		*ret = t->ready;
		return 0;
	}
	for (size_t i = 0; i < t->n_containers; i++) {
		int one = read_container(rd, t, &t->containers[i], &seen, ret, e);

		r = r == 0 ? 0 : one;
	}
	strlist_done(&seen);
	return r;
}

struct fold {
	double sum, max, min;
	size_t n;
};

static double folded(const struct fold *f, enum across across)
{
	switch (across) {
	case ACROSS_SUM:
		return f->sum;
	case ACROSS_MAX:
		return f->max;
	case ACROSS_MIN:
		return f->min;
	case ACROSS_MEAN:
		return f->sum / (double)f->n;
	}
	return NAN;
}

static bool is_known(const struct reader *rd, const struct target *t)
{
	for (size_t i = 0; i < rd->known.n; i += 2)
		if (streq(rd->known.items[i], t->ns) && streq(rd->known.items[i + 1], t->name))
			return true;
	return false;
}

static void note_targets(struct reader *rd, const struct target_list *all)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct target *t = all->items[i];

		if (!selector_matches(&rd->params->selector, t) || is_known(rd, t))
			continue;
		strlist_add(&rd->known, t->ns);
		strlist_add(&rd->known, t->name);
	}
}

/* A target that is gone is none that is ready. */
static bool counts_without(const struct reader *rd)
{
	return rd->params->metric == METRIC_READY && rd->params->across == ACROSS_SUM;
}

/* The i-th known target's part of the round: false when it is lacking. */
static bool read_one(struct reader *rd, size_t i, int64_t due_ns, struct fold *f, struct err *e)
{
	const struct slo_env *env = rd->indicator->env;
	const char *ns = rd->known.items[i], *name = rd->known.items[i + 1];
	const struct target *t = target_list_find(env->targets(env->data), ns, name);
	autofree char *id = xasprintf("%s/%s", ns, name);
	enum round round = ROUND_ANSWERED;
	double v = 0;

	if (t && read_target(rd, t, &v, e) == 0) {
		f->sum += v;
		f->max = fmax(f->max, v);
		f->min = fmin(f->min, v);
		f->n++;
	} else if (!counts_without(rd)) {
		round = slo_is_down(env, ns, name) ? ROUND_DOWN : ROUND_SILENT;
		if (!t)
			err_set(e, ENOENT, "%s is gone", id);
	}
	slo_round(rd->indicator->slo, id, due_ns, round);
	return round != ROUND_SILENT;
}

static void read_all(struct reader *rd, int64_t due_ns)
{
	const struct slo_env *env = rd->indicator->env;
	struct fold f = {.max = -INFINITY, .min = INFINITY};
	struct sample s = {.type = SAMPLE_VALUE, .at_ns = clock_now_ns()};
	bool whole = true, told = rd->params->metric == METRIC_READY || rd->params->metric == METRIC_RESTARTS;
	struct err e = {0};

	note_targets(rd, env->targets(env->data));
	for (size_t i = 0; i < rd->known.n; i += 2)
		whole &= read_one(rd, i, due_ns, &f, &e);
	rd->readings++;
	s.ok = (f.n > 0 || told) && (whole || grows((enum metric)rd->params->metric));
	if (grows((enum metric)rd->params->metric))
		s.value = rd->tally.sum;
	else if (f.n)
		s.value = folded(&f, (enum across)rd->params->across);
	if (!s.ok) {
		rd->failures++;
		snprintf(rd->last_error, sizeof rd->last_error, "%s",
			 e.text[0] ? e.text : "no target is running");
	}
	slo_sample(rd->indicator->slo, &s);
}

/* Rounds that a stalled loop has left out were due all the same. */
static void skip_rounds(struct reader *rd, int64_t until)
{
	for (; rd->rounds < until; rd->rounds++)
		for (size_t i = 0; i < rd->known.n; i += 2) {
			autofree char *id = xasprintf("%s/%s", rd->known.items[i], rd->known.items[i + 1]);

			slo_round(rd->indicator->slo, id,
				  rd->first_ns + rd->rounds * rd->params->interval_ns, ROUND_SILENT);
		}
}

static int on_due(sd_event_source *src, uint64_t usec, void *data)
{
	struct reader *rd = data;
	int64_t interval_ns = rd->params->interval_ns;
	int64_t next = (clock_now_ns() - rd->first_ns) / interval_ns + 1;

	skip_rounds(rd, next - 1);
	read_all(rd, rd->first_ns + rd->rounds++ * interval_ns);
	sd_event_source_set_time(src, (uint64_t)(rd->first_ns + next * interval_ns) / NSEC_PER_USEC);
	return 0;
}

static double target_rate(const void *params)
{
	return (double)NSEC_PER_SEC / (double)((const struct target_params *)params)->interval_ns;
}

static int target_start(struct indicator *i, struct err *e)
{
	struct reader *rd = xcalloc(1, sizeof *rd);
	int r;

	*rd = (struct reader){.indicator = i, .params = i->params, .first_ns = clock_now_ns()};
	rd->tally.born_ns = rd->first_ns;
	i->state = rd;
	r = sd_event_add_time(i->env->loop, &rd->timer, CLOCK_MONOTONIC,
			      (uint64_t)rd->first_ns / NSEC_PER_USEC, 1000, on_due, rd);
	if (r < 0)
		return err_errno(e, -r, "timer");
	sd_event_source_set_enabled(rd->timer, SD_EVENT_ON);
	return 0;
}

static void target_stop(struct indicator *i)
{
	struct reader *rd = i->state;

	if (rd->timer)
		skip_rounds(rd, (clock_now_ns() - rd->first_ns) / rd->params->interval_ns);
	rd->timer = sd_event_source_disable_unref(rd->timer);
}

static int target_report(struct indicator *i, json_t **ret)
{
	const struct reader *rd = i->state;

	if (!rd)
		return 0;
	*ret = json_pack("{s:s, s:I, s:I}", "metric", metric_names[rd->params->metric], "readings",
			 (json_int_t)rd->readings, "failures", (json_int_t)rd->failures);
	if (rd->last_error[0])
		json_object_set_new(*ret, "last_error", json_string(rd->last_error));
	return 0;
}

static void target_free(struct indicator *i)
{
	struct reader *rd = take(i->state);

	if (!rd)
		return;
	sd_event_source_disable_unref(rd->timer);
	for (size_t k = 0; k < rd->n_groups; k++) {
		free(rd->groups[k].id);
		cgroup_done(&rd->groups[k].cg);
	}
	free(rd->groups);
	tally_done(&rd->tally);
	strlist_done(&rd->known);
	free(rd);
}

#define O(field) offsetof(struct target_params, field)
static const struct field fields[] = {
	{.name = "selector", .type = FIELD_OBJECT, .offset = O(selector), .sub = &selector_schema,
	 .doc = "The targets that are read. Default: all."},
	{.name = "metric", .type = FIELD_ENUM, .offset = O(metric), .names = metric_names,
	 .required = true, .example = "memory",
	 .doc = "cpu (seconds used), memory (bytes in use), oomKills, memoryPressure, cpuPressure, "
		"ioPressure (seconds stalled, cgroup v2 with PSI), restarts, ready (number of ready "
		"targets). Those that only grow count from the start of the run, over all targets: "
		"count is the increase in the window, rate the increase per second."},
	{.name = "across", .type = FIELD_ENUM, .offset = O(across), .names = across_names, .deflt = "sum",
	 .doc = "How the targets' memory or readiness become one value: sum, max, min or mean."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "250ms",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two readings."},
};
#undef O

static const struct schema target_schema = {
	.name = "target",
	.doc = "Reads the targets' control groups, and what their source knows of them.",
	.size = sizeof(struct target_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
};

const struct indicator_type indicator_target = {
	.name = "target",
	.doc = "CPU seconds, memory, OOM kills, pressure, restarts or ready count of the targets.",
	.schema = &target_schema,
	.yields = target_yields,
	.rate = target_rate,
	.measures = target_measures,
	.start = target_start,
	.stop = target_stop,
	.report = target_report,
	.free = target_free,
};
