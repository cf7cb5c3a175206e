#include "plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct fault_driver one_kind, other_kind;

enum { MAX_FAULTS = 8 };

/* In a window of 100 s; a duration of 0 lasts to its end. */
struct spell {
	int64_t at_s, duration_s;
	const struct fault_driver *driver;
};

static void assert_orders(const struct spell *spells, size_t n, const unsigned *want)
{
	struct fault_spec specs[MAX_FAULTS] = {0};
	const struct experiment x = {
		.faults = specs, .n_faults = n, .fault_ns = 100 * NSEC_PER_SEC};

	for (size_t i = 0; i < n; i++)
		specs[i] = (struct fault_spec){
			.at_ns = spells[i].at_s * NSEC_PER_SEC,
			.duration_ns = spells[i].duration_s * NSEC_PER_SEC,
			.driver = spells[i].driver ? spells[i].driver : &one_kind,
		};
	for (size_t i = 0; i < n; i++)
		assert_int_equal(plan_order(&x, &specs[i]), want[i]);
}

static void test_order_of_faults_one_after_the_other_is_the_same(void **state)
{
	static const struct spell s[] = {{0, 10, NULL}, {10, 10, NULL}, {30, 0, NULL}};

	(void)state;
	assert_orders(s, 3, (unsigned[]){0, 0, 0});
}

static void test_order_follows_the_start_not_the_file(void **state)
{
	static const struct spell s[] = {{20, 10, NULL}, {0, 0, NULL}, {10, 15, NULL}};

	(void)state;
	assert_orders(s, 3, (unsigned[]){2, 0, 1});
}

static void test_order_that_is_free_again_is_taken(void **state)
{
	static const struct spell s[] = {
		{0, 10, NULL}, {5, 30, NULL}, {10, 10, NULL}, {15, 10, NULL}, {25, 0, NULL}};

	(void)state;
	assert_orders(s, 5, (unsigned[]){0, 1, 0, 2, 0});
}

static void test_order_is_each_kinds_own(void **state)
{
	static const struct spell s[] = {{0, 0, NULL}, {0, 0, &other_kind}, {0, 0, NULL}};

	(void)state;
	assert_orders(s, 3, (unsigned[]){0, 0, 1});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_faults_one_after_the_other_is_the_same),
		cmocka_unit_test(test_order_follows_the_start_not_the_file),
		cmocka_unit_test(test_order_that_is_free_again_is_taken),
		cmocka_unit_test(test_order_is_each_kinds_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
