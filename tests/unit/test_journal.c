#include "journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/clock.h"

static const struct fault_driver fixture = {.kind = "Fixture"};
static char dir[64];

static int setup(void **state)
{
	fault_driver_for_tests = &fixture;
	snprintf(dir, sizeof dir, "/tmp/bt-core-journal-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	autofree char *cmd = xasprintf("rm -rf %s", dir);

	return system(cmd);
}

static struct journal *open_ok(void)
{
	struct journal *j = NULL;
	struct err e = {0};

	if (journal_open(dir, &j, &e) < 0)
		fail_msg("%s", e.text);
	return j;
}

static struct undo record(const char *target, int n)
{
	return (struct undo){
		.fault = (char *)"squeeze",
		.target = (char *)target,
		.driver = &fixture,
		.data = xasprintf("{\"n\":%d}", n),
		.before = (char *)"memory.max 1\n",
		.netns_id = {.dev = 4, .ino = 4026531840 + (uint64_t)n, .cookie = 40 + (uint64_t)n},
	};
}

static void append_ok(struct journal *j, const char *run, const char *target, int n, int64_t *ret_id)
{
	struct undo u = record(target, n);
	struct err e = {0};

	if (journal_append(j, run, &u, 1, &e) < 0)
		fail_msg("%s", e.text);
	if (ret_id)
		*ret_id = u.id;
	free(u.data);
}

static size_t pending(struct journal *j, const char *run)
{
	struct undo_list l = {0};
	size_t n;

	assert_int_equal(journal_pending(j, run, &l, NULL), 0);
	n = l.n;
	undo_list_done(&l);
	return n;
}

static void test_append_is_read_back_newest_first(void **state)
{
	autoptr(journal) j = open_ok();
	struct undo_list l = {0};

	assert_int_equal(journal_run_begin(j, "r1", "x", NULL), 0);
	append_ok(j, "r1", "ns/a", 1, NULL);
	append_ok(j, "r1", "ns/b", 2, NULL);
	assert_int_equal(journal_pending(j, "r1", &l, NULL), 0);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.items[0].target, "ns/b");
	assert_string_equal(l.items[1].target, "ns/a");
	assert_string_equal(l.items[0].run_id, "r1");
	assert_string_equal(l.items[0].before, "memory.max 1\n");
	assert_ptr_equal(l.items[0].driver, &fixture);
	assert_int_equal(l.items[0].netns_id.ino, 4026531842);
	assert_int_equal(l.items[0].netns_id.cookie, 42);
	assert_string_equal(l.items[0].data, "{\"n\":2}");
	assert_int_equal(l.items[0].netns_fd, -1);
	assert_false(l.items[0].earlier_boot);
	undo_list_done(&l);
}

static void test_undone_records_are_pending_no_more(void **state)
{
	autoptr(journal) j = open_ok();
	int64_t id;

	journal_run_begin(j, "r1", "x", NULL);
	append_ok(j, "r1", "ns/a", 1, &id);
	append_ok(j, "r1", "ns/b", 2, NULL);
	assert_int_equal(journal_mark_undone(j, &id, 1, NULL), 0);
	assert_int_equal(pending(j, "r1"), 1);
	assert_int_equal(pending(j, NULL), 1);
	assert_int_equal(pending(j, "other"), 0);
}

static void test_append_survives_close_without_goodbye(void **state)
{
	struct journal *crashed = open_ok();

	journal_run_begin(crashed, "r1", "x", NULL);
	append_ok(crashed, "r1", "ns/a", 1, NULL);
	{
		autoptr(journal) j = open_ok();

		assert_int_equal(pending(j, NULL), 1);
	}
	journal_close(crashed);
}

static void test_append_of_an_unknown_run_leaves_nothing(void **state)
{
	autoptr(journal) j = open_ok();
	struct undo two[2] = {record("ns/a", 1), record("ns/b", 2)};
	struct err e = {0};

	two[1].target = NULL; /* NOT NULL fails on the second of the transaction */
	journal_run_begin(j, "r1", "x", NULL);
	assert_true(journal_append(j, "r1", two, 2, &e) < 0);
	assert_non_null(strstr(e.text, "append"));
	assert_int_equal(two[0].id, 0);
	assert_int_equal(pending(j, NULL), 0);
	free(two[0].data);
	free(two[1].data);
}

