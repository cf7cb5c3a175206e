/* What RuntimeChaos asks of a service and how it says so, and by what an action is told to be felt. */
#include "experiment.h"
#include "fault/runtime_actions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"

static const struct runtime_params *load(const char *spec, struct experiment_set **ret)
{
	autofree char *text = xasprintf("apiVersion: brunt.dev/v1alpha1\n"
					"kind: RuntimeChaos\nmetadata: {name: x}\n"
					"spec: {mode: all, selector: {}, control: /x, %s}\n", spec);
	autodiags d = {0};

	assert_int_equal(experiment_load_text("f", text, strlen(text), &d, ret), 0);
	return (*ret)->items[0]->faults[0].params;
}

static void test_each_action_is_asked_for_with_its_parameters(void **state)
{
	static const struct { const char *spec, *line, *words; } table[] = {
		{"action: alloc-storm, rate: 2MiB, count: 3", " count=3 bytes_per_s=2097152",
		 "alloc-storm 2.00 MiB a second by 3"},
		{"action: coroutine-leak, count: 70000", " count=70000", "coroutine-leak 70000"},
		{"action: gc-force, interval: 50ms", " interval_us=50000", "gc-force every 50.0 ms"},
		{"action: gc-pause", "", "gc-pause"},
		{"action: park-p, count: 2", " count=2", "park-p 2"},
		{"action: slow-syscalls", " latency_us=20000 jitter_us=0 share_ppm=1000000",
		 "slow-syscalls by 20.0 ms"},
		{"action: slow-syscalls, latency: 3ms, jitter: 500us, percent: 12.5",
		 " latency_us=3000 jitter_us=500 share_ppm=125000",
		 "slow-syscalls by 3.00 ms +- 500 us, 12.5 % of them"},
		{"action: stall-safepoint, stall: 7ms, interval: 1s, count: 2",
		 " count=2 stall_us=7000 interval_us=1000000", "stall-safepoint 2 x 7.00 ms every 1.00 s"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		autoptr(experiment_set) set = NULL;
		const struct runtime_params *p = load(table[i].spec, &set);
		autostr line = {0};
		char words[128];

		runtime_add_values(p, &line);
		runtime_describe(p, words, sizeof words);
		assert_string_equal(line.len ? line.s : "", table[i].line);
		assert_string_equal(words, table[i].words);
	}
}

/* A service's status, of which a test changes what its action changes. */
static const struct runtime_status quiet = {.procs = 4, .live = 4, .probes = 10, .coroutines = 20,
					    .cycles = 3, .allocated = 1 << 20, .percent = 100,
					    .slow_calls = 7, .slow_us = 900};

struct verdict {
	bool told, felt;
	char measured[128];
	struct effect_figure figure;
	enum effect_state compared;
};

static int64_t worst_us; /* time to safepoint */

/* Ten seconds after the beginning. */
static struct verdict judge(const char *spec, struct runtime_status now)
{
	struct runtime_seen s = {.before = quiet};
	autoptr(experiment_set) set = NULL;
	const struct runtime_params *p = load(spec, &set);
	struct verdict v = {0};

	runtime_seen_begin(&s);
	s.now = now;
	s.worst_us = worst_us;
	runtime_seen_take(&s);
	s.last_ns = s.began_ns + 10 * NSEC_PER_SEC;
	v.told = runtime_can_tell(p, &s);
	v.felt = v.told && runtime_was_felt(p, &s);
	if (v.told)
		runtime_measured(p, &s, v.measured, sizeof v.measured);
	if (runtime_figure(p, &s, &v.figure))
		v.compared = effect_compare(&v.figure);
	return v;
}

#define SEEN(spec, ...)                                                                            \
	({                                                                                         \
		struct runtime_status now_ = quiet;                                                \
		now_.probes++;                                                                     \
		__VA_ARGS__;                                                                       \
		judge(spec, now_);                                                                 \
	})

static void test_what_does_nothing_is_not_felt(void **state)
{
	static const char *const specs[] = {"action: alloc-storm", "action: coroutine-leak, count: 10",
					    "action: gc-force", "action: gc-pause", "action: park-p",
					    "action: stall-safepoint"};

	for (size_t i = 0; i < ARRAY_SIZE(specs); i++) {
		struct verdict v = SEEN(specs[i], (void)now_);

		assert_true(v.told);
		assert_false(v.felt);
	}
}

static void test_half_of_what_was_asked_is_felt_and_less_is_not(void **state)
{
	static const char storm[] = "action: alloc-storm, rate: 1MiB";
	static const char force[] = "action: gc-force, interval: 1s";
	static const char leak[] = "action: coroutine-leak, count: 100";

	assert_true(SEEN(storm, now_.allocated += 5 << 20).felt);
	assert_false(SEEN(storm, now_.allocated += (5 << 20) - 1).felt);
	assert_true(SEEN(force, now_.cycles += 5).felt);
	assert_false(SEEN(force, now_.cycles += 4).felt);
	assert_true(SEEN(leak, now_.coroutines += 50).felt);
	assert_false(SEEN(leak, now_.coroutines += 49).felt);
	assert_true(SEEN("action: gc-pause", now_.percent = -1).felt);
	assert_true(SEEN("action: park-p", now_.live = 3).felt);
	assert_string_equal(SEEN(leak, now_.coroutines += 50).measured, "coroutines 20 to 70");
	assert_string_equal(SEEN(force, now_.cycles += 5).measured, "5 collections");
}

static void test_what_was_asked_for_is_compared_as_a_number(void **state)
{
	static const char storm[] = "action: alloc-storm, rate: 1MiB";
	static const char force[] = "action: gc-force, interval: 100ms";
	static const char leak[] = "action: coroutine-leak, count: 100";
	static const char park[] = "action: park-p, count: 2";
	static const char slow[] = "action: slow-syscalls, latency: 10ms, jitter: 2ms";
	static const char stall[] = "action: stall-safepoint, stall: 40ms, interval: 100ms";

	assert_true(SEEN(storm, now_.allocated += 5 << 20).figure.asked == 1 << 20);
	assert_int_equal(SEEN(storm, now_.allocated += 5 << 20).compared, EFFECT_LESS);
	assert_int_equal(SEEN(storm, now_.allocated += 9 << 20).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(storm, now_.allocated += 90 << 20).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(force, now_.cycles += 60).compared, EFFECT_LESS);
	assert_int_equal(SEEN(force, now_.cycles += 96).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(leak, now_.coroutines += 60).compared, EFFECT_LESS);
	assert_int_equal(SEEN(leak, now_.coroutines += 100).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(park, now_.live = 3).compared, EFFECT_LESS);
	assert_int_equal(SEEN(park, now_.live = 2).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(park, now_.live = 1).compared, EFFECT_MORE);
	assert_int_equal(SEEN(slow, now_.slow_calls += 90, now_.slow_us += 900000).compared, EFFECT_MEASURED);
	assert_int_equal(SEEN(slow, now_.slow_calls += 90, now_.slow_us += 500000).compared, EFFECT_LESS);
	assert_int_equal(SEEN(slow, now_.slow_calls += 90, now_.slow_us += 4000000).compared, EFFECT_MORE);
	worst_us = 39000;
	assert_int_equal(SEEN(stall, now_.probes += 50).compared, EFFECT_MEASURED);
	worst_us = 21000; /* one probe may meet half of a stall, twenty do not */
	assert_int_equal(SEEN(stall, (void)now_).compared, EFFECT_UNKNOWN);
	assert_int_equal(SEEN(stall, now_.probes += 50).compared, EFFECT_LESS);
	worst_us = 0;
	assert_null(SEEN("action: gc-pause", now_.percent = -1).figure.name); /* no number */
}

static void test_slow_calls_are_felt_by_the_time_they_took(void **state)
{
	static const char slow[] = "action: slow-syscalls, latency: 10ms, jitter: 2ms";
	struct verdict v = SEEN(slow, now_.slow_calls += 4, now_.slow_us += 40000);

	assert_true(v.told && v.felt);
	assert_string_equal(v.measured, "4 system calls 10.0 ms longer on average");
	assert_true(SEEN(slow, now_.slow_calls += 4, now_.slow_us += 16000).felt);
	assert_false(SEEN(slow, now_.slow_calls += 4, now_.slow_us += 15999).felt);
	/* Without calls there is nothing to feel, and who does not count them cannot tell. */
	assert_false(SEEN(slow, (void)now_).told);
	assert_false(SEEN("action: slow-syscalls, latency: 1us, jitter: 1us", now_.slow_calls++).felt);
}

static void test_only_one_delays_the_calls_of_a_service(void **state)
{
	autoptr(experiment_set) x = NULL;
	autoptr(experiment_set) y = NULL;
	const struct runtime_params *slow = load("action: slow-syscalls", &x);

	assert_string_equal(runtime_conflict(slow, slow), "a system call has one delay");
	assert_null(runtime_conflict(slow, load("action: gc-pause", &y)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_action_is_asked_for_with_its_parameters),
		cmocka_unit_test(test_what_does_nothing_is_not_felt),
		cmocka_unit_test(test_half_of_what_was_asked_is_felt_and_less_is_not),
		cmocka_unit_test(test_what_was_asked_for_is_compared_as_a_number),
		cmocka_unit_test(test_slow_calls_are_felt_by_the_time_they_took),
		cmocka_unit_test(test_only_one_delays_the_calls_of_a_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
