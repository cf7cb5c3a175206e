#include "verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct objective p99 = {.text = "p99 <= 1.2s"};

/* A run with one fault that is felt and one SLO that held; each test spoils what it is about. */
struct fixture {
	struct restored row;
	struct restoration restoration;
	struct effect effect;
	struct verdict_fault fault;
	struct objective_result objective;
	struct slo_result slos[3];
	struct verdict_facts facts;
};

static void fixture_init(struct fixture *fx)
{
	*fx = (struct fixture){
		.row = {.target = (char *)"live/room-0", .outcome = UNDO_REVERTED},
		.effect = {EFFECT_MEASURED, "delay 100 ms", "RTT +101 ms"},
		.fault = {.name = "slow", .n_targets = 2},
		.objective = {.objective = &p99, .text = "p99 1.08 s (0.97 s .. 1.11 s, n=1500) <= 1.2s"},
		.slos = {{.name = "join"}, {.name = "segment"}, {.name = "memory"}},
	};
	fx->restoration = (struct restoration){&fx->row, 1};
	fx->fault.effect = &fx->effect;
	for (size_t i = 0; i < ARRAY_SIZE(fx->slos); i++) {
		fx->slos[i].objectives = &fx->objective;
		fx->slos[i].n_objectives = 1;
	}
	fx->facts = (struct verdict_facts){
		.run_id = "r-1",
		.seed = 42,
		.restoration = &fx->restoration,
		.faults = &fx->fault,
		.n_faults = 1,
		.slos = fx->slos,
		.n_slos = 1,
	};
}

static void expect(const struct fixture *fx, enum verdict want, const char *sentence)
{
	struct verdict_result got;

	verdict_decide(&fx->facts, &got);
	assert_string_equal(got.sentence, sentence);
	assert_string_equal(verdict_name(got.verdict), verdict_name(want));
}

static void breach(struct fixture *fx)
{
	fx->objective.state = SLO_BREACHED;
	fx->slos[0].state = SLO_BREACHED;
}

static void test_names_and_exit_codes_are_those_of_the_documentation(void **state)
{
	static const struct {
		enum verdict verdict;
		const char *name;
		int exit_code;
	} want[] = {
		{VERDICT_PASSED, "passed", 0},		 {VERDICT_FAILED, "failed", 1},
		{VERDICT_ABORTED, "aborted", 1},	 {VERDICT_ERROR, "error", 3},
		{VERDICT_NOT_RESTORED, "not-restored", 4}, {VERDICT_INEFFECTIVE, "ineffective", 5},
		{VERDICT_INCONCLUSIVE, "inconclusive", 5}, {VERDICT_INTERRUPTED, "interrupted", 130},
	};

	for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
		assert_string_equal(verdict_name(want[i].verdict), want[i].name);
		assert_int_equal(verdict_exit_code(want[i].verdict), want[i].exit_code);
	}
}

/* Everything is wrong at once; the gravest finding is mended, and the next one speaks. */
static void test_decide_the_gravest_finding_wins(void **state)
{
	struct verdict_result got;
	struct fixture fx;

	fixture_init(&fx);
	fx.row.outcome = UNDO_FAILED;
	fx.facts.error = "it broke";
	fx.facts.interrupted = "SIGINT";
	fx.facts.aborted = "join: p99 > 5s for 2 s";
	fx.facts.unsteady = "join: no samples";
	fx.effect.state = EFFECT_NONE;
	breach(&fx);
	fx.slos[1].state = SLO_INCONCLUSIVE;
	fx.facts.n_slos = 2;

	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_NOT_RESTORED);
	fx.row.outcome = UNDO_REVERTED;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_ERROR);
	fx.facts.error = NULL;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_INTERRUPTED);
	fx.facts.interrupted = NULL;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_ABORTED);
	fx.facts.aborted = NULL;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_INCONCLUSIVE);
	fx.facts.unsteady = NULL;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_INEFFECTIVE);
	fx.effect.state = EFFECT_MEASURED;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_FAILED);
	fx.slos[0].state = SLO_HELD;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_INCONCLUSIVE);
	fx.slos[1].state = SLO_HELD;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_PASSED);
}

