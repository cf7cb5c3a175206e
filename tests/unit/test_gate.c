/*
 * The gate's decisions, packet by packet, through BPF_PROG_TEST_RUN: the real programs, no device.
 */
#include "base/clock.h"
#include "fault/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <time.h>

#include <bpf/bpf.h>

#include <cmocka.h>

enum { PASSED = -1, LOST = 4 /* TC_ACT_STOLEN */ };

struct frame {
	uint8_t data[256];
	size_t len;
};

static void add(struct frame *f, const void *p, size_t len)
{
	memcpy(f->data + f->len, p, len);
	f->len += len;
}

static void add_ether(struct frame *f, uint16_t type)
{
	const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	const uint16_t be = htons(type);

	add(f, macs, sizeof macs);
	add(f, &be, sizeof be);
}

static void add_ports(struct frame *f, uint16_t from, uint16_t to)
{
	const uint16_t ports[10] = {htons(from), htons(to)};

	add(f, ports, sizeof ports);
}

static void add_ip4(struct frame *f, const char *src, const char *dst, uint8_t protocol,
		    uint16_t frag)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol,
			   .frag_off = htons(frag), .tot_len = htons(40)};

	inet_pton(AF_INET, src, &ip.saddr);
	inet_pton(AF_INET, dst, &ip.daddr);
	add(f, &ip, sizeof ip);
}

static void add_ip6(struct frame *f, const char *src, const char *dst, uint8_t next)
{
	struct ip6_hdr ip = {.ip6_hlim = 64, .ip6_plen = htons(40)};

	ip.ip6_vfc = 0x60;
	ip.ip6_nxt = next;
	inet_pton(AF_INET6, src, &ip.ip6_src);
	inet_pton(AF_INET6, dst, &ip.ip6_dst);
	add(f, &ip, sizeof ip);
}

static struct frame tcp4(const char *src, const char *dst, uint16_t from, uint16_t to)
{
	struct frame f = {0};

	add_ether(&f, ETH_P_IP);
	add_ip4(&f, src, dst, IPPROTO_TCP, 0);
	add_ports(&f, from, to);
	return f;
}

static int run(struct gate *g, int stage, bool ingress, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->data, .data_size_in = (uint32_t)f->len);

	assert_int_equal(bpf_prog_test_run_opts(gate_program(g, stage, ingress)->fd, &o), 0);
	return (int)o.retval;
}

static int fate(struct gate *g, bool ingress, struct frame f)
{
	return run(g, GATE_DROP, ingress, &f);
}

/* A gate in force that loses everything it matches. */
static struct gate *partition(struct gate_config c, const char *const *peers, size_t n)
{
	autopeers p = {0};
	struct gate *g = NULL;
	struct err e = {0};

	c.loss_ppm = 1000000;
	c.peers_only = n > 0;
	if (gate_load(&c, &g, &e) == -EPERM)
		skip();
	if (!g)
		fail_msg("%s (%s)", e.text, e.hint);
	for (size_t i = 0; i < n; i++) {
		autofree char *name = NULL;
		struct peer peer;

		assert_int_equal(peer_parse(peers[i], &peer, &name, NULL), 0);
		peers_add(&p, &peer);
	}
	peers_sort(&p);
	assert_int_equal(gate_set_peers(g, &p, &e), 0);
	assert_int_equal(gate_arm(g, 2 * NSEC_PER_SEC, &e), 0);
	return g;
}

static void test_peers_match_the_other_end_in_each_direction(void **state)
{
	static const char *const peers[] = {"10.0.0.0/8", "2001:db8::/32"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, ARRAY_SIZE(peers));
	struct frame six = {0};

	(void)state;
	assert_int_equal(fate(g, false, tcp4("192.0.2.1", "10.9.9.9", 1, 2)), LOST);
	assert_int_equal(fate(g, false, tcp4("10.9.9.9", "192.0.2.1", 1, 2)), PASSED);
	assert_int_equal(fate(g, true, tcp4("10.9.9.9", "192.0.2.1", 1, 2)), LOST);
	assert_int_equal(fate(g, true, tcp4("192.0.2.1", "10.9.9.9", 1, 2)), PASSED);
	add_ether(&six, ETH_P_IPV6);
	add_ip6(&six, "2001:db8::1", "fd00::1", IPPROTO_TCP);
	add_ports(&six, 1, 2);
	assert_int_equal(fate(g, true, six), LOST);
	assert_int_equal(fate(g, false, six), PASSED);
}

static void test_ports_belong_to_their_prefix_and_to_those_inside_it(void **state)
{
	static const char *const peers[] = {"10.0.0.0/8:80", "10.1.0.0/16:443", "10.1.2.3"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, ARRAY_SIZE(peers));

	(void)state;
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.9.0.1", 443, 80)), LOST);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.9.0.1", 80, 443)), PASSED);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.1.0.1", 1, 443)), LOST);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.1.0.1", 1, 80)), LOST);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.1.2.3", 1, 7)), LOST);
	assert_int_equal(fate(g, true, tcp4("10.9.0.1", "1.1.1.1", 80, 5)), LOST);
}

