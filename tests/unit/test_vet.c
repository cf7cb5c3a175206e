/* Undo records that brunt did not write. Every kind of the table is held to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "kernel/cgroup.h"
#include "recover.h"

static char dir[64]; /* passes for a cgroup file system */

static int setup(void **state)
{
	snprintf(dir, sizeof dir, "/tmp/bt-vet-XXXXXX");
	cgroup_root_for_tests = dir;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	autofree char *cmd = xasprintf("rm -rf %s", dir);

	return system(cmd);
}

static void make_group(const char *group)
{
	autofree char *path = xasprintf("%s/%s", dir, group);

	assert_int_equal(mkdir(path, 0700), 0);
}

/* What undo_vet says of a record of this kind; the text of its reason. */
static int vet(const char *kind, const char *data, struct err *e)
{
	struct undo u = {
		.fault = (char *)"f",
		.target = (char *)"default/a",
		.run_id = (char *)"20261130-1",
		.driver = fault_driver_by_kind(kind),
		.data = (char *)data,
		.netns_id = {.dev = 4, .ino = 4026531999},
		.netns_fd = -1,
	};

	assert_non_null(u.driver);
	return undo_vet(&u, e);
}

static void assert_refused(const char *kind, const char *data)
{
	struct err e = {0};

	if (vet(kind, data, &e) != -EPERM)
		fail_msg("%s takes the record %s; wanted it refused", kind, data);
	assert_true(e.text[0]);
}

static void assert_taken(const char *kind, const char *data)
{
	struct err e = {0};

	if (vet(kind, data, &e) != 0)
		fail_msg("%s refuses the record %s: %s; wanted it taken", kind, data, e.text);
}

static void test_every_kind_looks_at_its_records(void **state)
{
	static const char *const damaged[] = {"", "{", "[]", "{}", "{\"groups\": 1}", "null",
					      "{\"groups\": [{}]}", "{\"groups\": [[]]}",
					      "{\"version\": 1}"};
	size_t n;
	const struct fault_driver *const *all = fault_drivers(&n);

	for (size_t i = 0; i < n; i++) {
		if (!all[i]->vet)
			fail_msg("%s has no vet: wanted in every kind", all[i]->kind);
		for (size_t k = 0; k < ARRAY_SIZE(damaged); k++)
			assert_refused(all[i]->kind, damaged[k]);
	}
}

static void test_kind_without_the_check_is_not_reverted(void **state)
{
	static const struct fault_driver careless = {.kind = "CarelessChaos"};
	struct undo u = {.fault = (char *)"f", .target = (char *)"default/a", .driver = &careless};
	autorestoration rest = {0};

	recover_revert(&u, 1, NULL, &rest);
	assert_int_equal(rest.items[0].outcome, UNDO_FAILED);
}

static char *group_record(const char *path, int version, const char *rest)
{
	return xasprintf("{\"groups\": [{\"path\": \"%s\", \"version\": %d, \"ino\": 2, %s}]}", path,
			 version, rest);
}

#define QUOTA "\"saved\": \"max 100000\", \"wrote\": \"5000 100000\""
#define LIMIT "\"high\": false, \"saved\": {\"memory.max\": \"max\"}, \"wrote\": [409600]"