static void test_decide_not_restored_names_what_is_left_and_the_way_to_clear_it(void **state)
{
	struct restored rows[] = {
		{.target = (char *)"live/room-0", .outcome = UNDO_REVERTED},
		{.target = (char *)"live/room-1", .outcome = UNDO_FAILED, .text = (char *)"device busy"},
		{.target = (char *)"live/room-2", .outcome = UNDO_REVERTED, .residue = true},
	};
	struct restoration r = {rows, ARRAY_SIZE(rows)};
	struct fixture fx;

	fixture_init(&fx);
	fx.facts.restoration = &r;
	expect(&fx, VERDICT_NOT_RESTORED,
	       "NOT RESTORED: live/room-1: device busy, and 1 more; clear it with: brunt recover r-1");
}

static void test_decide_a_target_that_is_gone_or_somebody_elses_is_restored(void **state)
{
	struct verdict_result got;
	struct fixture fx;

	fixture_init(&fx);
	fx.row.outcome = UNDO_GONE;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_PASSED);
	fx.row.outcome = UNDO_FOREIGN;
	verdict_decide(&fx.facts, &got);
	assert_int_equal(got.verdict, VERDICT_PASSED);
}

static void test_decide_error_with_and_without_a_next_step(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.facts.error = "net delay: eth0: Operation not permitted";
	expect(&fx, VERDICT_ERROR, "error: net delay: eth0: Operation not permitted; everything is as it "
				   "was before");
	fx.facts.hint = "";
	expect(&fx, VERDICT_ERROR, "error: net delay: eth0: Operation not permitted; everything is as it "
				   "was before");
	fx.facts.hint = "run it as root";
	expect(&fx, VERDICT_ERROR, "error: net delay: eth0: Operation not permitted; everything is as it "
				   "was before; next step: run it as root");
}

static void test_decide_interrupted_aborted_and_unsteady_say_why(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.facts.interrupted = "SIGTERM";
	expect(&fx, VERDICT_INTERRUPTED,
	       "interrupted (SIGTERM): everything is restored, nothing was judged");
	fx.facts.interrupted = NULL;
	fx.facts.aborted = "join: p99 > 5s for 2 s";
	expect(&fx, VERDICT_ABORTED,
	       "aborted: join: p99 > 5s for 2 s, so the faults were taken off early; everything is "
	       "restored: find out why the service got that bad before trying again");
	fx.facts.aborted = NULL;
	fx.facts.unsteady = "join: no samples in the baseline window";
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: no steady state before the fault (join: no samples in the baseline "
	       "window), so nothing was injected; mend the service or the objective first");
}

static void test_decide_ineffective_with_what_was_measured(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.effect = (struct effect){EFFECT_NONE, "delay 100 ms", "RTT +0.1 ms"};
	expect(&fx, VERDICT_INEFFECTIVE,
	       "ineffective: slow (delay 100 ms) was injected and is not felt: RTT +0.1 ms; check "
	       "direction, device and target against the way the traffic takes");
	/* A fault that met no target cannot be felt, and is no finding. */
	fx.fault.n_targets = 0;
	expect(&fx, VERDICT_PASSED,
	       "passed: no target matched and --allow-empty was given: nothing was tried");
}

static void test_decide_failed_by_an_objective_counts_the_others(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	breach(&fx);
	snprintf(fx.objective.text, sizeof fx.objective.text, "p99 2.10 s (n=1500) <= 1.2s");
	expect(&fx, VERDICT_FAILED,
	       "failed: join: p99 <= 1.2s is not kept: p99 2.10 s (n=1500) <= 1.2s; replay it with "
	       "seed 42");
	fx.facts.n_slos = 3;
	fx.slos[1].state = SLO_BREACHED;
	expect(&fx, VERDICT_FAILED,
	       "failed: join: p99 <= 1.2s is not kept: p99 2.10 s (n=1500) <= 1.2s (and 1 more SLO); "
	       "replay it with seed 42");
	fx.slos[2].state = SLO_BREACHED;
	expect(&fx, VERDICT_FAILED,
	       "failed: join: p99 <= 1.2s is not kept: p99 2.10 s (n=1500) <= 1.2s (and 2 more SLOs); "
	       "replay it with seed 42");
}

