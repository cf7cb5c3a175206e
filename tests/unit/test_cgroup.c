#include "kernel/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static const char pure_v2[] = "22 1 0:20 / /sys rw,nosuid - sysfs sysfs rw\n"
			      "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 "
			      "rw,nsdelegate,memory_recursiveprot\n";

static const char pure_v1[] =
	"31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
	"35 31 0:32 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory\n"
	"36 31 0:33 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n";

static const char hybrid[] = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
			     "36 31 0:35 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n"
			     "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

static void expect(const char *groups, const char *mounts, const char *controller, int version,
		   const char *path)
{
	autocgroup cg = {0};
	struct err e = {0};

	assert_int_equal(cgroup_resolve(groups, mounts, controller, &cg, &e), 0);
	assert_string_equal(cg.path, path);
	assert_int_equal(cg.version, version);
}

static void expect_error(const char *groups, const char *mounts, const char *controller,
			 const char *text)
{
	struct cgroup cg = {0};
	struct err e = {0};

	assert_int_equal(cgroup_resolve(groups, mounts, controller, &cg, &e), -ENOENT);
	assert_string_equal(e.text, text);
	assert_null(cg.path);
}

static void test_resolve_pure_v2(void **state)
{
	const char *groups = "0::/system.slice/cron.service\n";

	expect(groups, pure_v2, "memory", 2, "/sys/fs/cgroup/system.slice/cron.service");
	expect(groups, pure_v2, "", 2, "/sys/fs/cgroup/system.slice/cron.service");
	expect("0::/\n", pure_v2, "memory", 2, "/sys/fs/cgroup");
}

static void test_resolve_pure_v1(void **state)
{
	const char *groups = "4:memory:/user\n3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n";

	expect(groups, pure_v1, "memory", 1, "/sys/fs/cgroup/memory/user");
	expect(groups, pure_v1, "cpuacct", 1, "/sys/fs/cgroup/cpu,cpuacct");
	expect(groups, pure_v1, "cpu", 1, "/sys/fs/cgroup/cpu,cpuacct");
	expect_error(groups, pure_v1, "pids", "no cgroup hierarchy has the pids controller");
	/* A prefix of a controller's name is not the controller. */
	expect_error(groups, pure_v1, "mem", "no cgroup hierarchy has the mem controller");
}

static void test_resolve_hybrid(void **state)
{
	const char *groups = "6:freezer:/\n4:memory:/api/31fd\n0::/x\n";

	expect(groups, hybrid, "memory", 1, "/sys/fs/cgroup/memory/api/31fd");
	expect(groups, hybrid, "freezer", 1, "/sys/fs/cgroup/freezer");
	expect(groups, hybrid, "", 2, "/sys/fs/cgroup/unified/x");
	/* Not on a v1 line: with a v2 tree there it can only be v2's. */
	expect(groups, hybrid, "io", 2, "/sys/fs/cgroup/unified/x");
}

static void test_resolve_mount_shows_a_part(void **state)
{
	const char *mounts = "35 31 0:32 /docker/3a7c /sys/fs/cgroup/memory ro - cgroup cgroup "
			     "rw,memory\n";

	expect("4:memory:/docker/3a7c/job\n", mounts, "memory", 1, "/sys/fs/cgroup/memory/job");
	expect("4:memory:/docker/3a7c\n", mounts, "memory", 1, "/sys/fs/cgroup/memory");
	expect_error("4:memory:/docker/3a7cb\n", mounts, "memory",
		     "no mount shows cgroup /docker/3a7cb (v1, memory)");
}

static void test_resolve_in_a_cgroup_namespace(void **state)
{
	const char *host = "50 31 0:32 /../.. /host/cg rw - cgroup2 cgroup2 rw\n";

	expect("0::/\n", pure_v2, "memory", 2, "/sys/fs/cgroup");
	expect_error("0::/../other\n", pure_v2, "memory",
		     "no mount shows cgroup /../other (v2, memory)");
	/* The host's tree mounted into the container shows groups outside of the namespace. */
	expect("0::/../../a/b\n", host, "memory", 2, "/host/cg/a/b");
}

static void test_resolve_names_with_colons_and_blanks(void **state)
{
	const char *mounts = "35 31 0:32 / /mnt/my\\040groups rw - cgroup cgroup rw,memory\n";

	expect("4:memory:/a:b c\n", mounts, "memory", 1, "/mnt/my groups/a:b c");
}

static void test_resolve_survives_malformed_text(void **state)
{
	static const char *const bad[] = {"", "\n", ":", "4:memory", "4::", "junk\n::\n"};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct cgroup cg = {0};

		assert_true(cgroup_resolve(bad[i], "1 2 3 - x\n - \n", "memory", &cg, NULL) < 0);
		assert_true(cgroup_resolve("4:memory:/\n", bad[i], "memory", &cg, NULL) < 0);
	}
}

