#include "recover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "file_driver.h"

static char *state_dir;

static int setup(void **state)
{
	file_driver_setup();
	state_dir = xasprintf("%s/state", file_dir);
	return 0;
}

static int teardown(void **state)
{
	free(state_dir);
	return file_driver_teardown();
}

/* Two targets whose fault is prepared and journaled, and injected if asked. */
static void make_run(struct journal *j, bool injected)
{
	struct fault f = {.driver = &file_driver, .name = "squeeze"};

	for (int i = 0; i < 2; i++) {
		autoptr(target) t = file_target(i ? "b" : "a", i ? "two\n" : "one\n");

		target_list_add(&f.targets, t);
	}
	file_prepare(&f, NULL);
	for (size_t i = 0; i < f.undo.n; i++)
		f.undo.items[i].before = file_read(f.undo.items[i].target);
	assert_int_equal(journal_run_begin(j, "r1", "x", NULL), 0);
	assert_int_equal(journal_append(j, "r1", f.undo.items, f.undo.n, NULL), 0);
	if (injected)
		file_inject(&f, NULL);
	undo_list_done(&f.undo);
	target_list_done(&f.targets);
}

static struct journal *open_ok(void)
{
	struct journal *j;

	assert_int_equal(journal_open(state_dir, &j, NULL), 0);
	return j;
}

static void assert_file(const char *target, const char *text)
{
	autofree char *now = file_read(target);

	assert_string_equal(now, text);
}

static size_t pending(struct journal *j)
{
	struct undo_list l = {0};
	size_t n;

	journal_pending(j, NULL, &l, NULL);
	n = l.n;
	undo_list_done(&l);
	return n;
}

static void test_dead_run_is_put_back(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};
	struct run_row row = {0};

	make_run(j, true);
	assert_file("default/a", "broken\n");
	assert_int_equal(recover_dead_run(j, NULL, "r1", NULL, "brunt recover", &rest, NULL), 0);
	assert_file("default/a", "one\n");
	assert_file("default/b", "two\n");
	assert_int_equal(rest.n, 2);
	assert_int_equal(restoration_left(&rest), 0);
	assert_int_equal(pending(j), 0);
	assert_int_equal(file_driver_knobs.n_reverts, 1);
	assert_int_equal(journal_run(j, "r1", &row, NULL), 0);
	assert_string_equal(row.state, "recovered");
	assert_string_equal(row.verdict, "error");
	assert_non_null(strstr(row.record, "brunt recover put everything back"));
	run_row_done(&row);
}

static void test_recover_after_kill_between_journal_and_inject(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};

	make_run(j, false);
	assert_int_equal(recover_dead_run(j, NULL, "r1", NULL, "x", &rest, NULL), 0);
	assert_file("default/a", "one\n");
	assert_int_equal(restoration_left(&rest), 0);
}

static void test_recover_twice_is_harmless(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};

	make_run(j, true);
	recover_dead_run(j, NULL, "r1", NULL, "x", &rest, NULL);
	assert_int_equal(recover_dead_run(j, NULL, "r1", NULL, "x", &rest, NULL), 0);
	assert_int_equal(rest.n, 2);
	assert_file("default/a", "one\n");
}

static void test_failed_revert_stays_pending(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};
	struct run_row row = {0};
	char buf[200];

	make_run(j, true);
	file_driver_knobs.fail_revert = true;
	assert_int_equal(recover_dead_run(j, NULL, "r1", NULL, "x", &rest, NULL), 0);
	assert_int_equal(restoration_left(&rest), 2);
	assert_string_equal(restoration_summary(&rest, buf, sizeof buf),
			    "default/b: the disk is stuck, and 1 more");
	assert_int_equal(pending(j), 2);
	journal_run(j, "r1", &row, NULL);
	assert_string_equal(row.state, "not-restored");
	run_row_done(&row);

	file_driver_knobs.fail_revert = false;
	restoration_done(&rest);
	recover_dead_run(j, NULL, "r1", NULL, "x", &rest, NULL);
	assert_int_equal(pending(j), 0);
	journal_run(j, "r1", &row, NULL);
	assert_string_equal(row.state, "recovered");
	run_row_done(&row);
}

static void test_residue_is_told_line_by_line(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};

	make_run(j, true);
	file_driver_knobs.keep_residue = true;
	recover_run(j, NULL, "r1", NULL, &rest, NULL);
	assert_int_equal(restoration_left(&rest), 2);
	assert_true(rest.items[0].residue);
	assert_string_equal(rest.items[0].text, "differs from before the run: +left over");
	assert_int_equal(pending(j), 2);
}

