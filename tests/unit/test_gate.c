/*
 * How long the gate is in force, and what it does to the packets that it matches.
 */
#include "gate_fixture.h"

static struct gate *plain_partition(void)
{
	return partition((struct gate_config){0}, NULL, 0);
}

static void test_close_is_the_end_whoever_renews(void **state)
{
	autoptr(gate) g = plain_partition();
	struct gate_counters n;

	(void)state;
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), LOST);
	gate_close(g);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
	gate_counters(g, 0, &n);
	assert_int_equal(n.stage[GATE_DROP].matched, 1);
	assert_int_equal(n.dropped, 1);
	assert_int_equal(n.stage[GATE_DROP].expired, 0);
}

static void test_close_from_another_process_by_program_id(void **state)
{
	autoptr(gate) g = plain_partition();
	uint32_t id = gate_program(g, GATE_DROP, true)->id;
	int64_t left = 0;

	(void)state;
	assert_int_equal(gate_lease_left_by_id(id, &left, NULL), 0);
	assert_in_range(left, NSEC_PER_SEC, 2 * NSEC_PER_SEC);
	assert_int_equal(gate_close_by_id(id, NULL), 0);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
	assert_int_equal(gate_lease_left_by_id(id, &left, NULL), 0);
	assert_int_equal(left, 0);
}

/* The control words as a dead or a lying owner leaves them. */
static void set_words(struct gate *g, int64_t lease_in, int64_t end_in)
{
	const uint32_t zero = 0;
	struct gate_control c;
	int64_t now = clock_now_ns() + gate_clock_shift(g);

	assert_int_equal(bpf_map_lookup_elem(gate_control_fd(g), &zero, &c), 0);
	c.lease_ns = (uint64_t)(now + lease_in);
	c.hard_end_ns = (uint64_t)(now + end_in);
	assert_int_equal(bpf_map_update_elem(gate_control_fd(g), &zero, &c, 0), 0);
}

static void test_lease_that_ran_out_opens_the_gate_and_is_counted(void **state)
{
	const struct gate_config c = {.loss_ppm = 1000000};
	autoptr(gate) g = NULL;
	struct gate_counters n;

	(void)state;
	if (gate_load(&c, &g, NULL) == -EPERM)
		skip();
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
	set_words(g, NSEC_PER_SEC, NSEC_PER_SEC);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), LOST);
	set_words(g, -1, NSEC_PER_SEC);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
	gate_counters(g, 0, &n);
	assert_int_equal(n.stage[GATE_DROP].expired, 1);
}

static void test_lease_absurdly_far_ahead_counts_as_expired(void **state)
{
	const struct gate_config c = {.loss_ppm = 1000000};
	autoptr(gate) g = NULL;

	(void)state;
	if (gate_load(&c, &g, NULL) == -EPERM)
		skip();
	set_words(g, 3600 * NSEC_PER_SEC, 7200 * NSEC_PER_SEC);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
}

static void test_hard_end_beats_a_living_lease(void **state)
{
	const struct gate_config c = {.loss_ppm = 1000000};
	autoptr(gate) g = NULL;
	struct gate_counters n;

	(void)state;
	if (gate_load(&c, &g, NULL) == -EPERM)
		skip();
	set_words(g, NSEC_PER_SEC, -1);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
	gate_counters(g, 0, &n);
	assert_int_equal(n.stage[GATE_DROP].expired, 0);
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void test_lease_is_renewed_past_its_first_length(void **state)
{
	const struct gate_config c = {.loss_ppm = 1000000};
	autoptr(gate) g = NULL;

	(void)state;
	if (gate_load(&c, &g, NULL) == -EPERM)
		skip();
	assert_int_equal(gate_arm(g, NSEC_PER_SEC, NULL), 0);
	wait_ms(1500);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), LOST);
}

static size_t losses(const struct gate_config *c, char *pattern, size_t n)
{
	autoptr(gate) g = NULL;
	size_t lost = 0;

	if (gate_load(c, &g, NULL) == -EPERM)
		skip();
	assert_int_equal(gate_arm(g, 2 * NSEC_PER_SEC, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		pattern[i] = fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)) == LOST;
		lost += pattern[i];
	}
	return lost;
}

static void test_loss_is_the_seeds_and_replays(void **state)
{
	enum { N = 10000 };
	static char a[N], b[N], other[N];
	struct gate_config c = {.loss_ppm = 200000, .seed = 42, .stream = 7};
	size_t lost = losses(&c, a, N);

	(void)state;
	assert_in_range(lost, 1840, 2160); /* four standard deviations */
	assert_int_equal(losses(&c, b, N), lost);
	assert_memory_equal(a, b, N);
	c.seed = 43;
	losses(&c, other, N);
	assert_memory_not_equal(a, other, N);
}