static void test_earlier_boot_is_told(void **state)
{
	autoptr(journal) j = open_ok();
	autofree char *path = xasprintf("%s/brunt.db", dir);
	struct undo_list l = {0};
	sqlite3 *db;

	journal_run_begin(j, "r1", "x", NULL);
	append_ok(j, "r1", "ns/a", 1, NULL);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE runs SET boot_id = 'x'", NULL, NULL, NULL), 0);
	sqlite3_close(db);
	assert_int_equal(journal_pending(j, NULL, &l, NULL), 0);
	assert_true(l.items[0].earlier_boot);
	undo_list_done(&l);
}

static void test_run_is_found_by_prefix(void **state)
{
	autoptr(journal) j = open_ok();
	json_auto_t *record = json_pack("{s:i}", "k", 1);
	struct run_row row = {0};
	struct err e = {0};

	assert_int_equal(journal_run(j, "latest", &row, &e), -ENOENT);
	journal_run_begin(j, "abc", "x", NULL);
	journal_run_begin(j, "abd", "y", NULL);
	assert_int_equal(journal_run_end(j, "abd", "done", "passed", record, NULL), 0);
	assert_int_equal(journal_run(j, "ab", &row, &e), -ENOTUNIQ);
	assert_string_equal(e.text, "several runs begin with \"ab\"");
	assert_int_equal(journal_run(j, "zz", &row, &e), -ENOENT);
	assert_int_equal(journal_run(j, "abd", &row, &e), 0);
	assert_string_equal(row.verdict, "passed");
	assert_string_equal(row.record, "{\"k\":1}");
	run_row_done(&row);
	assert_int_equal(journal_run(j, "abc", &row, &e), 0);
	assert_null(row.record);
	assert_string_equal(row.state, "running");
	run_row_done(&row);
}

/* Longer than the pieces that it is written in, and not a multiple of them. */
static void test_long_record_is_read_back_whole(void **state)
{
	autoptr(journal) j = open_ok();
	json_auto_t *record = json_object(), *lines = json_array();
	struct run_row row = {0};
	autofree char *text = NULL;

	for (int i = 0; i < 1000; i++)
		json_array_append_new(lines, json_sprintf("line %d of \"many\"", i));
	json_object_set(record, "lines", lines);
	text = json_dumps(record, JSON_COMPACT);
	journal_run_begin(j, "r1", "x", NULL);
	assert_int_equal(journal_run_end(j, "r1", "done", "passed", record, NULL), 0);
	assert_int_equal(journal_run(j, "r1", &row, NULL), 0);
	assert_string_equal(row.record, text);
	run_row_done(&row);
	assert_int_equal(journal_run_end(j, "r1", "recovered", "error", NULL, NULL), 0);
	assert_int_equal(journal_run(j, "r1", &row, NULL), 0);
	assert_string_equal(row.record, text);
	assert_string_equal(row.state, "recovered");
	run_row_done(&row);
}

static void test_record_of_an_unknown_run_is_an_error(void **state)
{
	autoptr(journal) j = open_ok();
	json_auto_t *record = json_object();
	struct err e = {0};

	assert_int_equal(journal_run_end(j, "nobody", "done", "passed", record, &e), -ENOENT);
	assert_string_equal(e.text, "no run \"nobody\"");
}

static void test_prune_keeps_the_newest_the_live_and_the_pending(void **state)
{
	static const char *const ids[] = {"live", "owes", "old1", "old2", "new1", "new2"};
	autoptr(journal) j = open_ok();
	struct run_row *rows;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		journal_run_begin(j, ids[i], "x", NULL);
		if (i > 0)
			journal_run_end(j, ids[i], "done", "passed", NULL, NULL);
	}
	append_ok(j, "owes", "ns/a", 1, NULL);
	assert_int_equal(journal_prune(j, 2, NULL), 1);
	assert_int_equal(journal_prune(j, 2, NULL), 0);
	assert_int_equal(journal_runs(j, &rows, &n, NULL), 0);
	assert_int_equal(n, 4);
	assert_string_equal(rows[0].id, "new2");
	assert_string_equal(rows[1].id, "new1");
	assert_string_equal(rows[2].id, "owes");
	assert_string_equal(rows[3].id, "live");
	for (size_t i = 0; i < n; i++)
		run_row_done(&rows[i]);
	free(rows);
}

