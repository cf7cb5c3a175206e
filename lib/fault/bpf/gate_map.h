/*
 * gate_map - what the gate (BPF) and its owner (user space) share
 *
 * Included by gate.bpf.c and by lib/fault. Clock words are the kernel's own CLOCK_MONOTONIC, which
 * a process in a time namespace does not see: gate_clock (BPF) tells it.
 */
#pragma once

#include <linux/types.h>

/* A lease further ahead than this counts as expired: nobody renews that far. */
#define GATE_LEASE_MAX_NS 10000000000ULL

/* Delay devices get their interface index from this range (lower 16 bits free), so that they are
 * known for brunt's. */
#define GATE_IFINDEX_BASE 0x42520000u
#define GATE_IFINDEX_MASK 0xffff0000u

/*
 * tc_index of a packet that comes back from the delay device of the fault with this order. The
 * faults that overlap on a target have orders of their own, and their gates stand in that order: a
 * packet has met every gate up to its token's, and none beyond.
 */
#define GATE_TOKEN 0x4250
#define GATE_TOKEN_MASK 0xfff0
#define GATE_ORDERS 16

/* Bits of gate_control.protocols; 0 means all. */
#define GATE_TCP 1
#define GATE_UDP 2
#define GATE_ICMP 4
#define GATE_OTHER 8

/* Chances are fractions of 2^32; this one is certainty. */
#define GATE_ALWAYS 0x100000000ULL

/* The only element of map gate_control: one page, written by plain stores. */
struct gate_control {
	__u64 lease_ns;    /* renewed; 0: not armed */
	__u64 hard_end_ns; /* never extended */
	__u64 closed;      /* not 0: the fault is over, whatever the lease says */
	__u64 seed, stream;
	__u64 loss;            /* chance; used while the last two are 0 */
	__u64 loss_after_loss; /* correlated: chance after a lost packet */
	__u64 loss_after_pass; /* correlated: chance after one that passed */
	__u32 protocols;
	__u32 peers_only; /* match only addresses in map gate_peers */
	__u32 order, pad;
	__u64 now_ns;     /* written by gate_clock */
};

/* Key of gate_peers, an LPM trie over IPv6; IPv4 addresses are ::ffff:a.b.c.d. The value is 0 for
 * every port, else the port set's number. */
struct gate_peer {
	__u32 prefix; /* bits of addr */
	__u8 addr[16];
};

struct gate_port {
	__u32 set;
	__u32 port; /* host order */
};

enum { GATE_DROP, GATE_DELAY, GATE_STAGES };
/* One program for each stage, and the one behind them that takes the token off. */
enum { GATE_CLEAR = GATE_STAGES, GATE_PROGRAMS };

/* One element of gate_counters for each slot; a filter's class id is its slot. */
struct gate_counters {
	struct {
		__u64 seen, matched;
		__u64 expired; /* matched, but the lease had run out */
	} stage[GATE_STAGES];
	__u64 dropped;
	__u64 fates; /* packets whose loss was decided: the n in the counter-based hash */
	__u64 last_lost;
	/* Written by the owner. */
	__u64 closed; /* not 0: the fault is over at this slot */
	__u64 exempt; /* GATE_EXEMPT of a flow that passes untouched; 0: none */
};

/* A flow of brunt's own that measures what the fault does to its like: an ICMP echo's identifier, or
 * the local port of a TCP connection. */
#define GATE_EXEMPT(protocol, ident) ((__u64)(protocol) << 16 | (ident))