static void test_correlated_loss_keeps_its_mean_and_comes_in_bursts(void **state)
{
	enum { N = 20000 };
	static char a[N];
	const struct gate_config c = {.loss_ppm = 200000, .correlation_ppm = 500000, .seed = 1};
	size_t lost = losses(&c, a, N), pairs = 0;

	(void)state;
	/* Variance is (1 + rho) / (1 - rho) = 3 times the independent one's. */
	assert_in_range(lost, 3608, 4392);
	for (size_t i = 1; i < N; i++)
		pairs += a[i] && a[i - 1];
	assert_in_range(pairs * 100 / lost, 54, 66); /* p + rho (1 - p) = 60 % */
}

static void test_delay_stage_answers_match_without_losing(void **state)
{
	autoptr(gate) g = plain_partition();
	struct frame f = tcp4("1.1.1.1", "2.2.2.2", 1, 2);
	struct gate_counters n;

	(void)state;
	assert_int_equal(run(g, GATE_DELAY, false, &f), -1);
	gate_close(g);
	assert_int_equal(run(g, GATE_DELAY, false, &f), 0);
	gate_counters(g, 0, &n);
	assert_int_equal(n.stage[GATE_DELAY].matched, 1);
	assert_int_equal(n.dropped, 0);
}

static struct frame echo(bool six, uint8_t type, uint16_t ident)
{
	const uint8_t icmp[8] = {type, 0, 0, 0, (uint8_t)(ident >> 8), (uint8_t)ident};
	struct frame f = {0};

	add_ether(&f, six ? ETH_P_IPV6 : ETH_P_IP);
	if (six)
		add_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_ICMPV6);
	else
		add_ip4(&f, "1.1.1.1", "2.2.2.2", IPPROTO_ICMP, 0);
	add(&f, icmp, sizeof icmp);
	return f;
}

static void test_exempt_echo_passes_both_ways_and_no_other(void **state)
{
	static const struct { bool six; uint8_t request, reply; } kinds[] = {
		{false, 8, 0}, {true, ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY}};
	autoptr(gate) g = plain_partition();

	(void)state;
	gate_exempt(g, 0, GATE_EXEMPT(GATE_ICMP, 777));
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		assert_int_equal(fate(g, false, echo(kinds[i].six, kinds[i].request, 777)), PASSED);
		assert_int_equal(fate(g, true, echo(kinds[i].six, kinds[i].reply, 777)), PASSED);
		assert_int_equal(fate(g, false, echo(kinds[i].six, kinds[i].request, 778)), LOST);
		assert_int_equal(fate(g, true, echo(kinds[i].six, kinds[i].reply, 776)), LOST);
		/* Unreachable, packet too big: there is no identifier at that place. */
		assert_int_equal(fate(g, true, echo(kinds[i].six, 3, 777)), LOST);
	}
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 777, 2)), LOST);
	gate_exempt(g, 0, 0);
	assert_int_equal(fate(g, false, echo(false, 8, 777)), LOST);
	assert_int_equal(fate(g, false, echo(false, 8, 0)), LOST);
}

static void test_exempt_connection_is_known_by_its_local_port(void **state)
{
	autoptr(gate) g = plain_partition();

	(void)state;
	gate_exempt(g, 0, GATE_EXEMPT(GATE_TCP, 40000));
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 40000, 80)), PASSED);
	assert_int_equal(fate(g, true, tcp4("2.2.2.2", "1.1.1.1", 80, 40000)), PASSED);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 80, 40000)), LOST);
	assert_int_equal(fate(g, true, tcp4("2.2.2.2", "1.1.1.1", 40000, 80)), LOST);
	assert_int_equal(fate(g, false, echo(false, 8, 40000)), LOST);
}

static void test_closed_slot_lets_pass_what_others_hold(void **state)
{
	autoptr(gate) g = partition((struct gate_config){.n_slots = 2}, NULL, 0);

	(void)state;
	gate_close_slot(g, 1); /* a test run's slot is 0 */
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), LOST);
	gate_close_slot(g, 0);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_close_is_the_end_whoever_renews),
		cmocka_unit_test(test_close_from_another_process_by_program_id),
		cmocka_unit_test(test_lease_that_ran_out_opens_the_gate_and_is_counted),
		cmocka_unit_test(test_lease_absurdly_far_ahead_counts_as_expired),
		cmocka_unit_test(test_hard_end_beats_a_living_lease),
		cmocka_unit_test(test_lease_is_renewed_past_its_first_length),
		cmocka_unit_test(test_loss_is_the_seeds_and_replays),
		cmocka_unit_test(test_correlated_loss_keeps_its_mean_and_comes_in_bursts),
		cmocka_unit_test(test_delay_stage_answers_match_without_losing),
		cmocka_unit_test(test_exempt_echo_passes_both_ways_and_no_other),
		cmocka_unit_test(test_exempt_connection_is_known_by_its_local_port),
		cmocka_unit_test(test_closed_slot_lets_pass_what_others_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