static void test_group_outside_of_a_cgroup_file_system_is_refused(void **state)
{
	static const char *const paths[] = {"/etc", "/etc/cron.d", "/tmp", "/proc/self", "", "relative",
					    "/sys/fs/cgroup/../../../etc", "/proc/self/root/sys/fs/cgroup"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		for (int version = 0; version < 4; version++) {
			autofree char *cpu = group_record(paths[i], version, QUOTA);
			autofree char *memory = group_record(paths[i], version, LIMIT);

			assert_refused("CPUChaos", cpu);
			assert_refused("MemoryChaos", memory);
		}
}

static void test_group_over_a_link_is_refused(void **state)
{
	autofree char *link = xasprintf("%s/link", dir), *real = xasprintf("%s/real", dir);
	autofree char *over = group_record(link, 2, QUOTA), *straight = group_record(real, 2, QUOTA);

	make_group("real");
	assert_int_equal(symlink(real, link), 0);
	assert_refused("CPUChaos", over);
	assert_taken("CPUChaos", straight);
}

static void test_limit_that_no_kernel_has_is_refused(void **state)
{
	static const char *const quotas[] = {
		"\"saved\": \"root::0:0:::\", \"wrote\": \"1\"", "\"saved\": \"1\\n2\", \"wrote\": \"1\"",
		"\"saved\": \"\", \"wrote\": \"1\"", "\"wrote\": \"1\"", "\"saved\": 1, \"wrote\": \"1\""};
	static const char *const limits[] = {
		"\"high\": false, \"saved\": {\"../../etc/passwd\": \"1\"}, \"wrote\": [1]",
		"\"high\": false, \"saved\": {\"cgroup.procs\": \"1\"}, \"wrote\": [1]",
		"\"high\": false, \"saved\": {\"memory.max\": \"x\\ny\"}, \"wrote\": [1]",
		"\"high\": false, \"saved\": {\"memory.max\": \"1\"}", "\"high\": false, \"wrote\": [1]"};

	make_group("g");
	for (size_t i = 0; i < ARRAY_SIZE(quotas); i++) {
		autofree char *path = xasprintf("%s/g", dir);
		autofree char *cpu = group_record(path, 2, quotas[i]);
		autofree char *memory = group_record(path, 2, limits[i]);

		assert_refused("CPUChaos", cpu);
		assert_refused("MemoryChaos", memory);
	}
}

static void test_group_that_is_gone_is_no_forgery(void **state)
{
	autofree char *path = xasprintf("%s/gone", dir);
	autofree char *cpu = group_record(path, 2, QUOTA), *memory = group_record(path, 2, LIMIT);

	assert_taken("CPUChaos", cpu);
	assert_taken("MemoryChaos", memory);
}

/* A file outside, under the name of a limit. */
static void test_limit_is_written_to_no_other_file_system(void **state)
{
	const struct cgroup cg = {.path = dir, .version = 2};
	struct err e = {0};
	autofree char *file = xasprintf("%s/cpu.max", dir);

	fclose(fopen(file, "w"));
	cgroup_root_for_tests = NULL;
	assert_int_equal(cgroup_write(&cg, "cpu.max", "1 2", &e), -EPERM);
	assert_int_equal(cgroup_kill_all(&cg, &e), -EPERM);
	cgroup_root_for_tests = dir;
	assert_int_equal(cgroup_write(&cg, "cpu.max", "1 2", &e), 0);
}

#define FILTER "{\"ingress\": false, \"pref\": 1, \"handle\": 7, \"tag\": \"0011223344556677\"}"

static char *net_record(const char *name, const char *device)
{
	return xasprintf("{\"version\": 1, \"name\": \"%s\", \"ports\": [{\"name\": \"eth0\", \"ifindex\": 2,"
			 "\"clsactMade\": true, \"filters\": [" FILTER "], \"devices\": [{\"name\": \"%s\","
			 "\"tap\": false}]}]}", name, device);
}

static void test_filters_and_devices_of_others_are_refused(void **state)
{
	static const char *const names[] = {"cil_from_container", "", "brunt", "brunt:other:f",
					    "xbrunt:20261130-1:f", "brunt:20261130-12:f"};
	static const char *const devices[] = {"eth0", "docker0", "brunt", "brunt0", "brunt0000000g",
					      "brunt00000000f", "xrunt00000000"};
	autofree char *ours = net_record("brunt:20261130-1:f", "brunt12345678");

	assert_taken("NetworkChaos", ours);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		autofree char *record = net_record(names[i], "brunt12345678");

		assert_refused("NetworkChaos", record);
	}
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		autofree char *record = net_record("brunt:20261130-1:f", devices[i]);

		assert_refused("NetworkChaos", record);
	}
}

static void test_service_that_is_not_named_by_its_start_is_refused(void **state)
{
	static const char good[] = "{\"pid\": 4711, \"start\": 99, \"control\": \"/run/c\", \"tag\": "
				   "\"20261130-1/f\"}";
	static const char *const bad[] = {
		"{\"pid\": 1, \"start\": 99, \"control\": \"/run/c\", \"tag\": \"20261130-1/f\"}",
		"{\"pid\": -4711, \"start\": 99, \"control\": \"/run/c\", \"tag\": \"20261130-1/f\"}",
		"{\"pid\": 4711, \"control\": \"/run/c\", \"tag\": \"20261130-1/f\"}",
		"{\"pid\": 4711, \"start\": 99, \"control\": \"run/c\", \"tag\": \"20261130-1/f\"}",
		"{\"pid\": 4711, \"start\": 99, \"tag\": \"20261130-1/f\"}",
		"{\"pid\": 4711, \"start\": 99, \"control\": \"/run/c\", \"tag\": \"other/f\"}",
		"{\"pid\": 4711, \"start\": 99, \"control\": \"/run/c\", \"tag\": \"20261130-1\"}",
		"{\"pid\": 4711, \"start\": 99, \"control\": \"/run/c\", \"tag\": \"20261130-1/f\\nexit\"}",
	};

	assert_taken("RuntimeChaos", good);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_refused("RuntimeChaos", bad[i]);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_kind_looks_at_its_records),
		TEST(test_kind_without_the_check_is_not_reverted),
		TEST(test_group_outside_of_a_cgroup_file_system_is_refused),
		TEST(test_group_over_a_link_is_refused),
		TEST(test_limit_that_no_kernel_has_is_refused),
		TEST(test_group_that_is_gone_is_no_forgery),
		TEST(test_limit_is_written_to_no_other_file_system),
		TEST(test_filters_and_devices_of_others_are_refused),
		TEST(test_service_that_is_not_named_by_its_start_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
