/*
 * v1 keeps two limits, memory and memory+swap, and refuses an order in which the second would lie
 * below the first: shrinking writes the memory limit first, growing writes it last. v2 keeps
 * memory.max, memory.high and memory.swap.max independently.
 */
#include "memory_group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define V1_UNLIMITED 9223372036854771712ULL
#define V1_LIMIT "memory.limit_in_bytes"
#define V1_MEMSW "memory.memsw.limit_in_bytes"

/* In the order in which growing values are written. */
static const char *const v1_saved[] = {V1_MEMSW, V1_LIMIT, NULL};
static const char *const v2_saved[] = {"memory.swap.max", "memory.max", "memory.high", NULL};
static const char *const v1_shown[] = {V1_LIMIT, V1_MEMSW, "memory.soft_limit_in_bytes",
				       "memory.swappiness", NULL};
static const char *const v2_shown[] = {"memory.high", "memory.max", "memory.swap.max", NULL};

int memory_group_of(struct cgroup *cg, struct memory_group *ret)
{
	struct memory_group g = {.cg = *cg};
	autostr memsw = {0};

	*cg = (struct cgroup){0};
	if (access(g.cg.path, F_OK) < 0) {
		memory_group_done(&g);
		return -ENOENT;
	}
	g.has_memsw = g.cg.version == 1 && cgroup_read(&g.cg, V1_MEMSW, &memsw, NULL) == 0;
	*ret = g;
	return 0;
}

int memory_group_of_pid(pid_t pid, struct memory_group *ret, struct err *e)
{
	struct cgroup cg;
	int r = cgroup_of_pid(pid, "memory", &cg, e);

	if (r < 0)
		return r;
	r = memory_group_of(&cg, ret);
	return r < 0 ? err_set(e, ENOENT, "the control group of process %d is gone", pid) : 0;
}

void memory_group_done(struct memory_group *g)
{
	cgroup_done(&g->cg);
}

int memory_group_limit(const struct memory_group *g, bool high, uint64_t *ret, struct err *e)
{
	const char *file = g->cg.version == 1 ? V1_LIMIT : high ? "memory.high" : "memory.max";
	int r = cgroup_read_u64(&g->cg, file, ret, e);

	if (r == 0 && g->cg.version == 1 && *ret >= V1_UNLIMITED)
		*ret = UINT64_MAX;
	return r;
}

static int v1_counts(const struct memory_group *g, struct memory_counts *ret, struct err *e)
{
	int r = cgroup_read_u64(&g->cg, "memory.usage_in_bytes", &ret->usage_bytes, e);

	if (r == 0)
		r = cgroup_read_u64(&g->cg, "memory.failcnt", &ret->met, e);
	if (r == 0) /* kernels before 4.13 do not count them */
		cgroup_read_key(&g->cg, "memory.oom_control", "oom_kill", &ret->oom_kills, NULL);
	return r;
}

static int v2_counts(const struct memory_group *g, struct memory_counts *ret, struct err *e)
{
	uint64_t max = 0, high = 0;
	int r = cgroup_read_u64(&g->cg, "memory.current", &ret->usage_bytes, e);

	if (r == 0)
		r = cgroup_read_key(&g->cg, "memory.events", "max", &max, e);
	if (r == 0)
		r = cgroup_read_key(&g->cg, "memory.events", "high", &high, e);
	if (r == 0)
		r = cgroup_read_key(&g->cg, "memory.events", "oom_kill", &ret->oom_kills, e);
	ret->met = max + high;
	return r;
}

int memory_group_counts(const struct memory_group *g, struct memory_counts *ret, struct err *e)
{
	*ret = (struct memory_counts){0};
	return g->cg.version == 1 ? v1_counts(g, ret, e) : v2_counts(g, ret, e);
}

int memory_group_shrink(const struct memory_group *g, bool high, uint64_t bytes, struct err *e)
{
	char value[24];
	int r;

	snprintf(value, sizeof value, "%" PRIu64, bytes);
	if (g->cg.version == 2)
		return cgroup_write(&g->cg, high ? "memory.high" : "memory.max", value, e);
	r = cgroup_write(&g->cg, V1_LIMIT, value, e);
	if (r == 0 && g->has_memsw)
		r = cgroup_write(&g->cg, V1_MEMSW, value, e);
	return r;
}

bool memory_group_saves(int version, const char *file)
{
	for (const char *const *f = version == 1 ? v1_saved : v2_saved; *f; f++)
		if (streq(*f, file))
			return true;
	return false;
}

int memory_group_save(const struct memory_group *g, json_t **ret, struct err *e)
{
	json_t *saved = json_object();

	for (const char *const *file = g->cg.version == 1 ? v1_saved : v2_saved; *file; file++) {
		autostr value = {0};
		int r = cgroup_read(&g->cg, *file, &value, e);

		if (r == -ENOENT) /* no swap accounting */
			continue;
		if (r < 0) {
			json_decref(saved);
			return r;
		}
		json_object_set_new(saved, *file, json_string(value.s));
	}
	*ret = saved;
	return 0;
}

int memory_group_memsw(const struct memory_group *g, uint64_t *ret)
{
	return g->has_memsw ? cgroup_read_u64(&g->cg, V1_MEMSW, ret, NULL) : -ENOENT;
}

int memory_group_restore_memsw(const struct memory_group *g, const json_t *saved, struct err *e)
{
	const char *value = json_string_value(json_object_get(saved, V1_MEMSW));

	if (!value)
		return 0;
	return cgroup_write(&g->cg, V1_MEMSW,
			    strtoull(value, NULL, 10) >= V1_UNLIMITED ? "-1" : value, e);
}

const char *const *memory_group_files(const struct memory_group *g)
{
	return g->cg.version == 1 ? v1_saved : v2_saved;
}

bool memory_group_writes(const struct memory_group *g, bool high, const char *file)
{
	if (g->cg.version == 1)
		return g->has_memsw || !streq(file, V1_MEMSW);
	return streq(file, high ? "memory.high" : "memory.max");
}

const char *memory_group_changed(const struct memory_group *g, bool high, const json_t *saved)
{
	for (const char *const *file = g->cg.version == 1 ? v1_saved : v2_saved; *file; file++) {
		const char *was = json_string_value(json_object_get(saved, *file));
		autostr now = {0};

		if (was && !memory_group_writes(g, high, *file) &&
		    cgroup_read(&g->cg, *file, &now, NULL) == 0 && !streq(now.s, was))
			return *file;
	}
	return NULL;
}

int memory_group_restore(const struct memory_group *g, bool high, const json_t *saved,
			 struct err *e)
{
	for (const char *const *file = g->cg.version == 1 ? v1_saved : v2_saved; *file; file++) {
		const char *value = json_string_value(json_object_get(saved, *file));
		int r;

		if (!value || !memory_group_writes(g, high, *file))
			continue;
		/* Reads as a huge number, and is taken only as -1. */
		if (g->cg.version == 1 && strtoull(value, NULL, 10) >= V1_UNLIMITED)
			value = "-1";
		r = cgroup_write(&g->cg, *file, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int memory_group_snapshot(const struct memory_group *g, struct str *ret, struct err *e)
{
	for (const char *const *file = g->cg.version == 1 ? v1_shown : v2_shown; *file; file++) {
		autostr value = {0};
		int r = cgroup_read(&g->cg, *file, &value, e);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		str_addf(ret, "%s %s: %s\n", g->cg.path, *file, value.s);
	}
	return 0;
}
