#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/event.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/suggest.h"

#include <errno.h>

/* ---- err ------------------------------------------------------------------------------------- */

static void test_err_wrap_prepends_context_and_keeps_the_code(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(err_errno(&e, EPERM, "add qdisc"), -EPERM);
	assert_int_equal(err_wrap(&e, "eth0 in %s", "room-0"), -EPERM);
	assert_string_equal(e.text, "eth0 in room-0: add qdisc: Operation not permitted");
}

static void test_err_null_passes_the_code_through(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ENOENT, "nobody reads this"), -ENOENT);
	assert_int_equal(err_wrap(NULL, "nor this"), -EIO);
	err_clear(NULL);
}

static void test_err_truncates_and_never_overflows(void **state)
{
	struct err e = {0};
	char big[2 * ERR_TEXT_MAX];

	(void)state;
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	err_set(&e, EINVAL, "%s", big);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	assert_int_equal(err_wrap(&e, "%s", big), -EINVAL);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

static void test_err_new_error_forgets_the_old_hint(void **state)
{
	struct err e = {0};

	(void)state;
	err_set(&e, EINVAL, "one");
	err_hint(&e, "do this");
	err_set(&e, EINVAL, "two");
	assert_string_equal(e.hint, "");
}

/* ---- mem ------------------------------------------------------------------------------------- */

static void test_array_push_zeroes_and_keeps_what_was_there(void **state)
{
	int *items = NULL;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		int *slot = array_push(items, n);

		assert_int_equal(*slot, 0);
		*slot = i;
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(items[i], i);
	free(items);
}

static void test_str_grows_and_is_taken(void **state)
{
	struct str b = {0};
	autofree char *s = NULL;

	(void)state;
	for (int i = 0; i < 100; i++)
		str_addf(&b, "%d,", i);
	assert_int_equal(b.len, strlen(b.s));
	s = str_take(&b);
	assert_null(b.s);
	assert_memory_equal(s, "0,1,2,", 6);
	free(str_take(&b)); /* an empty one is "" */
}

static void test_kvs_replaces_and_copies(void **state)
{
	struct kvs a = {0}, b = {0};

	(void)state;
	kvs_set(&a, "app", "room");
	kvs_set(&a, "app", "store");
	assert_int_equal(a.n, 1);
	kvs_copy(&b, &a);
	kvs_done(&a);
	assert_string_equal(kvs_get(&b, "app"), "store");
	assert_null(kvs_get(&b, "ap"));
	kvs_done(&b);
}

static void test_take_leaves_null(void **state)
{
	char *s = xstrdup("x");
	autofree char *t = take(s);
	int fd = 7;

	(void)state;
	assert_null(s);
	assert_string_equal(t, "x");
	assert_int_equal(take_fd(fd), 7);
	assert_int_equal(fd, -1);
}

/* ---- suggest --------------------------------------------------------------------------------- */

static void test_suggest_nearest_finds_likely_misspellings_only(void **state)
{
	static const char *const names[] = {"direction", "duration", "latency", "mode"};

	(void)state;
	assert_string_equal(suggest_nearest("latncy", names, 4), "latency");
	assert_string_equal(suggest_nearest("Mode", names, 4), "mode");
	assert_string_equal(suggest_nearest("dierction", names, 4), "direction");
	assert_null(suggest_nearest("selector", names, 4));
}

static void test_suggest_distance_counts_a_swap_once(void **state)
{
	(void)state;
	assert_int_equal(suggest_distance("ab", "ba", 3), 1);
	assert_int_equal(suggest_distance("", "abc", 3), 3);
	assert_int_equal(suggest_distance("abcdefgh", "x", 2), 3);
}

/* ---- rng ------------------------------------------------------------------------------------- */

static void test_rng_is_a_function_of_seed_stream_and_count(void **state)
{
	(void)state;
	assert_true(rng_at(1, 2, 3) == rng_at(1, 2, 3));
	assert_true(rng_at(1, 2, 3) != rng_at(2, 2, 3));
	assert_true(rng_at(1, 2, 3) != rng_at(1, 3, 3));
	assert_true(rng_at(1, 2, 3) != rng_at(1, 2, 4));
	assert_true(rng_stream("a") != rng_stream("b"));
}

/* Chi-square over 16 cells, 15 degrees of freedom: 37.7 is exceeded once in a thousand seeds; the
 * seed is fixed, so this passes always or never. */
static void test_rng_below_is_uniform(void **state)
{
	enum { CELLS = 16, DRAWS = 16000 };
	unsigned count[CELLS] = {0};
	double chi2 = 0, expected = (double)DRAWS / CELLS;

	(void)state;
	for (uint64_t i = 0; i < DRAWS; i++) {
		uint64_t v = rng_below(42, rng_stream("test"), i, CELLS);

		assert_true(v < CELLS);
		count[v]++;
	}
	for (size_t i = 0; i < CELLS; i++)
		chi2 += (count[i] - expected) * (count[i] - expected) / expected;
	assert_true(chi2 < 37.7);
}

/* ---- clock, event ---------------------------------------------------------------------------- */

static void test_clock_rfc3339(void **state)
{
	char buf[CLOCK_TEXT_MAX];

	(void)state;
	assert_string_equal(clock_rfc3339(1795424462345678901LL, buf), "2026-11-23T09:01:02.345Z");
}

static void count_event(void *data, const struct event *ev)
{
	assert_true(ev->at_ns > 0);
	assert_string_equal(event_type_name(ev->type), "lease-expired");
	++*(int *)data;
}

static void test_event_reaches_its_listener(void **state)
{
	int n = 0;
	struct listener l = {.fn = count_event, .data = &n};

	(void)state;
	event_emit(&l, (struct event){.type = EVENT_LEASE_EXPIRED});
	event_emit(NULL, (struct event){.type = EVENT_LEASE_EXPIRED});
	event_emit(&(struct listener){0}, (struct event){.type = EVENT_LEASE_EXPIRED});
	assert_int_equal(n, 1);
}

static void test_event_every_type_has_a_name(void **state)
{
	(void)state;
	for (int t = 0; t < EVENT_TYPE_MAX; t++)
		assert_non_null(event_type_name(t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_wrap_prepends_context_and_keeps_the_code),
		cmocka_unit_test(test_err_null_passes_the_code_through),
		cmocka_unit_test(test_err_truncates_and_never_overflows),
		cmocka_unit_test(test_err_new_error_forgets_the_old_hint),
		cmocka_unit_test(test_array_push_zeroes_and_keeps_what_was_there),
		cmocka_unit_test(test_str_grows_and_is_taken),
		cmocka_unit_test(test_kvs_replaces_and_copies),
		cmocka_unit_test(test_take_leaves_null),
		cmocka_unit_test(test_suggest_nearest_finds_likely_misspellings_only),
		cmocka_unit_test(test_suggest_distance_counts_a_swap_once),
		cmocka_unit_test(test_rng_is_a_function_of_seed_stream_and_count),
		cmocka_unit_test(test_rng_below_is_uniform),
		cmocka_unit_test(test_clock_rfc3339),
		cmocka_unit_test(test_event_reaches_its_listener),
		cmocka_unit_test(test_event_every_type_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
