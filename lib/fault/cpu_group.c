#include "cpu_group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define V1_QUOTA "cpu.cfs_quota_us"
#define V1_PERIOD "cpu.cfs_period_us"
#define V1_BURST "cpu.cfs_burst_us"
#define V2_MAX "cpu.max"
#define V2_BURST "cpu.max.burst"

static const char *const v1_shown[] = {V1_QUOTA, V1_PERIOD, V1_BURST, NULL};
static const char *const v2_shown[] = {V2_MAX, V2_BURST, NULL};

const char *cpu_group_file(const struct cgroup *cg)
{
	return cg->version == 1 ? V1_QUOTA : V2_MAX;
}

const char *const *cpu_group_files(const struct cgroup *cg)
{
	return cg->version == 1 ? v1_shown : v2_shown;
}

char *cpu_group_text(const struct cgroup *cg, int64_t quota_us, int64_t period_us)
{
	return cg->version == 1 ? xasprintf("%" PRId64, quota_us)
				: xasprintf("%" PRId64 " %" PRId64, quota_us, period_us);
}

static int read_v1(const struct cgroup *cg, const char *quota, struct cpu_quota *ret, struct err *e)
{
	autostr period = {0};
	int r = cgroup_read(cg, V1_PERIOD, &period, e);

	if (r < 0)
		return r;
	ret->quota_us = strtoll(quota, NULL, 10);
	ret->period_us = strtoll(period.s, NULL, 10);
	if (ret->quota_us < 0)
		ret->quota_us = INT64_MAX;
	return 0;
}

int cpu_group_read(const struct cgroup *cg, struct cpu_quota *ret, struct err *e)
{
	autostr text = {0}, burst = {0};
	const char *rest;
	int r = cgroup_read(cg, cpu_group_file(cg), &text, e);

	*ret = (struct cpu_quota){0};
	if (r == -ENOENT && cg->version == 2) {
		err_set(e, ENOENT, "%s has no cpu.max: its parent hands on no cpu controller", cg->path);
		return err_hint(e, "enable it with: echo +cpu > cgroup.subtree_control, in the parent");
	}
	if (r < 0)
		return r;
	if (cgroup_read(cg, cg->version == 1 ? V1_BURST : V2_BURST, &burst, NULL) == 0)
		ret->burst_us = strtoll(burst.s, NULL, 10);
	if (cg->version == 1)
		return read_v1(cg, text.s, ret, e);
	ret->quota_us = strncmp(text.s, "max", 3) ? strtoll(text.s, NULL, 10) : INT64_MAX;
	rest = strchr(text.s, ' ');
	ret->period_us = rest ? strtoll(rest, NULL, 10) : 0;
	return ret->period_us > 0 ? 0 : err_set(e, EIO, "%s of %s: \"%s\" has no period", V2_MAX, cg->path,
						text.s);
}

/* v1 counts it in a hierarchy of its own, which may be mounted with this one. */
static void read_used(const struct cgroup *cg, struct cpu_counts *ret)
{
	bool v1 = cg->version == 1;

	ret->has_used = v1 ? cgroup_read_u64(cg, "cpuacct.usage", &ret->used_ns, NULL) == 0
			   : cgroup_read_key(cg, "cpu.stat", "usage_usec", &ret->used_ns, NULL) == 0;
	if (!v1)
		ret->used_ns *= NSEC_PER_USEC;
}

int cpu_group_counts(const struct cgroup *cg, struct cpu_counts *ret, struct err *e)
{
	bool v1 = cg->version == 1;
	int r = cgroup_read_key(cg, "cpu.stat", "nr_periods", &ret->periods, e);

	if (r == 0)
		r = cgroup_read_key(cg, "cpu.stat", "nr_throttled", &ret->throttled, e);
	if (r == 0)
		r = cgroup_read_key(cg, "cpu.stat", v1 ? "throttled_time" : "throttled_usec",
				    &ret->throttled_ns, e);
	if (r == 0 && !v1)
		ret->throttled_ns *= NSEC_PER_USEC;
	read_used(cg, ret);
	return r;
}

int cpu_group_snapshot(const struct cgroup *cg, struct str *ret, struct err *e)
{
	for (const char *const *file = cg->version == 1 ? v1_shown : v2_shown; *file; file++) {
		autostr value = {0};
		int r = cgroup_read(cg, *file, &value, e);

		if (r == -ENOENT && strstr(*file, "burst"))
			continue;
		if (r < 0)
			return r;
		str_addf(ret, "%s %s: %s\n", cg->path, *file, value.s);
	}
	return 0;
}