static void test_foreign_change_is_left_and_no_residue(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};

	make_run(j, true);
	file_driver_knobs.foreign = true;
	recover_run(j, NULL, "r1", NULL, &rest, NULL);
	assert_int_equal(restoration_left(&rest), 0);
	assert_string_equal(rest.items[0].text, "differs from before the run: -two +theirs");
	assert_file("default/a", "theirs\n");
	assert_int_equal(pending(j), 0);
}

static void test_target_that_is_gone_counts_as_recovered(void **state)
{
	autoptr(journal) j = open_ok();
	autorestoration rest = {0};
	autofree char *path = file_of("default/a");

	make_run(j, true);
	unlink(path);
	recover_run(j, NULL, "r1", NULL, &rest, NULL);
	assert_int_equal(restoration_left(&rest), 0);
	assert_int_equal(rest.items[1].outcome, UNDO_GONE);
	assert_int_equal(pending(j), 0);
}

static void test_reboot_undoes_without_the_driver(void **state)
{
	struct undo u = {.fault = (char *)"f", .target = (char *)"default/a", .earlier_boot = true};
	autorestoration rest = {0};

	recover_revert(&u, 1, NULL, &rest);
	assert_int_equal(rest.items[0].outcome, UNDO_GONE);
}

static void test_unknown_kind_is_left_with_a_reason(void **state)
{
	struct undo u = {.fault = (char *)"f", .target = (char *)"default/a"};
	autorestoration rest = {0};

	recover_revert(&u, 1, NULL, &rest);
	assert_int_equal(restoration_left(&rest), 1);
	assert_string_equal(rest.items[0].text, "this brunt does not know the kind of fault");
}

static void test_diff_names_lines_of_both_sides(void **state)
{
	autofree char *d = recover_diff("a\nb\nc\n", "a\nc\nd\n");
	autofree char *none = recover_diff("a\n", "a\n");

	assert_string_equal(d, "-b\n+d");
	assert_string_equal(none, "");
}

static struct str reverted;

static int note_revert(const struct undo *undo, size_t n, struct broker *broker,
		       struct undo_result *results, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		str_addf(&reverted, "%s ", undo[i].target);
		results[i] = (struct undo_result){.outcome = UNDO_FAILED};
	}
	return 0;
}

static int believe(const struct undo *undo, struct err *e)
{
	return 0;
}

static int ask_again(const struct undo *undo, struct broker *broker, struct str *ret, struct err *e)
{
	str_addf(&reverted, "%s-again ", undo->target);
	return 0;
}

/* A service that does not answer must not keep another target's limit on, whichever came first. */
static void test_slow_kinds_are_reverted_last_and_not_asked_again(void **state)
{
	static const struct fault_driver slow = {
		.kind = "Slow", .slow = true, .vet = believe, .revert = note_revert, .resnapshot = ask_again};
	static const struct fault_driver quick = {.kind = "Quick", .vet = believe,
						   .revert = note_revert};
	const struct undo undo[] = {
		{.fault = "f", .target = "s1", .driver = &slow, .before = "x"},
		{.fault = "f", .target = "q1", .driver = &quick},
		{.fault = "f", .target = "s2", .driver = &slow, .before = "x"},
		{.fault = "f", .target = "q2", .driver = &quick},
	};
	autorestoration rest = {0};

	recover_revert(undo, ARRAY_SIZE(undo), NULL, &rest);
	for (size_t i = 0; i < ARRAY_SIZE(undo); i++)
		recover_check(&undo[i], NULL, &rest.items[i]);
	assert_string_equal(reverted.s, "q1 q2 s1 s2 ");
	for (size_t i = 0; i < ARRAY_SIZE(undo); i++)
		assert_string_equal(rest.items[i].target, undo[i].target);
	str_done(&reverted);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dead_run_is_put_back),
		TEST(test_recover_after_kill_between_journal_and_inject),
		TEST(test_recover_twice_is_harmless),
		TEST(test_failed_revert_stays_pending),
		TEST(test_residue_is_told_line_by_line),
		TEST(test_foreign_change_is_left_and_no_residue),
		TEST(test_target_that_is_gone_counts_as_recovered),
		TEST(test_reboot_undoes_without_the_driver),
		TEST(test_unknown_kind_is_left_with_a_reason),
		TEST(test_diff_names_lines_of_both_sides),
		TEST(test_slow_kinds_are_reverted_last_and_not_asked_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