static void test_decide_failed_by_a_recovery_that_came_too_late(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.slos[0].state = SLO_BREACHED;
	fx.slos[0].recovery_breached = true;
	expect(&fx, VERDICT_FAILED,
	       "failed: join did not recover in time after the fault; replay it with seed 42");
}

static void test_decide_expected_breach_that_did_not_come(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.slos[0].breach_expected = true;
	fx.slos[0].state = SLO_BREACHED;
	expect(&fx, VERDICT_FAILED,
	       "failed: join was expected to be breached and was not: the alarm that it tests has "
	       "not been tried");
}

/* The broken objective is what was wanted here; the late recovery is what failed. */
static void test_decide_expected_breach_came_and_did_not_go(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	breach(&fx);
	fx.slos[0].breach_expected = true;
	fx.slos[0].recovery_breached = true;
	expect(&fx, VERDICT_FAILED,
	       "failed: join did not recover in time after the fault; replay it with seed 42");
}

static void test_decide_expected_breach_that_came_is_no_slo_kept(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.objective.state = SLO_BREACHED;
	fx.slos[0].breach_expected = true;
	fx.facts.n_slos = 2;
	expect(&fx, VERDICT_PASSED,
	       "passed: 1 of 2 SLOs kept and 1 breached as expected under slow (delay 100 ms; RTT +101 "
	       "ms)");
}

static void test_decide_inconclusive_by_a_lease_that_ran_out_or_a_gap(void **state)
{
	struct gap gap = {.target = "live/a", .what = "the quota is 100000"};
	struct fixture fx;

	fixture_init(&fx);
	fx.fault.let_through = 7;
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: the kernel lease of slow ran out and let 7 packets pass; the machine "
	       "stalled: try a longer --lease");
	fx.fault.presence = (struct presence_summary){
		.due_ns = 10 * NSEC_PER_SEC, .on_ns = 50 * NSEC_PER_MSEC * 10, .first = &gap, .n_gaps = 2,
		.seen_ns = 500 * NSEC_PER_MSEC, .unseen_ns = 250 * NSEC_PER_MSEC};
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: slow was on for 5 % of its time only: live/a: the quota is 100000, seen 500 ms "
	       "after the injection and not yet 250 ms before (and 1 more gap); find out who did it and "
	       "run it again");
}

static void test_decide_inconclusive_by_an_effect_that_was_not_measured(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.effect = (struct effect){.state = EFFECT_UNKNOWN, .requested = "loss 20 %"};
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: the effect of slow could not be measured; send traffic through its "
	       "targets, with load: or an http or tcp indicator");
}

static struct effect compared(struct effect_figure g)
{
	struct effect ef = {.requested = "delay 200 ms"};

	effect_add(&ef, &g);
	return ef;
}

static void test_decide_ineffective_by_another_amount_with_both_numbers(void **state)
{
	struct effect_figure g = {.name = "round trip", .unit = EFFECT_NS, .asked = 2e8, .value = 4.05e8,
				  .low = 4.04e8, .high = 4.06e8, .samples = 38};
	struct fixture fx;

	fixture_init(&fx);
	fx.effect = compared(g);
	expect(&fx, VERDICT_INEFFECTIVE,
	       "ineffective: slow (delay 200 ms) did more than asked: round trip: asked 200 ms, measured "
	       "405 ms (404 ms to 406 ms, 38 samples); find out what else does it, or does it more than "
	       "once, or allow it with tolerance:");
	g.value = g.low = g.high = 1e8;
	g.samples = 0;
	fx.effect = compared(g);
	expect(&fx, VERDICT_INEFFECTIVE,
	       "ineffective: slow (delay 200 ms) did less than asked: round trip: asked 200 ms, measured "
	       "100 ms; find out what lets the rest go by, or allow it with tolerance:");
}

static void test_decide_inconclusive_by_a_figure_that_cannot_be_told(void **state)
{
	struct effect_figure g = {.name = "loss", .unit = EFFECT_PERCENT, .asked = 50};
	struct fixture fx;

	fixture_init(&fx);
	effect_share(&g, 1, 6);
	fx.effect = compared(g);
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: whether slow did what was asked cannot be told: loss: asked 50 %, measured "
	       "16.7 % (1.99 % to 66.4 %, 6 samples); lengthen the window, or send more traffic through "
	       "its targets");
}

