#include "slo/slo.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS NSEC_PER_MSEC
#define S NSEC_PER_SEC

/* An indicator that does nothing by itself: the tests hand in its samples. */
static enum sample_type fake_type;
static int64_t fake_pending_since; /* one request is open since then; 0: none */

static enum sample_type fake_yields(const void *params)
{
	return fake_type;
}

static int fake_start(struct indicator *i, struct err *e)
{
	return 0;
}

static void fake_stop(struct indicator *i)
{
}

static void fake_pending(struct indicator *i, int64_t now_ns,
			 void (*fn)(void *data, const struct sample *s), void *data)
{
	struct sample s = {.type = SAMPLE_LATENCY, .at_ns = fake_pending_since,
			   .latency_ns = now_ns - fake_pending_since};

	if (fake_pending_since)
		fn(data, &s);
}

static const struct indicator_type fake = {
	.name = "fake",
	.yields = fake_yields,
	.start = fake_start,
	.stop = fake_stop,
	.pending = fake_pending,
};

struct seen {
	int breached, samples;
	char text[96];
};

static void on_event(void *data, const struct event *ev)
{
	struct seen *seen = data;

	seen->breached += ev->type == EVENT_BREACHED;
	seen->samples += ev->type == EVENT_SAMPLE;
	if (ev->type == EVENT_BREACHED)
		strcpy(seen->text, ev->text);
}

/* baseline [0, 10 s), fault [10 s, 40 s), recovery [40 s, 60 s) */
struct fixture {
	struct slo_spec spec;
	struct objective objectives[2];
	struct seen seen;
	struct listener listener;
	struct slo_env env;
	struct slo *slo;
};

static void begin(struct fixture *f, enum sample_type type, const char *a, const char *b)
{
	fake_type = type;
	fake_pending_since = 0;
	f->spec.name = (char *)"join";
	f->spec.type = &fake;
	f->spec.objectives = f->objectives;
	f->spec.n_objectives = b ? 2 : 1;
	assert_int_equal(objective_parse(a, &f->objectives[0], NULL), 0);
	if (b)
		assert_int_equal(objective_parse(b, &f->objectives[1], NULL), 0);
	f->listener = (struct listener){on_event, &f->seen};
	f->env.listener = &f->listener;
	assert_int_equal(slo_new(&f->spec, &f->env, &f->slo, NULL), 0);
	assert_int_equal(slo_start(f->slo, NULL), 0);
	slo_window_open(f->slo, WINDOW_BASELINE, 0);
	slo_window_close(f->slo, WINDOW_BASELINE, 10 * S);
	slo_window_open(f->slo, WINDOW_FAULT, 10 * S);
}

static void end_fault(struct fixture *f)
{
	slo_window_close(f->slo, WINDOW_FAULT, 40 * S);
	slo_window_open(f->slo, WINDOW_RECOVERY, 40 * S);
}

static void end(struct fixture *f)
{
	slo_window_close(f->slo, WINDOW_RECOVERY, 60 * S);
	slo_stop(f->slo);
}

static void request(struct fixture *f, int64_t at_ns, int64_t latency_ns, bool ok)
{
	slo_sample(f->slo, &(struct sample){.type = SAMPLE_LATENCY, .at_ns = at_ns,
					    .latency_ns = latency_ns, .ok = ok});
}

/* n requests spread over [from, to), latencies from low to high in equal steps. */
static void requests(struct fixture *f, int64_t from, int64_t to, int n, int64_t low, int64_t high)
{
	for (int i = 0; i < n; i++)
		request(f, from + (to - from) * i / n, low + (high - low) * i / n, true);
}

static void reading(struct fixture *f, int64_t at_ns, double value)
{
	slo_sample(f->slo, &(struct sample){.type = SAMPLE_VALUE, .at_ns = at_ns, .value = value,
					    .ok = true});
}

