/*
 * Which packets the gate matches.
 */
#include "gate_fixture.h"

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

static void test_first_ip4_fragment_has_ports(void **state)
{
	static const char *const peers[] = {"10.0.0.1:80"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_IP);
	add_ip4(&f, "1.1.1.1", "10.0.0.1", IPPROTO_UDP, 0x2000); /* more fragments */
	add_ports(&f, 1, 80);
	assert_int_equal(fate(g, false, f), LOST);
}

static void test_ip4_options_are_stepped_over(void **state)
{
	static const char *const peers[] = {"10.0.0.1:80"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	const uint8_t options[8] = {0x94, 4}; /* router alert */
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_IP);
	add_ip4(&f, "1.1.1.1", "10.0.0.1", IPPROTO_UDP, 0);
	f.data[ETH_HLEN] = 0x47;
	add(&f, options, sizeof options);
	add_ports(&f, 1, 80);
	assert_int_equal(fate(g, false, f), LOST);
}

static void test_later_ip6_fragment_follows_address_rules(void **state)
{
	static const char *const peers[] = {"2001:db8::1"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	const uint8_t fragment[8] = {IPPROTO_ICMPV6, 0, 1, 0};
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_IPV6);
	add_ip6(&f, "fd00::1", "2001:db8::1", IPPROTO_FRAGMENT);
	add(&f, fragment, sizeof fragment);
	/* A byte of an echo's data: no neighbour discovery, whatever it looks like. */
	add(&f, &(uint8_t){135}, 1);
	assert_int_equal(fate(g, false, f), LOST);
}

static void test_authentication_header_is_stepped_over(void **state)
{
	static const char *const peers[] = {"[2001:db8::1]:443"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, 1);
	const uint8_t auth[24] = {IPPROTO_TCP, 4}; /* length in words of four bytes, minus two */
	struct frame f = {0};

	(void)state;
	add_ether(&f, ETH_P_IPV6);
	add_ip6(&f, "fd00::1", "2001:db8::1", IPPROTO_AH);
	add(&f, auth, sizeof auth);
	add_ports(&f, 1, 443);
	assert_int_equal(fate(g, false, f), LOST);
}

static void test_icmp_follows_protocol_and_address_rules(void **state)
{
	static const char *const by_port[] = {"10.0.0.1:80"};
	struct frame four = {0}, six = {0};

	(void)state;
	add_ether(&four, ETH_P_IP);
	add_ip4(&four, "1.1.1.1", "10.0.0.1", IPPROTO_ICMP, 0);
	add_ports(&four, 1, 80);
	add_ether(&six, ETH_P_IPV6);
	add_ip6(&six, "fd00::1", "2001:db8::1", IPPROTO_ICMPV6);
	add(&six, &(uint8_t){ICMP6_ECHO_REQUEST}, 1);
	{
		autoptr(gate) g = partition((struct gate_config){.protocols = GATE_ICMP}, NULL, 0);
		assert_int_equal(fate(g, false, four), LOST);
		assert_int_equal(fate(g, false, six), LOST);
		assert_int_equal(fate(g, false, tcp4("1.1.1.1", "10.0.0.1", 1, 80)), PASSED);
	}
	{
		autoptr(gate) g = partition((struct gate_config){0}, by_port, 1);
		assert_int_equal(fate(g, false, four), PASSED);
	}
}