static void test_decide_inconclusive_by_too_few_samples(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.slos[0].state = fx.objective.state = SLO_INCONCLUSIVE;
	snprintf(fx.objective.why, sizeof fx.objective.why, "p99 needs 1000 samples, has 640");
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: join: p99 needs 1000 samples, has 640; lengthen the window or raise the "
	       "rate");
	fx.slos[0].n_objectives = 0;
	expect(&fx, VERDICT_INCONCLUSIVE,
	       "inconclusive: join: nothing was measured; lengthen the window or raise the rate");
}

static void test_decide_passed_with_and_without_slos(void **state)
{
	struct verdict_fault two[2];
	struct fixture fx;

	fixture_init(&fx);
	expect(&fx, VERDICT_PASSED,
	       "passed: 1 of 1 SLOs kept under slow (delay 100 ms; RTT +101 ms)");
	two[0] = two[1] = fx.fault;
	two[1].name = "lossy";
	fx.facts.faults = two;
	fx.facts.n_faults = 2;
	fx.facts.n_slos = 0;
	expect(&fx, VERDICT_PASSED,
	       "passed: slow (delay 100 ms; RTT +101 ms) and lossy (delay 100 ms; RTT +101 ms) felt "
	       "and put back; add slos: to judge what the service makes of it");
}

static void test_decide_passed_without_faults_speaks_of_none(void **state)
{
	struct fixture fx;

	fixture_init(&fx);
	fx.facts.n_faults = 0;
	fx.facts.n_slos = 2;
	expect(&fx, VERDICT_PASSED,
	       "passed: 2 of 2 SLOs kept without any fault; add faults: to try what the service stands");
	fx.slos[0].narrowly = true;
	expect(&fx, VERDICT_PASSED,
	       "passed, narrowly: 2 of 2 SLOs kept without any fault (inside the confidence interval "
	       "it would have failed); add faults: to try what the service stands");
}

static void test_decide_passed_narrowly_says_so(void **state)
{
	struct verdict_result got;
	struct fixture fx;

	fixture_init(&fx);
	fx.facts.n_slos = 2;
	fx.slos[1].narrowly = true;
	expect(&fx, VERDICT_PASSED,
	       "passed, narrowly: 2 of 2 SLOs kept under slow (delay 100 ms; RTT +101 ms): inside the "
	       "confidence interval it would have failed, measure longer");
	verdict_decide(&fx.facts, &got);
	assert_true(got.narrowly);
	fx.slos[1].narrowly = false;
	verdict_decide(&fx.facts, &got);
	assert_false(got.narrowly);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_exit_codes_are_those_of_the_documentation),
		cmocka_unit_test(test_decide_the_gravest_finding_wins),
		cmocka_unit_test(test_decide_not_restored_names_what_is_left_and_the_way_to_clear_it),
		cmocka_unit_test(test_decide_a_target_that_is_gone_or_somebody_elses_is_restored),
		cmocka_unit_test(test_decide_error_with_and_without_a_next_step),
		cmocka_unit_test(test_decide_interrupted_aborted_and_unsteady_say_why),
		cmocka_unit_test(test_decide_ineffective_with_what_was_measured),
		cmocka_unit_test(test_decide_ineffective_by_another_amount_with_both_numbers),
		cmocka_unit_test(test_decide_inconclusive_by_a_figure_that_cannot_be_told),
		cmocka_unit_test(test_decide_failed_by_an_objective_counts_the_others),
		cmocka_unit_test(test_decide_failed_by_a_recovery_that_came_too_late),
		cmocka_unit_test(test_decide_expected_breach_that_did_not_come),
		cmocka_unit_test(test_decide_expected_breach_came_and_did_not_go),
		cmocka_unit_test(test_decide_expected_breach_that_came_is_no_slo_kept),
		cmocka_unit_test(test_decide_inconclusive_by_a_lease_that_ran_out_or_a_gap),
		cmocka_unit_test(test_decide_inconclusive_by_an_effect_that_was_not_measured),
		cmocka_unit_test(test_decide_inconclusive_by_too_few_samples),
		cmocka_unit_test(test_decide_passed_with_and_without_slos),
		cmocka_unit_test(test_decide_passed_without_faults_speaks_of_none),
		cmocka_unit_test(test_decide_passed_narrowly_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