static void share(struct fixture *f, int64_t at_ns, double bad, double total)
{
	slo_sample(f->slo, &(struct sample){.type = SAMPLE_RATIO, .at_ns = at_ns, .bad = bad,
					    .total = total});
}

static void judge(struct fixture *f, struct slo_result *r)
{
	end_fault(f);
	end(f);
	assert_int_equal(slo_judge(f->slo, r), 0);
}

static void done(struct fixture *f, struct slo_result *r)
{
	slo_result_done(r);
	slo_free(f->slo);
}

static void test_judge_held(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p99 <= 1.2s", "success >= 99%");
	requests(&f, 10 * S, 40 * S, 1500, 10 * MS, 1000 * MS);
	judge(&f, &r);
	assert_int_equal(r.state, SLO_HELD);
	assert_false(r.narrowly);
	assert_int_equal(r.n_objectives, 2);
	assert_string_equal(r.objectives[0].text, "p99 990 ms (984 ms .. 995 ms, n=1500) <= 1.2s");
	assert_int_equal(r.objectives[0].samples, 1500);
	assert_string_equal(r.objectives[1].text, "success 100% (99.74% .. 100%, n=1500) >= 99%");
	done(&f, &r);
}

static void test_judge_breached(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p99 <= 800ms", "success >= 50%");
	requests(&f, 10 * S, 40 * S, 1500, 10 * MS, 1000 * MS);
	judge(&f, &r);
	assert_int_equal(r.state, SLO_BREACHED);
	assert_false(r.narrowly);
	assert_int_equal(r.objectives[0].state, SLO_BREACHED);
	assert_int_equal(r.objectives[1].state, SLO_HELD);
	done(&f, &r);
}

static void test_judge_narrowly_on_either_side(void **state)
{
	struct slo_result r;

	for (int i = 0; i < 2; i++) {
		struct fixture f = {0};

		begin(&f, SAMPLE_LATENCY, i ? "p99 <= 991ms" : "p99 <= 989ms", NULL);
		requests(&f, 10 * S, 40 * S, 1500, 10 * MS, 1000 * MS);
		judge(&f, &r);
		assert_int_equal(r.state, i ? SLO_HELD : SLO_BREACHED);
		assert_true(r.narrowly);
		done(&f, &r);
	}
}

static void test_judge_needs_ten_samples_beyond_the_quantile(void **state)
{
	struct slo_result r;

	for (int n = 999; n <= 1000; n++) {
		struct fixture f = {0};

		begin(&f, SAMPLE_LATENCY, "p99 <= 1.2s", NULL);
		requests(&f, 10 * S, 40 * S, n, 10 * MS, 1000 * MS);
		judge(&f, &r);
		assert_int_equal(r.state, n == 1000 ? SLO_HELD : SLO_INCONCLUSIVE);
		assert_string_equal(r.objectives[0].why,
				    n == 1000 ? "" : "p99 needs 1000 samples, has 999");
		done(&f, &r);
	}
}

static void test_judge_few_samples_may_fail_when_there_is_no_doubt(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p99 <= 5ms", NULL);
	requests(&f, 10 * S, 40 * S, 500, 10 * MS, 1000 * MS);
	judge(&f, &r);
	assert_int_equal(r.state, SLO_BREACHED);
	done(&f, &r);
}

