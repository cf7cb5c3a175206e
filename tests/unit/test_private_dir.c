/* Whose folder is believed. The ways that only root can lay are tried as root. */
#include "base/private_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"

enum { STRANGER = 65533 };

static char base[64];

static int setup(void **state)
{
	snprintf(base, sizeof base, "/tmp/bt-private-XXXXXX");
	return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
	autofree char *cmd = xasprintf("rm -rf %s", base);

	return system(cmd);
}

static char *folder(const char *name, mode_t mode)
{
	char *path = xasprintf("%s/%s", base, name);

	mkdir(path, 0700);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static void give_away(const char *path)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(lchown(path, STRANGER, STRANGER), 0);
}

static void assert_refused(const char *path, const char *object)
{
	struct err e = {0};

	assert_int_equal(private_dir_check(path, &e), -EPERM);
	if (!strstr(e.text, object))
		fail_msg("wanted an error about %s, seen \"%s\"", object, e.text);
	assert_true(e.hint[0]);
	assert_int_equal(private_dir_make(path, NULL), -EPERM);
}

static void test_own_folder_below_sticky_tmp_is_used(void **state)
{
	autofree char *dir = folder("state", 0700);

	assert_int_equal(private_dir_check(dir, NULL), 0);
	assert_int_equal(private_dir_make(dir, NULL), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(private_dir_check(dir, NULL), 0);
}

static void test_missing_folders_are_made_private(void **state)
{
	autofree char *dir = xasprintf("%s/a/b/state", base);
	struct stat st;

	assert_int_equal(private_dir_check(dir, NULL), -ENOENT);
	assert_int_equal(private_dir_make(dir, NULL), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_folder_that_others_may_write_is_refused(void **state)
{
	static const mode_t modes[] = {0777, 0720, 0702, 01777};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		autofree char *dir = folder("open", modes[i]);

		assert_refused(dir, "may be written by other users");
	}
}

static void test_folder_of_another_user_is_refused(void **state)
{
	autofree char *dir = folder("theirs", 0700);

	give_away(dir);
	assert_refused(dir, "belongs to user 65533");
}

static void test_folder_on_the_way_of_another_user_is_refused(void **state)
{
	autofree char *way = folder("home", 0755), *dir = folder("home/state", 0700);
	autofree char *missing = xasprintf("%s/not/there", way);

	give_away(way);
	assert_refused(dir, way);
	assert_refused(missing, way);
}

static void test_folder_on_the_way_that_others_may_write_is_refused(void **state)
{
	autofree char *way = folder("common", 0777), *dir = folder("common/state", 0700);

	assert_refused(dir, way);
	assert_int_equal(chmod(way, 01777), 0);
	assert_int_equal(private_dir_check(dir, NULL), 0);
}

static void test_link_of_root_is_followed_and_one_of_a_stranger_is_not(void **state)
{
	autofree char *dir = folder("real", 0700), *link = xasprintf("%s/link", base);
	autofree char *below = xasprintf("%s/state", link), *relative = xasprintf("%s/rel", base);

	assert_int_equal(symlink(dir, link), 0);
	assert_int_equal(symlink("./real/../real", relative), 0);
	assert_int_equal(private_dir_make(below, NULL), 0);
	assert_int_equal(private_dir_check(relative, NULL), 0);
	give_away(link);
	assert_refused(link, link);
	assert_refused(below, link);
}

static void test_link_to_an_unsafe_way_is_refused(void **state)
{
	autofree char *way = folder("common", 0777), *dir = folder("common/state", 0700);
	autofree char *link = xasprintf("%s/link", base);

	assert_int_equal(symlink(dir, link), 0);
	assert_refused(link, way);
}

static void test_links_in_a_ring_end(void **state)
{
	autofree char *a = xasprintf("%s/a", base), *b = xasprintf("%s/b", base);

	assert_int_equal(symlink(a, b), 0);
	assert_int_equal(symlink(b, a), 0);
	assert_int_equal(private_dir_check(a, NULL), -ELOOP);
}

static void test_file_is_no_folder(void **state)
{
	autofree char *path = xasprintf("%s/file", base);

	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(private_dir_make(path, NULL), -ENOTDIR);
}

static void test_state_home_that_sudo_kept_is_named(void **state)
{
	autofree char *home = folder("home", 0755), *dir = xasprintf("%s/brunt", home);
	struct err e = {0};

	give_away(home);
	setenv("XDG_STATE_HOME", home, 1);
	assert_int_equal(private_dir_make(dir, &e), -EPERM);
	unsetenv("XDG_STATE_HOME");
	assert_non_null(strstr(e.hint, "unset it"));
}

static void test_file_with_another_owner_name_or_writer_is_refused(void **state)
{
	autofree char *path = xasprintf("%s/brunt.db", base), *other = xasprintf("%s/other", base);

	assert_int_equal(private_file_check(path, NULL), -ENOENT);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(private_file_check(path, NULL), 0);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(private_file_check(path, NULL), -EPERM);
	unlink(other);
	chmod(path, 0666);
	assert_int_equal(private_file_check(path, NULL), -EPERM);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(private_file_check(other, NULL), -EPERM);
	chmod(path, 0600);
	give_away(path);
	assert_int_equal(private_file_check(path, NULL), -EPERM);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_own_folder_below_sticky_tmp_is_used),
		TEST(test_missing_folders_are_made_private),
		TEST(test_folder_that_others_may_write_is_refused),
		TEST(test_folder_of_another_user_is_refused),
		TEST(test_folder_on_the_way_of_another_user_is_refused),
		TEST(test_folder_on_the_way_that_others_may_write_is_refused),
		TEST(test_link_of_root_is_followed_and_one_of_a_stranger_is_not),
		TEST(test_link_to_an_unsafe_way_is_refused),
		TEST(test_links_in_a_ring_end),
		TEST(test_file_is_no_folder),
		TEST(test_state_home_that_sudo_kept_is_named),
		TEST(test_file_with_another_owner_name_or_writer_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
