/*
 * group_files - folders that look like control groups, for tests of faults that write to them
 */
#pragma once

#include "fault/driver.h"
#include "kernel/cgroup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static char dir[64]; /* where the groups lie */

static int groups_begin(void)
{
	snprintf(dir, sizeof dir, "/tmp/bt-groups-XXXXXX");
	cgroup_root_for_tests = dir;
	return mkdtemp(dir) ? 0 : -1;
}

static int groups_end(void **state)
{
	autofree char *cmd = xasprintf("rm -rf %s", dir);

	return system(cmd);
}

static void make_group(const char *group)
{
	autofree char *path = xasprintf("%s/%s", dir, group);

	assert_int_equal(mkdir(path, 0700), 0);
}

static void put(const char *group, const char *file, const char *value)
{
	autofree char *path = xasprintf("%s/%s/%s", dir, group, file);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(value, f);
	fclose(f);
}

static void expect(const char *group, const char *file, const char *value)
{
	autofree char *path = xasprintf("%s/%s/%s", dir, group, file);
	char buf[64] = "";
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	buf[fread(buf, 1, sizeof buf - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(buf, value);
}

/* What the group's files say now becomes the snapshot from before the fault. */
static void keep_snapshot(struct undo *u)
{
	struct str before = {0};

	assert_int_equal(u->driver->resnapshot(u, NULL, &before, NULL), 0);
	u->before = str_take(&before);
}

static void expect_snapshot(const struct undo *u)
{
	autostr now = {0};

	assert_int_equal(u->driver->resnapshot(u, NULL, &now, NULL), 0);
	assert_string_equal(now.s, u->before);
}

static void done(struct undo *u)
{
	free(u->data);
	free(u->before);
}