static void test_peers_are_replaced(void **state)
{
	static const char *const peers[] = {"10.0.0.1", "10.0.0.2:80"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, ARRAY_SIZE(peers));
	autopeers now = {0};
	struct peer p;

	(void)state;
	assert_int_equal(peer_parse_address("10.0.0.3", &p, NULL), 0);
	peers_add(&now, &p);
	assert_int_equal(gate_set_peers(g, &now, NULL), 0);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.0.0.1", 1, 2)), PASSED);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.0.0.2", 1, 80)), PASSED);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.0.0.3", 1, 2)), LOST);
}

static void test_protocols_narrow_the_match(void **state)
{
	autoptr(gate) g = partition((struct gate_config){.protocols = GATE_UDP}, NULL, 0);
	struct frame udp = {0};

	(void)state;
	add_ether(&udp, ETH_P_IP);
	add_ip4(&udp, "1.1.1.1", "2.2.2.2", IPPROTO_UDP, 0);
	add_ports(&udp, 1, 2);
	assert_int_equal(fate(g, false, udp), LOST);
	assert_int_equal(fate(g, false, tcp4("1.1.1.1", "2.2.2.2", 1, 2)), PASSED);
}

static void test_housekeeping_passes_through_a_partition(void **state)
{
	autoptr(gate) g = partition((struct gate_config){0}, NULL, 0);
	static const uint8_t passes[] = {130, 131, 132, 133, 134, 135, 136, 137, 143};
	struct frame arp = {0}, echo = {0};

	(void)state;
	add_ether(&arp, ETH_P_ARP);
	add_ip4(&arp, "1.1.1.1", "2.2.2.2", 0, 0);
	assert_int_equal(fate(g, true, arp), PASSED);
	for (size_t i = 0; i < sizeof passes; i++) {
		struct frame f = {0};
		const uint8_t mld[] = {IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 0, 0, passes[i], 0, 0, 0};

		add_ether(&f, ETH_P_IPV6);
		add_ip6(&f, "fe80::1", "ff02::1", IPPROTO_HOPOPTS);
		add(&f, mld, sizeof mld);
		assert_int_equal(fate(g, false, f), PASSED);
	}
	add_ether(&echo, ETH_P_IPV6);
	add_ip6(&echo, "fe80::1", "fe80::2", IPPROTO_ICMPV6);
	add(&echo, &(uint8_t){ICMP6_ECHO_REQUEST}, 1);
	assert_int_equal(fate(g, false, echo), LOST);
}

static void test_extension_headers_are_stepped_over(void **state)
{
	static const char *const peers[] = {"[2001:db8::1]:443"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	const uint8_t routing[8] = {IPPROTO_DSTOPTS}, options[16] = {IPPROTO_FRAGMENT, 1};
	uint8_t fragment[8] = {IPPROTO_TCP};
	struct frame f = {0}, later = {0};

	(void)state;
	add_ether(&f, ETH_P_IPV6);
	add_ip6(&f, "fd00::1", "2001:db8::1", IPPROTO_ROUTING);
	add(&f, routing, sizeof routing);
	add(&f, options, sizeof options);
	later = f;
	add(&f, fragment, sizeof fragment);
	add_ports(&f, 1, 443);
	assert_int_equal(fate(g, false, f), LOST);
	/* A later fragment has no ports: only address rules reach it. */
	fragment[2] = 1;
	add(&later, fragment, sizeof fragment);
	add_ports(&later, 1, 443);
	assert_int_equal(fate(g, false, later), PASSED);
}

static void test_later_ip4_fragments_follow_address_rules_only(void **state)
{
	static const char *const by_port[] = {"10.0.0.1:80"}, *const by_address[] = {"10.0.0.1"};
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_IP);
	add_ip4(&f, "1.1.1.1", "10.0.0.1", IPPROTO_UDP, 100);
	add_ports(&f, 1, 80);
	{
		autoptr(gate) g = partition((struct gate_config){0}, by_port, 1);
		assert_int_equal(fate(g, false, f), PASSED);
	}
	{
		autoptr(gate) g = partition((struct gate_config){0}, by_address, 1);
		assert_int_equal(fate(g, false, f), LOST);
	}
}

static void test_vlan_tag_in_the_packet(void **state)
{
	static const char *const peers[] = {"10.0.0.1:80"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	const uint16_t tag[2] = {htons(5), htons(ETH_P_IP)};
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_8021Q);
	add(&f, tag, sizeof tag);
	add_ip4(&f, "1.1.1.1", "10.0.0.1", IPPROTO_TCP, 0);
	add_ports(&f, 1, 80);
	assert_int_equal(fate(g, false, f), LOST);
}

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
		cmocka_unit_test(test_peers_match_the_other_end_in_each_direction),
		cmocka_unit_test(test_ports_belong_to_their_prefix_and_to_those_inside_it),
		cmocka_unit_test(test_peers_are_replaced),
		cmocka_unit_test(test_protocols_narrow_the_match),
		cmocka_unit_test(test_housekeeping_passes_through_a_partition),
		cmocka_unit_test(test_extension_headers_are_stepped_over),
		cmocka_unit_test(test_later_ip4_fragments_follow_address_rules_only),
		cmocka_unit_test(test_vlan_tag_in_the_packet),
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
