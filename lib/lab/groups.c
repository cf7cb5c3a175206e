/*
 * The hierarchies are found once, by where brunt itself is in each. Two controllers in one folder
 * (v2, or v1's cpu,cpuacct mounted together) count once. A hierarchy in which nothing can be made
 * (read-only in a container) is left out: pods live without it, and only a limit that needs it is
 * an error.
 *
 * v2 allows processes in leaves only, so pods are inner groups with one leaf for each container
 * and one for the init.
 */
#include "groups.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { CPU_PERIOD_US = 100000, CPU_QUOTA_MIN_US = 1000 };

/* cpuacct is what cpu time is read from where it is mounted apart from cpu; the freezer is last. */
static const char *const controllers[] = {"memory", "cpu", "cpuacct", "pids", "freezer"};

static bool has_path(const struct lab_group *g, const char *path)
{
	for (size_t i = 0; i < g->n; i++)
		if (streq(g->in[i].path, path))
			return true;
	return false;
}

static bool has_v2(const struct lab_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->in[i].version == 2)
			return true;
	return false;
}

/* Where brunt may make groups. A process is in one v2 group only, so one v2 folder counts. */
static void find_parents(struct lab_group *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		struct cgroup cg;

		if (cgroup_own(controllers[i], &cg, NULL) < 0)
			continue;
		if (has_path(ret, cg.path) || (cg.version == 2 && has_v2(ret)) ||
		    access(cg.path, W_OK) < 0)
			cgroup_done(&cg);
		else
			ret->in[ret->n++] = cg;
	}
}

int lab_groups_open(const struct lab_home *home, const char *name, unsigned id,
		    struct lab_group *ret, struct err *e)
{
	autofree char *folder = xasprintf("brunt-lab-%s-%08x", name, id);
	struct lab_group parents = {0}, planned = {0};
	int r;

	find_parents(&parents);
	for (size_t i = 0; i < parents.n; i++)
		planned.in[planned.n++] = (struct cgroup){
			.path = xasprintf("%s/%s", parents.in[i].path, folder),
			.version = parents.in[i].version};
	r = lab_home_record(home, planned.in, planned.n, e);
	if (r == 0)
		r = lab_group_make(&parents, folder, ret, e);
	if (r == 0)
		lab_group_hand_on(ret);
	lab_group_done(&parents);
	lab_group_done(&planned);
	return r;
}

int lab_group_make(const struct lab_group *parent, const char *name, struct lab_group *ret,
		   struct err *e)
{
	*ret = (struct lab_group){0};
	for (size_t i = 0; i < parent->n; i++) {
		int r = cgroup_make(&parent->in[i], name, &ret->in[ret->n], e);

		if (r < 0) {
			lab_group_done(ret);
			return r;
		}
		ret->n++;
	}
	return 0;
}

void lab_group_hand_on(const struct lab_group *g)
{
	/* One by one: a controller that is not there must not keep the others away. */
	for (size_t i = 0; i < g->n; i++) {
		if (g->in[i].version != 2)
			continue;
		cgroup_write(&g->in[i], "cgroup.subtree_control", "+memory", NULL);
		cgroup_write(&g->in[i], "cgroup.subtree_control", "+cpu", NULL);
		cgroup_write(&g->in[i], "cgroup.subtree_control", "+pids", NULL);
	}
}

/* The group that has this file, NULL when none has. */
static const struct cgroup *with_file(const struct lab_group *g, const char *file)
{
	for (size_t i = 0; i < g->n; i++) {
		autofree char *path = xasprintf("%s/%s", g->in[i].path, file);

		if (access(path, F_OK) == 0)
			return &g->in[i];
	}
	return NULL;
}

/* 1 if the file was there and was written. */
static int write_if(const struct lab_group *g, const char *file, struct err *e, const char *fmt, ...)
	format_like(4, 5);
static int write_if(const struct lab_group *g, const char *file, struct err *e, const char *fmt, ...)
{
	const struct cgroup *cg = with_file(g, file);
	char value[64];
	va_list ap;
	int r;

	if (!cg)
		return 0;
	va_start(ap, fmt);
	vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	r = cgroup_write(cg, file, value, e);
	return r < 0 ? r : 1;
}

static int limit_memory(const struct lab_group *g, uint64_t bytes, struct err *e)
{
	int v1 = write_if(g, "memory.limit_in_bytes", e, "%" PRIu64, bytes);
	int v2 = v1 ? 0 : write_if(g, "memory.max", e, "%" PRIu64, bytes);

	if (v1 < 0 || v2 < 0)
		return v1 < 0 ? v1 : v2;
	if (!v1 && !v2)
		return err_set(e, ENOENT, "no memory controller for resources.limits.memory");
	/* As in a cluster, swap does not make the limit larger. */
	if (v1)
		write_if(g, "memory.memsw.limit_in_bytes", NULL, "%" PRIu64, bytes);
	else
		write_if(g, "memory.swap.max", NULL, "0");
	return 0;
}

static int limit_cpu(const struct lab_group *g, uint64_t milli, struct err *e)
{
	uint64_t quota_us = MAX_OF(milli * CPU_PERIOD_US / 1000, (uint64_t)CPU_QUOTA_MIN_US);
	int v1 = write_if(g, "cpu.cfs_quota_us", e, "%" PRIu64, quota_us);
	int v2 = v1 ? 0 : write_if(g, "cpu.max", e, "%" PRIu64 " %d", quota_us, CPU_PERIOD_US);

	if (v1 < 0 || v2 < 0)
		return v1 < 0 ? v1 : v2;
	if (!v1 && !v2)
		return err_set(e, ENOENT, "no cpu controller for resources.limits.cpu");
	return v1 ? write_if(g, "cpu.cfs_period_us", e, "%d", CPU_PERIOD_US) : 0;
}

int lab_group_limit(const struct lab_group *g, const struct lab_resources *limits, struct err *e)
{
	int r = limits->memory_bytes ? limit_memory(g, limits->memory_bytes, e) : 0;

	if (r >= 0 && limits->cpu_milli)
		r = limit_cpu(g, limits->cpu_milli, e);
	return r < 0 ? r : 0;
}

int lab_group_attach(const struct lab_group *g, pid_t pid, struct err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < g->n; i++)
		r = cgroup_attach(&g->in[i], pid, e);
	return r;
}

void lab_group_kill(const struct lab_group *g)
{
	if (g->n)
		cgroup_kill_all(&g->in[g->n - 1], NULL); /* v2, or v1's freezer: sorted last */
}

uint64_t lab_group_oom_kills(const struct lab_group *g)
{
	static const char *const files[] = {"memory.oom_control", "memory.events"};
	uint64_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const struct cgroup *cg = with_file(g, files[i]);

		if (cg && cgroup_read_key(cg, files[i], "oom_kill", &n, NULL) == 0)
			return n;
	}
	return 0;
}

void lab_group_done(struct lab_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		cgroup_done(&g->in[i]);
	*g = (struct lab_group){0};
}
