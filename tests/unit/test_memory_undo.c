/* Reverting a memory limit, on folders that look like cgroup v2 groups whatever this machine has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "group_files.h"

static void make_limited_group(const char *group)
{
	make_group(group);
	put(group, "memory.max", "819200");
	put(group, "memory.high", "700000");
	put(group, "memory.swap.max", "600000");
}

static void remove_group(const char *group)
{
	autofree char *cmd = xasprintf("rm -r %s/%s", dir, group);

	assert_int_equal(system(cmd), 0);
}

static int setup(void **state)
{
	if (groups_begin() < 0)
		return -1;
	make_limited_group("a");
	make_limited_group("b");
	return 0;
}

static json_t *group_json(const char *group)
{
	autofree char *path = xasprintf("%s/%s", dir, group);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return json_pack("{s:s, s:i, s:I, s:b, s:{s:s, s:s, s:s}, s:[i]}", "path", path, "version", 2,
			 "ino", (json_int_t)st.st_ino, "high", false, "saved", "memory.max", "819200",
			 "memory.high", "700000", "memory.swap.max", "600000", "wrote", 409600);
}

/* One target whose two containers have a group each, both shrunk. */
static struct undo shrunk(void)
{
	struct undo u = {
		.fault = (char *)"squeeze",
		.target = (char *)"default/p",
		.driver = fault_driver_by_kind("MemoryChaos"),
		.netns_fd = -1,
	};

	undo_set_json(&u, json_pack("{s:[o, o]}", "groups", group_json("a"), group_json("b")));
	keep_snapshot(&u);
	put("a", "memory.max", "409600");
	put("b", "memory.max", "409600");
	return u;
}

static void test_what_was_written_is_put_back(void **state)
{
	struct undo u = shrunk();
	struct undo_result r = {0};

	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
		assert_int_equal(r.outcome, UNDO_REVERTED);
		expect_snapshot(&u);
	}
	done(&u);
}

static void test_file_that_was_not_written_is_somebody_elses(void **state)
{
	struct undo u = shrunk();
	struct undo_result r = {0};

	put("a", "memory.high", "300000");
	put("b", "memory.swap.max", "200000");
	assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
	assert_int_equal(r.outcome, UNDO_FOREIGN);
	assert_non_null(strstr(r.text, "meanwhile; left"));
	expect("a", "memory.max", "819200");
	expect("a", "memory.high", "300000");
	expect("b", "memory.max", "819200");
	expect("b", "memory.swap.max", "200000");
	done(&u);
}

static void test_one_container_gone_does_not_hide_the_other(void **state)
{
	struct undo u = shrunk();
	struct undo_result r = {0};
	autostr now = {0};

	remove_group("a");
	assert_int_equal(u.driver->resnapshot(&u, NULL, &now, NULL), 0);
	assert_string_not_equal(now.s, u.before); /* b is still shrunk */
	assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
	assert_int_equal(r.outcome, UNDO_REVERTED);
	expect_snapshot(&u);
	done(&u);
}

static void test_all_containers_gone(void **state)
{
	struct undo u = shrunk();
	struct undo_result r = {0};
	autostr now = {0};

	remove_group("a");
	remove_group("b");
	assert_int_equal(u.driver->revert(&u, 1, NULL, &r, NULL), 0);
	assert_int_equal(r.outcome, UNDO_GONE);
	assert_int_equal(u.driver->resnapshot(&u, NULL, &now, NULL), -ENOENT);
	done(&u);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, groups_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_written_is_put_back),
		TEST(test_file_that_was_not_written_is_somebody_elses),
		TEST(test_one_container_gone_does_not_hide_the_other),
		TEST(test_all_containers_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