/* n requests of which `bad` failed, or n of a ratio's total. */
static void test_judge_needs_samples_for_every_statistic(void **state)
{
	static const struct {
		const char *objective;
		enum sample_type type;
		int n, bad;
		enum slo_state want;
	} rows[] = {
		{"success >= 99.9%", SAMPLE_LATENCY, 2, 0, SLO_INCONCLUSIVE},
		{"success >= 99.9%", SAMPLE_LATENCY, 2999, 0, SLO_INCONCLUSIVE},
		{"success >= 99.9%", SAMPLE_LATENCY, 3000, 0, SLO_HELD},
		{"success > 90%", SAMPLE_LATENCY, 29, 0, SLO_INCONCLUSIVE},
		{"success > 90%", SAMPLE_LATENCY, 30, 0, SLO_HELD},
		{"success >= 99.9%", SAMPLE_LATENCY, 20, 10, SLO_BREACHED}, /* beyond doubt */
		{"success >= 90%", SAMPLE_LATENCY, 10, 2, SLO_INCONCLUSIVE}, /* 49 to 94 % */
		{"success <= 10%", SAMPLE_LATENCY, 29, 29, SLO_INCONCLUSIVE},
		{"success <= 10%", SAMPLE_LATENCY, 30, 30, SLO_HELD},
		{"success >= 100%", SAMPLE_LATENCY, 299, 0, SLO_INCONCLUSIVE},
		{"success >= 100%", SAMPLE_LATENCY, 300, 0, SLO_HELD},
		{"success >= 100%", SAMPLE_LATENCY, 300, 1, SLO_BREACHED},
		{"mean <= 1s", SAMPLE_LATENCY, 29, 0, SLO_INCONCLUSIVE},
		{"mean <= 1s", SAMPLE_LATENCY, 30, 0, SLO_HELD},
		{"mean <= 1ms", SAMPLE_LATENCY, 1, 0, SLO_INCONCLUSIVE}, /* one is no mean */
		{"mean <= 1s", SAMPLE_LATENCY, 100, 2, SLO_BREACHED},
		{"max <= 1s", SAMPLE_LATENCY, 29, 0, SLO_INCONCLUSIVE},
		{"max <= 1s", SAMPLE_LATENCY, 30, 0, SLO_HELD},
		{"max <= 1ms", SAMPLE_LATENCY, 1, 0, SLO_BREACHED},
		{"max <= 1s", SAMPLE_LATENCY, 100, 1, SLO_BREACHED},
		{"rate >= 0.1/s", SAMPLE_LATENCY, 29, 0, SLO_INCONCLUSIVE},
		{"rate >= 0.1/s", SAMPLE_LATENCY, 30, 0, SLO_HELD},
		{"count <= 100", SAMPLE_LATENCY, 2, 0, SLO_HELD},
		{"ratio <= 1%", SAMPLE_RATIO, 299, 0, SLO_INCONCLUSIVE},
		{"ratio <= 1%", SAMPLE_RATIO, 300, 0, SLO_HELD},
		{"ratio <= 0", SAMPLE_RATIO, 299, 0, SLO_INCONCLUSIVE},
		{"ratio <= 0", SAMPLE_RATIO, 300, 0, SLO_HELD},
		{"ratio <= 5", SAMPLE_RATIO, 29, 0, SLO_INCONCLUSIVE},
		{"mean <= 100", SAMPLE_VALUE, 29, 0, SLO_INCONCLUSIVE},
		{"mean <= 100", SAMPLE_VALUE, 30, 0, SLO_HELD},
		{"value <= 100", SAMPLE_VALUE, 1, 0, SLO_HELD},
		{"rate <= 100", SAMPLE_VALUE, 2, 0, SLO_HELD}, /* a counter's is exact */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f = {0};
		struct slo_result r;

		begin(&f, rows[i].type, rows[i].objective, NULL);
		if (rows[i].type == SAMPLE_RATIO)
			share(&f, 15 * S, rows[i].bad, rows[i].n);
		for (int k = 0; k < rows[i].n && rows[i].type == SAMPLE_LATENCY; k++)
			request(&f, 10 * S + k * MS, 20 * MS, k >= rows[i].bad);
		for (int k = 0; k < rows[i].n && rows[i].type == SAMPLE_VALUE; k++)
			reading(&f, 10 * S + k * MS, 5);
		judge(&f, &r);
		if (r.state != rows[i].want)
			fail_msg("%s of %d with %d bad: wanted %d, seen %d (%s%s)", rows[i].objective,
				 rows[i].n, rows[i].bad, rows[i].want, r.state, r.objectives[0].text,
				 r.objectives[0].why);
		done(&f, &r);
	}
}