/* What a header would say that is not there is not guessed. */
static void test_truncated_headers(void **state)
{
	static const char *const by_port[] = {"10.0.0.1:80", "[2001:db8::1]:443"};
	autoptr(gate) all = partition((struct gate_config){0}, NULL, 0);
	autoptr(gate) some = partition((struct gate_config){0}, by_port, ARRAY_SIZE(by_port));
	struct frame four = {0}, six = {0}, tagged = {0};

	(void)state;
	add_ether(&four, ETH_P_IP);
	add_ip4(&four, "1.1.1.1", "10.0.0.1", IPPROTO_TCP, 0);
	assert_int_equal(fate(all, false, four), LOST);
	assert_int_equal(fate(some, false, four), PASSED);
	add_ether(&six, ETH_P_IPV6);
	add_ip6(&six, "fd00::1", "2001:db8::1", IPPROTO_HOPOPTS);
	assert_int_equal(fate(all, false, six), LOST);
	assert_int_equal(fate(some, false, six), PASSED);
	add_ether(&tagged, ETH_P_8021Q);
	add(&tagged, &(uint16_t){htons(5)}, 2);
	assert_int_equal(fate(all, false, tagged), PASSED);
}

static void add_tag(struct frame *f, uint16_t next)
{
	const uint16_t tag[2] = {htons(5), htons(next)};

	add(f, tag, sizeof tag);
}

static void test_vlan_tags_in_the_packet(void **state)
{
	static const char *const peers[] = {"10.0.0.1:80", "[2001:db8::1]:443"};
	autoptr(gate) g = partition((struct gate_config){0}, peers, ARRAY_SIZE(peers));
	struct frame one = {0}, two = {0}, three = {0};

	(void)state;
	add_ether(&one, ETH_P_8021Q);
	add_tag(&one, ETH_P_IP);
	add_ip4(&one, "1.1.1.1", "10.0.0.1", IPPROTO_TCP, 0);
	add_ports(&one, 1, 80);
	assert_int_equal(fate(g, false, one), LOST);
	add_ether(&two, ETH_P_8021AD);
	add_tag(&two, ETH_P_8021Q);
	add_tag(&two, ETH_P_IPV6);
	add_ip6(&two, "fd00::1", "2001:db8::1", IPPROTO_TCP);
	add_ports(&two, 1, 443);
	assert_int_equal(fate(g, false, two), LOST);
	add_ether(&three, ETH_P_8021AD);
	add_tag(&three, ETH_P_8021Q);
	add_tag(&three, ETH_P_8021Q);
	add_tag(&three, ETH_P_IP);
	add_ip4(&three, "1.1.1.1", "10.0.0.1", IPPROTO_TCP, 0);
	add_ports(&three, 1, 80);
	assert_int_equal(fate(g, false, three), PASSED);
}

static void test_housekeeping_in_a_vlan_passes(void **state)
{
	autoptr(gate) g = partition((struct gate_config){0}, NULL, 0);
	struct frame arp = {0}, solicitation = {0};

	(void)state;
	add_ether(&arp, ETH_P_8021Q);
	add_tag(&arp, ETH_P_ARP);
	add_ip4(&arp, "1.1.1.1", "2.2.2.2", 0, 0);
	assert_int_equal(fate(g, false, arp), PASSED);
	add_ether(&solicitation, ETH_P_8021Q);
	add_tag(&solicitation, ETH_P_IPV6);
	add_ip6(&solicitation, "fe80::1", "ff02::1:ff00:1", IPPROTO_ICMPV6);
	add(&solicitation, &(uint8_t){135}, 1);
	assert_int_equal(fate(g, false, solicitation), PASSED);
	/* The same tag around anything else is lost. */
	solicitation.data[solicitation.len - 1] = ICMP6_ECHO_REQUEST;
	assert_int_equal(fate(g, false, solicitation), LOST);
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
		cmocka_unit_test(test_first_ip4_fragment_has_ports),
		cmocka_unit_test(test_ip4_options_are_stepped_over),
		cmocka_unit_test(test_later_ip6_fragment_follows_address_rules),
		cmocka_unit_test(test_authentication_header_is_stepped_over),
		cmocka_unit_test(test_icmp_follows_protocol_and_address_rules),
		cmocka_unit_test(test_truncated_headers),
		cmocka_unit_test(test_vlan_tags_in_the_packet),
		cmocka_unit_test(test_housekeeping_in_a_vlan_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