static void test_open_names_a_state_directory_that_cannot_be(void **state)
{
	struct journal *j = NULL;
	struct err e = {0};

	assert_true(journal_open("/proc/brunt", &j, &e) < 0);
	assert_non_null(strstr(e.text, "state directory /proc/brunt: "));
	assert_non_null(strstr(e.hint, "--state-dir"));
	assert_null(j);
}

static void test_open_says_what_to_do_with_a_foreign_file(void **state)
{
	autofree char *path = xasprintf("%s/brunt.db", dir);
	struct journal *j = NULL;
	struct err e = {0};
	FILE *f = fopen(path, "w");

	for (int i = 0; i < 400; i++)
		fputs("not a database\n", f);
	fclose(f);
	assert_int_equal(journal_open(dir, &j, &e), -EBADMSG);
	assert_non_null(strstr(e.hint, "the only undo of runs"));
}

static void test_newest_run_is_the_last_begun_also_after_a_clock_step(void **state)
{
	autofree char *path = xasprintf("%s/brunt.db", dir);
	autoptr(journal) j = open_ok();
	struct run_row row = {0};
	sqlite3 *db;

	journal_run_begin(j, "r1", "x", NULL);
	journal_run_begin(j, "r2", "x", NULL);
	journal_run_end(j, "r1", "done", "passed", NULL, NULL);
	journal_run_end(j, "r2", "done", "passed", NULL, NULL);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "UPDATE runs SET started_ns = 1 WHERE id = 'r2'", NULL, NULL, NULL);
	sqlite3_close(db);
	for (int pruned = 0; pruned < 2; pruned++) {
		assert_int_equal(journal_run(j, "latest", &row, NULL), 0);
		assert_string_equal(row.id, "r2");
		run_row_done(&row);
		assert_int_equal(journal_prune(j, 1, NULL), !pruned);
	}
}

/* As brunt 0.1 made it, with one record pending. */
static void make_format_1(void)
{
	autofree char *path = xasprintf("%s/brunt.db", dir);
	char boot_id[CLOCK_BOOT_ID_MAX];
	autofree char *sql = NULL;
	sqlite3 *db;

	clock_boot_id(boot_id);
	sql = xasprintf(
		"CREATE TABLE runs(id TEXT PRIMARY KEY, experiment TEXT NOT NULL, state TEXT NOT NULL,"
		" verdict TEXT, started_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL DEFAULT 0,"
		" pid INTEGER NOT NULL, boot_id TEXT NOT NULL, record TEXT);"
		"CREATE TABLE undo(id INTEGER PRIMARY KEY, run_id TEXT NOT NULL REFERENCES runs(id),"
		" fault TEXT NOT NULL, target TEXT NOT NULL, driver TEXT NOT NULL, data TEXT NOT NULL,"
		" before TEXT, netns_dev INTEGER NOT NULL, netns_ino INTEGER NOT NULL,"
		" undone_ns INTEGER NOT NULL DEFAULT 0);"
		"INSERT INTO runs(id, experiment, state, started_ns, pid, boot_id)"
		" VALUES('old', 'x', 'running', 1, 1, '%s');"
		"INSERT INTO undo(run_id, fault, target, driver, data, netns_dev, netns_ino)"
		" VALUES('old', 'f', 'ns/a', 'Fixture', '{}', 4, 4026531999);"
		"PRAGMA user_version = 1;", boot_id);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_record_of_an_older_format_is_known_by_its_number(void **state)
{
	autoptr(journal) j = NULL;
	struct undo_list l = {0};

	make_format_1();
	j = open_ok();
	append_ok(j, "old", "ns/b", 2, NULL);
	assert_int_equal(journal_pending(j, "old", &l, NULL), 0);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.items[1].netns_id.ino, 4026531999);
	assert_int_equal(l.items[1].netns_id.cookie, 0);
	assert_int_equal(l.items[1].added_ns, 0);
	assert_int_equal(l.items[0].netns_id.cookie, 42);
	assert_true(l.items[0].added_ns > 0);
	undo_list_done(&l);
	journal_close(take(j));
	j = open_ok(); /* once is enough */
	assert_int_equal(pending(j, "old"), 2);
}