static void test_no_failure_at_all_is_not_narrow(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "success >= 100%", NULL);
	requests(&f, 10 * S, 40 * S, 400, 10 * MS, 20 * MS);
	judge(&f, &r);
	assert_false(r.narrowly);
	assert_string_equal(r.objectives[0].text, "success 100% (n=400) >= 100%");
	done(&f, &r);
}

static void test_judge_without_samples_is_inconclusive(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "success >= 99%", NULL);
	requests(&f, 0, 10 * S, 100, MS, MS); /* in the baseline only */
	judge(&f, &r);
	assert_int_equal(r.state, SLO_INCONCLUSIVE);
	assert_string_equal(r.objectives[0].why, "no samples in the fault window");
	done(&f, &r);
}

static void test_judge_expect_breach(void **state)
{
	struct slo_result r;

	for (int i = 0; i < 3; i++) {
		struct fixture f = {.spec.expect_breach = true};
		static const enum slo_state want[] = {SLO_BREACHED, SLO_HELD, SLO_INCONCLUSIVE};

		begin(&f, SAMPLE_LATENCY, i == 1 ? "p50 <= 5ms" : "p50 <= 2s", NULL);
		requests(&f, 10 * S, 40 * S, i == 2 ? 3 : 100, 10 * MS, 1000 * MS);
		judge(&f, &r);
		assert_int_equal(r.state, want[i]);
		assert_true(r.breach_expected);
		done(&f, &r);
	}
}

static void test_judge_within_the_baseline(void **state)
{
	static const struct {
		const char *objective;
		int64_t latency;
		enum slo_state want;
	} rows[] = {
		{"mean within 8% of baseline", 104 * MS, SLO_HELD},
		{"mean within 8% of baseline", 112 * MS, SLO_BREACHED},
		{"mean within 8% of baseline", 90 * MS, SLO_BREACHED},
		{"mean <= 108% of baseline", 90 * MS, SLO_HELD},
		{"p99 within 8% of baseline", 104 * MS, SLO_INCONCLUSIVE},
	};
	struct slo_result r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f = {0};

		begin(&f, SAMPLE_LATENCY, rows[i].objective, NULL);
		requests(&f, 0, 10 * S, 500, 100 * MS, 100 * MS);
		requests(&f, 10 * S, 40 * S, 1500, rows[i].latency, rows[i].latency);
		judge(&f, &r);
		assert_int_equal(r.state, rows[i].want);
		done(&f, &r);
	}
}

static void test_judge_names_a_baseline_that_is_too_short(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p99 within 8% of baseline", NULL);
	requests(&f, 0, 10 * S, 500, 100 * MS, 100 * MS);
	requests(&f, 10 * S, 40 * S, 1500, 100 * MS, 100 * MS);
	judge(&f, &r);
	assert_string_equal(r.objectives[0].why, "the baseline's p99 needs 1000 samples, has 500");
	done(&f, &r);
}

static void test_sample_belongs_to_the_window_of_its_intended_start(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "max <= 1s", NULL);
	request(&f, 39 * S, 500 * MS, true);
	end_fault(&f);
	request(&f, 39 * S + 900 * MS, 5 * S, true); /* known in the recovery window */
	request(&f, 41 * S, 7 * S, true);
	end(&f);
	assert_int_equal(slo_judge(f.slo, &r), 0);
	assert_int_equal(r.objectives[0].samples, 2);
	assert_int_equal((int64_t)r.objectives[0].value, 5 * S);
	done(&f, &r);
}