/* The rest needs a writable tree: brunt's own groups on whatever this kernel has. */
struct own {
	struct cgroup parent, group;
};

static int own_group(const char *controller, struct own *ret)
{
	char name[40];

	snprintf(name, sizeof name, "bt-liveroom-%d", getpid());
	if (cgroup_own(controller, &ret->parent, NULL) < 0)
		return -1;
	return cgroup_make(&ret->parent, name, &ret->group, NULL);
}

static void own_done(struct own *o)
{
	cgroup_done(&o->parent);
	cgroup_done(&o->group);
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void kill_and_remove(const char *controller)
{
	autocgroup below = {0}, seen = {0};
	autofree pid_t *pids = NULL;
	struct own o = {0};
	struct err e = {0};
	size_t n = 0;
	pid_t a, b;

	if (own_group(controller, &o) < 0) {
		own_done(&o);
		skip();
	}
	assert_int_equal(cgroup_make(&o.group, "below", &below, &e), 0);
	a = sleeper();
	b = sleeper();
	if (cgroup_attach(&o.group, a, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(cgroup_attach(&below, b, &e), 0);
	assert_int_equal(cgroup_of_pid(b, controller, &seen, &e), 0);
	assert_string_equal(seen.path, below.path);
	assert_int_equal(cgroup_pids(&o.group, &pids, &n, &e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(pids[0], a);
	assert_int_equal(cgroup_remove(&o.group, &e), -EBUSY);
	if (cgroup_kill_all(&o.group, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(waitpid(a, NULL, 0), a);
	assert_int_equal(waitpid(b, NULL, 0), b);
	assert_int_equal(cgroup_remove(&o.group, &e), 0);
	assert_int_equal(access(o.group.path, F_OK), -1);
	assert_int_equal(cgroup_remove(&o.group, &e), 0);
	assert_int_equal(cgroup_kill_all(&o.group, &e), 0);
	own_done(&o);
}

static void test_kill_all_in_the_memory_tree(void **state)
{
	kill_and_remove("memory");
}

static void test_kill_all_in_the_freezer_tree(void **state)
{
	kill_and_remove("freezer");
}

static void test_kill_all_in_the_v2_tree(void **state)
{
	kill_and_remove("");
}

static void test_files_read_and_written(void **state)
{
	struct own o = {0};
	struct err e = {0};
	uint64_t n = 0;
	const char *file;

	if (own_group("memory", &o) < 0) {
		own_done(&o);
		skip();
	}
	file = o.group.version == 1 ? "memory.limit_in_bytes" : "memory.max";
	assert_int_equal(cgroup_write(&o.group, file, "16777216", &e), 0);
	assert_int_equal(cgroup_read_u64(&o.group, file, &n, &e), 0);
	assert_int_equal(n, 16777216);
	assert_int_equal(cgroup_read_key(&o.group, o.group.version == 1 ? "memory.oom_control"
									: "memory.events",
					 "oom_kill", &n, &e), 0);
	assert_int_equal(n, 0);
	assert_int_equal(cgroup_read_key(&o.group, "memory.stat", "no_such", &n, &e), -ENOENT);
	assert_int_equal(cgroup_read_u64(&o.group, "memory.none", &n, &e), -ENOENT);
	assert_int_equal(cgroup_write(&o.group, file, "many", &e), -EINVAL);
	assert_non_null(strstr(e.text, o.group.path));
	assert_int_equal(cgroup_remove(&o.group, &e), 0);
	own_done(&o);
}

static void test_make_refuses_paths(void **state)
{
	static const char *const bad[] = {"", ".", "..", "a/b", "../x"};
	struct cgroup parent = {.path = "/nonexistent", .version = 1}, cg = {0};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(cgroup_make(&parent, bad[i], &cg, NULL), -EINVAL);
}

static void test_of_pid_that_is_gone(void **state)
{
	struct cgroup cg = {0};
	struct err e = {0};

	assert_int_equal(cgroup_of_pid(4194304, "memory", &cg, &e), -ESRCH);
	assert_string_equal(e.text, "/proc/4194304/cgroup: No such process");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve_pure_v2),
		cmocka_unit_test(test_resolve_pure_v1),
		cmocka_unit_test(test_resolve_hybrid),
		cmocka_unit_test(test_resolve_mount_shows_a_part),
		cmocka_unit_test(test_resolve_in_a_cgroup_namespace),
		cmocka_unit_test(test_resolve_names_with_colons_and_blanks),
		cmocka_unit_test(test_resolve_survives_malformed_text),
		cmocka_unit_test(test_kill_all_in_the_memory_tree),
		cmocka_unit_test(test_kill_all_in_the_freezer_tree),
		cmocka_unit_test(test_kill_all_in_the_v2_tree),
		cmocka_unit_test(test_files_read_and_written),
		cmocka_unit_test(test_make_refuses_paths),
		cmocka_unit_test(test_of_pid_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
