/* A CPU quota written and put back, on folders that look like control groups of either version. */
#include "fault/cpu_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "group_files.h"

static struct cgroup group(const char *name, int version)
{
	return (struct cgroup){.path = xasprintf("%s/%s", dir, name), .version = version};
}

static int setup(void **state)
{
	if (groups_begin() < 0)
		return -1;
	make_group("v1");
	make_group("v2");
	put("v1", "cpu.cfs_quota_us", "-1");
	put("v1", "cpu.cfs_period_us", "50000");
	put("v1", "cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 7000\n");
	put("v2", "cpu.max", "max 100000");
	put("v2", "cpu.max.burst", "0");
	put("v2", "cpu.stat", "usage_usec 1\nnr_periods 8\nnr_throttled 3\nthrottled_usec 6\n");
	return 0;
}

static void test_no_quota_reads_as_unlimited(void **state)
{
	autocgroup v1 = group("v1", 1), v2 = group("v2", 2);
	struct cpu_quota q;

	assert_int_equal(cpu_group_read(&v1, &q, NULL), 0);
	assert_true(q.quota_us == INT64_MAX && q.period_us == 50000 && q.burst_us == 0);
	assert_int_equal(cpu_group_read(&v2, &q, NULL), 0);
	assert_true(q.quota_us == INT64_MAX && q.period_us == 100000);
	put("v2", "cpu.max", "25000 200000");
	put("v2", "cpu.max.burst", "3000");
	assert_int_equal(cpu_group_read(&v2, &q, NULL), 0);
	assert_true(q.quota_us == 25000 && q.period_us == 200000 && q.burst_us == 3000);
}

static void test_throttling_is_counted_in_nanoseconds_on_both(void **state)
{
	autocgroup v1 = group("v1", 1), v2 = group("v2", 2);
	struct cpu_counts n;

	assert_int_equal(cpu_group_counts(&v1, &n, NULL), 0);
	assert_true(n.periods == 9 && n.throttled == 4 && n.throttled_ns == 7000);
	assert_int_equal(cpu_group_counts(&v2, &n, NULL), 0);
	assert_true(n.periods == 8 && n.throttled == 3 && n.throttled_ns == 6000);
}

static void test_a_v2_group_without_the_controller_says_how_to_get_it(void **state)
{
	autofree char *file = xasprintf("%s/v2/cpu.max", dir);
	autocgroup v2 = group("v2", 2);
	struct cpu_quota q;
	struct err e = {0};

	unlink(file);
	assert_int_equal(cpu_group_read(&v2, &q, &e), -ENOENT);
	assert_non_null(strstr(e.text, "its parent hands on no cpu controller"));
	assert_non_null(strstr(e.hint, "echo +cpu"));
}

/* The record of a fault that wrote `wrote` where `saved` was. */
static struct undo throttled(const char *name, int version, const char *saved, const char *wrote)
{
	struct cgroup cg = group(name, version);
	struct undo u = {.fault = (char *)"quota", .target = (char *)"default/p",
			 .driver = fault_driver_by_kind("CPUChaos"), .netns_fd = -1};
	struct stat st;

	assert_int_equal(stat(cg.path, &st), 0);
	undo_set_json(&u, json_pack("{s:[{s:s, s:i, s:I, s:s, s:s}]}", "groups", "path", cg.path,
				    "version", version, "ino", (json_int_t)st.st_ino, "saved", saved,
				    "wrote", wrote));
	keep_snapshot(&u);
	put(name, cpu_group_file(&cg), wrote);
	cgroup_done(&cg);
	return u;
}

static void test_the_very_text_that_was_there_is_put_back(void **state)
{
	static const struct {
		const char *name;
		int version;
		const char *file, *saved, *wrote;
	} rows[] = {
		/* As long as each other: these are files, and keep the tail of a longer text. */
		{"v1", 1, "cpu.cfs_quota_us", "70000", "50000"},
		{"v2", 2, "cpu.max", "70000 100000", "10000 100000"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct undo_result r;
		struct undo u;

		put(rows[i].name, rows[i].file, rows[i].saved);
		u = throttled(rows[i].name, rows[i].version, rows[i].saved, rows[i].wrote);
		assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
		assert_int_equal(r.outcome, UNDO_REVERTED);
		expect(rows[i].name, rows[i].file, rows[i].saved);
		assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0); /* and once more */
		assert_int_equal(r.outcome, UNDO_REVERTED);
		expect_snapshot(&u);
		done(&u);
	}
}

static void test_somebody_elses_quota_is_left(void **state)
{
	struct undo u = throttled("v2", 2, "max 100000", "10000 100000");
	struct undo_result r;

	put("v2", "cpu.max", "70000 100000");
	assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
	assert_int_equal(r.outcome, UNDO_FOREIGN);
	assert_non_null(strstr(r.text, "somebody set cpu.max to \"70000 100000\" meanwhile; left"));
	expect("v2", "cpu.max", "70000 100000");
	done(&u);
}

static void test_a_group_made_anew_is_another(void **state)
{
	struct undo u = throttled("v1", 1, "-1", "5000");
	autofree char *move = xasprintf("mv %s/v1 %s/old && cp -r %s/old %s/v1", dir, dir, dir, dir);
	struct undo_result r;
	autostr now = {0};

	assert_int_equal(system(move), 0);
	assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
	assert_int_equal(r.outcome, UNDO_GONE);
	expect("v1", "cpu.cfs_quota_us", "5000");
	assert_int_equal(u.driver->resnapshot(&u, NULL, &now, NULL), -ENOENT);
	done(&u);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, groups_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_quota_reads_as_unlimited),
		TEST(test_throttling_is_counted_in_nanoseconds_on_both),
		TEST(test_a_v2_group_without_the_controller_says_how_to_get_it),
		TEST(test_the_very_text_that_was_there_is_put_back),
		TEST(test_somebody_elses_quota_is_left),
		TEST(test_a_group_made_anew_is_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