static void test_failures_are_slower_than_any_answer(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p50 <= 1s", "success >= 99%");
	requests(&f, 10 * S, 40 * S, 100, 100 * MS, 100 * MS);
	for (int i = 0; i < 900; i++)
		request(&f, 10 * S + i * MS, -1, false); /* refused */
	judge(&f, &r);
	assert_int_equal(r.objectives[0].state, SLO_BREACHED);
	assert_true(isinf(r.objectives[0].value));
	assert_int_equal(r.objectives[0].samples, 1000);
	assert_string_equal(r.objectives[0].text,
			    "p50 no answer (? .. ?, n=1000) <= 1s");
	assert_true(fabs(r.objectives[1].value - 0.1) < 1e-9);
	assert_int_equal(r.objectives[1].samples, 1000);
	done(&f, &r);
}

static void test_readings(void **state)
{
	static const struct {
		const char *objective;
		double want;
	} rows[] = {
		{"value <= 5", 9},	 {"mean <= 5", 5},   {"max <= 5", 9},
		{"count <= 20", 8},	 {"rate <= 5/s", 8 / 30.0}, {"p50 <= 5", 5},
		{"value <= 2s", 9 * 1e9},
	};
	struct slo_result r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f = {0};

		begin(&f, SAMPLE_VALUE, rows[i].objective, NULL);
		reading(&f, 9 * S, 1); /* what grew since then fell into the fault window */
		for (int k = 1; k < 10; k++)
			reading(&f, (10 + k) * S, k);
		judge(&f, &r);
		assert_true(fabs(r.objectives[0].value - rows[i].want) < 1e-6);
		done(&f, &r);
	}
}

static void test_ratio_of_increments(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_RATIO, "ratio <= 0.5%", NULL);
	for (int k = 0; k < 30; k++)
		share(&f, (10 + k) * S, k == 3, 100);
	judge(&f, &r);
	assert_int_equal(r.state, SLO_HELD);
	assert_true(fabs(r.objectives[0].value - 1 / 3000.0) < 1e-9);
	assert_int_equal(r.objectives[0].samples, 3000);
	done(&f, &r);
}

static void test_ratio_above_one_has_no_interval(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_RATIO, "ratio within 8% of baseline", NULL);
	share(&f, 5 * S, 300, 100);
	share(&f, 15 * S, 315, 100);
	judge(&f, &r);
	assert_int_equal(r.state, SLO_HELD);
	assert_true(isnan(r.objectives[0].low));
	assert_string_equal(r.objectives[0].text, "ratio 3.15 (n=100) within 8% of baseline 3");
	done(&f, &r);
}

/* Requests every 20 ms, bad ones (2 s) until `until`, ticks every 250 ms as the engine does. */
static void recover_at(struct fixture *f, int64_t until)
{
	int64_t next_tick = 40 * S + 250 * MS;

	for (int64_t t = 40 * S; t < 60 * S; t += 20 * MS) {
		for (; next_tick <= t; next_tick += 250 * MS)
			slo_tick(f->slo, next_tick);
		if (t < until)
			slo_sample(f->slo, &(struct sample){.type = SAMPLE_LATENCY, .at_ns = t,
							    .latency_ns = 300 * MS, .ok = true,
							    .done_ns = t + 1});
		else
			request(f, t, 5 * MS, true);
	}
}

