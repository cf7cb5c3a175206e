/*
 * gate_fixture - frames, and a gate that decides on them through BPF_PROG_TEST_RUN: the real
 * programs, no device
 */
#pragma once

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

static inline void add(struct frame *f, const void *p, size_t len)
{
	memcpy(f->data + f->len, p, len);
	f->len += len;
}

static inline void add_ether(struct frame *f, uint16_t type)
{
	const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	const uint16_t be = htons(type);

	add(f, macs, sizeof macs);
	add(f, &be, sizeof be);
}

static inline void add_ports(struct frame *f, uint16_t from, uint16_t to)
{
	const uint16_t ports[10] = {htons(from), htons(to)};

	add(f, ports, sizeof ports);
}

static inline void add_ip4(struct frame *f, const char *src, const char *dst, uint8_t protocol,
		    uint16_t frag)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol,
			   .frag_off = htons(frag), .tot_len = htons(40)};

	inet_pton(AF_INET, src, &ip.saddr);
	inet_pton(AF_INET, dst, &ip.daddr);
	add(f, &ip, sizeof ip);
}

static inline void add_ip6(struct frame *f, const char *src, const char *dst, uint8_t next)
{
	struct ip6_hdr ip = {.ip6_hlim = 64, .ip6_plen = htons(40)};

	ip.ip6_vfc = 0x60;
	ip.ip6_nxt = next;
	inet_pton(AF_INET6, src, &ip.ip6_src);
	inet_pton(AF_INET6, dst, &ip.ip6_dst);
	add(f, &ip, sizeof ip);
}

static inline struct frame tcp4(const char *src, const char *dst, uint16_t from, uint16_t to)
{
	struct frame f = {0};

	add_ether(&f, ETH_P_IP);
	add_ip4(&f, src, dst, IPPROTO_TCP, 0);
	add_ports(&f, from, to);
	return f;
}

static inline int run(struct gate *g, int stage, bool ingress, const struct frame *f)
{
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->data, .data_size_in = (uint32_t)f->len);

	assert_int_equal(bpf_prog_test_run_opts(gate_program(g, stage, ingress)->fd, &o), 0);
	return (int)o.retval;
}

static inline int fate(struct gate *g, bool ingress, struct frame f)
{
	return run(g, GATE_DROP, ingress, &f);
}

/* A gate in force that loses everything it matches. */
static inline struct gate *partition(struct gate_config c, const char *const *peers, size_t n)
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