static void test_open_refuses_the_format_of_a_newer_brunt(void **state)
{
	autofree char *path = xasprintf("%s/brunt.db", dir);
	struct journal *j = NULL;
	struct err e = {0};
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL);
	sqlite3_close(db);
	assert_int_equal(journal_open(dir, &j, &e), -EPROTO);
	assert_non_null(strstr(e.text, "newer brunt (format 1000)"));
}

/* A disk of 512 KiB, seen by this process only. */
static void mount_small_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		skip();
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("small", dir, "tmpfs", 0, "size=512k,mode=0700"), 0);
}

static void fill_disk(void)
{
	autofree char *path = xasprintf("%s/filler", dir);
	static const char page[4096];
	FILE *f = fopen(path, "w");

	setvbuf(f, NULL, _IONBF, 0);
	while (fwrite(page, sizeof page, 1, f) == 1)
		;
	fclose(f);
}

static void test_full_disk_leaves_earlier_entries_intact(void **state)
{
	autofree char *filler = xasprintf("%s/filler", dir);
	autoptr(journal) j = NULL;
	struct undo u = record("ns/big", 3);
	struct err e = {0};

	mount_small_disk();
	j = open_ok();
	journal_run_begin(j, "r1", "x", NULL);
	append_ok(j, "r1", "ns/a", 1, NULL);
	fill_disk();
	assert_int_equal(journal_append(j, "r1", &u, 1, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "No space left on device"));
	assert_non_null(strstr(e.hint, "free some space"));
	assert_int_equal(pending(j, "r1"), 1);
	unlink(filler);
	append_ok(j, "r1", "ns/b", 2, NULL);
	assert_int_equal(pending(j, "r1"), 2);
	free(u.data);
	journal_close(take(j));
	umount(dir);
}

static void test_file_size_limit_is_an_error_like_a_full_disk(void **state)
{
	autoptr(journal) j = open_ok();
	autofree char *wal = xasprintf("%s/brunt.db-wal", dir);
	struct undo u = record("ns/big", 3);
	struct rlimit old, tight;
	struct err e = {0};
	struct stat st;

	journal_run_begin(j, "r1", "x", NULL);
	append_ok(j, "r1", "ns/a", 1, NULL);
	assert_int_equal(stat(wal, &st), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	tight = (struct rlimit){.rlim_cur = (rlim_t)st.st_size + 100, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	assert_true(journal_append(j, "r1", &u, 1, &e) < 0);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_non_null(strstr(e.hint, "free some space"));
	assert_int_equal(pending(j, "r1"), 1);
	free(u.data);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_append_is_read_back_newest_first),
		TEST(test_undone_records_are_pending_no_more),
		TEST(test_append_survives_close_without_goodbye),
		TEST(test_append_of_an_unknown_run_leaves_nothing),
		TEST(test_earlier_boot_is_told),
		TEST(test_run_is_found_by_prefix),
		TEST(test_long_record_is_read_back_whole),
		TEST(test_record_of_an_unknown_run_is_an_error),
		TEST(test_prune_keeps_the_newest_the_live_and_the_pending),
		TEST(test_open_names_a_state_directory_that_cannot_be),
		TEST(test_open_says_what_to_do_with_a_foreign_file),
		TEST(test_newest_run_is_the_last_begun_also_after_a_clock_step),
		TEST(test_record_of_an_older_format_is_known_by_its_number),
		TEST(test_open_refuses_the_format_of_a_newer_brunt),
		TEST(test_file_size_limit_is_an_error_like_a_full_disk),
		TEST(test_full_disk_leaves_earlier_entries_intact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