static void test_recovery_is_dated_to_the_last_bad_request(void **state)
{
	static const struct {
		int64_t until, within, want;
		bool breached;
	} rows[] = {
		{40 * S, 10 * S, 0, false},
		{45 * S, 10 * S, 4980 * MS, false},
		{45 * S, 4 * S, 4980 * MS, true},
		{60 * S, 10 * S, -1, true},
		{45 * S, 0, 4980 * MS, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f = {.spec.recovers_within_ns = rows[i].within};
		struct slo_result r;

		begin(&f, SAMPLE_LATENCY, "p90 <= 100ms", NULL);
		requests(&f, 10 * S, 40 * S, 500, 10 * MS, 20 * MS);
		end_fault(&f);
		recover_at(&f, rows[i].until);
		end(&f);
		assert_int_equal(slo_judge(f.slo, &r), 0);
		assert_int_equal(r.recovered_after_ns, rows[i].want);
		assert_int_equal(r.recovery_breached, rows[i].breached);
		assert_int_equal(r.state, rows[i].breached ? SLO_BREACHED : SLO_HELD);
		done(&f, &r);
	}
}

static void test_recovery_without_samples_is_inconclusive(void **state)
{
	struct fixture f = {.spec.recovers_within_ns = 5 * S};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	requests(&f, 10 * S, 40 * S, 500, 10 * MS, 20 * MS);
	end_fault(&f);
	slo_tick(f.slo, 50 * S);
	end(&f);
	assert_int_equal(slo_judge(f.slo, &r), 0);
	assert_int_equal(r.state, SLO_INCONCLUSIVE);
	assert_int_equal(r.recovered_after_ns, -1);
	done(&f, &r);
}

static void test_condition_must_hold_without_pause(void **state)
{
	struct fixture f = {0};
	struct objective o;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	assert_int_equal(objective_parse("p99 > 1s", &o, NULL), 0);
	assert_false(slo_condition_held(f.slo, &o, 2 * S, 0, 11 * S)); /* nothing is known */
	request(&f, 10 * S, 1500 * MS, true);
	assert_true(slo_condition_held(f.slo, &o, 2 * S, 0, 12 * S));
	assert_false(slo_condition_held(f.slo, &o, 2 * S, 3 * S, 12 * S));
	assert_false(slo_condition_held(f.slo, &o, 2 * S, 3 * S, 14 * S)); /* slid out: a pause */
	for (int64_t t = 14 * S; t <= 20 * S; t += 250 * MS) {
		request(&f, t - 1500 * MS, 1500 * MS, true);
		assert_int_equal(slo_condition_held(f.slo, &o, 2 * S, 3 * S, t), t >= 17 * S);
	}
	slo_free(f.slo);
}

static void test_condition_sees_a_request_that_is_still_open(void **state)
{
	struct fixture f = {0};
	struct objective o;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	assert_int_equal(objective_parse("p99 > 5s", &o, NULL), 0);
	fake_pending_since = 10 * S;
	assert_false(slo_condition_held(f.slo, &o, 2 * S, 0, 15 * S));
	assert_true(slo_condition_held(f.slo, &o, 2 * S, 0, 15 * S + 250 * MS));
	slo_free(f.slo);
}

static void test_condition_is_not_thinned_out_by_the_baseline(void **state)
{
	struct fixture f = {0};
	struct objective o;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	assert_int_equal(objective_parse("p50 > 1s", &o, NULL), 0);
	requests(&f, 0, 10 * S, 500, 5 * MS, 5 * MS);
	request(&f, 10 * S, 1500 * MS, true);
	assert_true(slo_condition_held(f.slo, &o, 20 * S, 0, 12 * S));
	slo_free(f.slo);
}

static void test_condition_on_success(void **state)
{
	struct fixture f = {0};
	struct objective o;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	assert_int_equal(objective_parse("success < 50%", &o, NULL), 0);
	for (int i = 0; i < 10; i++)
		request(&f, 10 * S + i * 10 * MS, -1, i < 5);
	assert_false(slo_condition_held(f.slo, &o, 2 * S, 0, 11 * S));
	request(&f, 10 * S + 500 * MS, -1, false);
	assert_true(slo_condition_held(f.slo, &o, 2 * S, 0, 11 * S));
	slo_free(f.slo);
}

static void test_open_requests_at_the_end_count_as_slow_as_they_are(void **state)
{
	struct fixture f = {0};
	struct slo_result r;

	begin(&f, SAMPLE_LATENCY, "max <= 5s", NULL);
	request(&f, 39 * S, 5 * MS, true);
	fake_pending_since = 39 * S; /* ages ago by the real clock */
	judge(&f, &r);
	assert_int_equal(r.state, SLO_BREACHED);
	assert_int_equal(json_integer_value(json_object_get(r.detail, "unanswered")), 1);
	done(&f, &r);
}

static void test_steady_state(void **state)
{
	static const struct {
		const char *objective;
		int n, want;
		const char *why;
	} rows[] = {
		{"p99 <= 1s", 50, 1, ""},
		{"p99 <= 5ms", 50, 0, "p99 is 990 ms before any fault, the objective is p99 <= 5ms"},
		{"p99 <= 1s", 0, -1, "no samples in the baseline window"},
		{"p99 within 5% of baseline", 50, 1, ""},
		{"count >= 1000", 50, 1, ""},
		{"count == 1000", 50, 1, ""},
		{"count == 0", 50, 0, "count is 50 before any fault, the objective is count == 0"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture f = {0};
		char why[160] = "";

		begin(&f, SAMPLE_LATENCY, rows[i].objective, NULL);
		requests(&f, 0, 10 * S, rows[i].n, 990 * MS, 990 * MS);
		assert_int_equal(slo_steady(f.slo, why, sizeof why), rows[i].want);
		assert_string_equal(why, rows[i].why);
		slo_free(f.slo);
	}
}

static void test_tick_tells_the_news_once(void **state)
{
	struct fixture f = {0};
	struct slo_now now;

	begin(&f, SAMPLE_LATENCY, "p50 <= 100ms", NULL);
	slo_tick(f.slo, 11 * S);
	assert_int_equal(f.seen.samples, 0);
	request(&f, 11 * S, 20 * MS, true);
	slo_tick(f.slo, 11 * S + 250 * MS);
	assert_int_equal(f.seen.samples, 1);
	assert_int_equal(f.seen.breached, 0);
	requests(&f, 11 * S + 300 * MS, 11 * S + 400 * MS, 10, 150 * MS, 150 * MS);
	slo_tick(f.slo, 12 * S);
	slo_tick(f.slo, 12 * S + 250 * MS);
	assert_int_equal(f.seen.breached, 1);
	assert_string_equal(f.seen.text, "p50 <= 100ms");
	slo_now(f.slo, &now);
	assert_false(now.holds);
	assert_string_equal(now.text, "150 ms");
	assert_int_equal(now.samples, 11);
	assert_int_equal((int64_t)now.history[31], 150 * MS);
	assert_true(isnan(now.history[0]));
	slo_free(f.slo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge_held),
		cmocka_unit_test(test_judge_breached),
		cmocka_unit_test(test_judge_narrowly_on_either_side),
		cmocka_unit_test(test_judge_needs_ten_samples_beyond_the_quantile),
		cmocka_unit_test(test_judge_few_samples_may_fail_when_there_is_no_doubt),
		cmocka_unit_test(test_judge_needs_samples_for_every_statistic),
		cmocka_unit_test(test_no_failure_at_all_is_not_narrow),
		cmocka_unit_test(test_judge_without_samples_is_inconclusive),
		cmocka_unit_test(test_judge_expect_breach),
		cmocka_unit_test(test_judge_within_the_baseline),
		cmocka_unit_test(test_judge_names_a_baseline_that_is_too_short),
		cmocka_unit_test(test_sample_belongs_to_the_window_of_its_intended_start),
		cmocka_unit_test(test_failures_are_slower_than_any_answer),
		cmocka_unit_test(test_readings),
		cmocka_unit_test(test_ratio_of_increments),
		cmocka_unit_test(test_ratio_above_one_has_no_interval),
		cmocka_unit_test(test_recovery_is_dated_to_the_last_bad_request),
		cmocka_unit_test(test_recovery_without_samples_is_inconclusive),
		cmocka_unit_test(test_condition_must_hold_without_pause),
		cmocka_unit_test(test_condition_sees_a_request_that_is_still_open),
		cmocka_unit_test(test_condition_is_not_thinned_out_by_the_baseline),
		cmocka_unit_test(test_condition_on_success),
		cmocka_unit_test(test_open_requests_at_the_end_count_as_slow_as_they_are),
		cmocka_unit_test(test_steady_state),
		cmocka_unit_test(test_tick_tells_the_news_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
