// SPDX-License-Identifier: Apache-2.0
/*
 * gate - which packets a network fault touches, and for how long
 *
 * Classifiers at clsact of a target's interface. The drop stage is a direct-action filter: a lost
 * packet is TC_ACT_STOLEN, which the stack takes for a success as it does netem's own loss;
 * TC_ACT_SHOT would make TCP retry at once and see no loss at all. The delay stage is a plain
 * classifier: a match runs the filter's mirred action into the delay device.
 *
 * Every way out of the lease is open: no lease, a lease that ran out or lies absurdly far ahead,
 * the hard end, the panic switch. ARP, IPv6 neighbour discovery and multicast listener messages
 * always pass, else a partition turns into EHOSTUNREACH and a delay adds ARP time.
 *
 * Faults that overlap on a target form a chain. All drop stages see a packet first. Then it meets
 * the delay stages in the order of their preferences, which is their faults' order; each that
 * matches sends it through its own device, from which it comes back with a token that says how far
 * it has come. So delays, jitters and chances add up as they would on a path of several links, and
 * the smallest rate prevails, while each fault keeps its own lease, peers, counters and end. Each
 * round takes a packet to a higher order, so none goes round for ever, whatever is attached.
 *
 * Headers are read relative to the network header, which holds at both hooks and on devices with
 * and without Ethernet header. In a frame that carries its VLAN tags in line the network header may
 * be at the tag or behind it, by who made the frame and on which kernel (a VLAN device: at it; an
 * AF_PACKET socket of a newer kernel: behind it), so everything is read relative to the hardware
 * addresses there.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../../base/rng.h"
#include "gate_map.h"

enum { NO_MATCH = 0, MATCH = -1, MAX_VLANS = 2, MAX_EXTENSIONS = 8 };

/* linux/icmp.h wants a libc's headers. */
enum { ECHO_REPLY = 0, ECHO_REQUEST = 8, ECHO6_REQUEST = 128, ECHO6_REPLY = 129 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gate_control);
} gate_control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gate_counters);
} gate_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct gate_peer);
	__type(value, __u32);
} gate_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct gate_port);
	__type(value, __u8);
} gate_ports SEC(".maps");

/* What the headers say, as seen from the target: remote is the other end. */
struct packet {
	struct gate_peer remote;
	__u32 protocol; /* GATE_TCP, ... */
	__u32 port;     /* remote, host order */
	__u32 ident;    /* local port, or an ICMP echo's identifier */
	bool has_port;
	__u32 start; /* which header offsets count from: BPF_HDR_START_NET or _MAC */
};

static __always_inline bool load(struct __sk_buff *skb, const struct packet *p, __u32 off, void *to,
				 __u32 len)
{
	return bpf_skb_load_bytes_relative(skb, off, to, len, p->start) == 0;
}

static __always_inline void read_ports(struct __sk_buff *skb, __u32 off, bool ingress,
				       struct packet *p)
{
	__be16 ports[2];

	if (!load(skb, p, off, ports, sizeof ports))
		return;
	p->port = bpf_ntohs(ingress ? ports[0] : ports[1]);
	p->ident = bpf_ntohs(ingress ? ports[1] : ports[0]);
	p->has_port = true;
}

static __always_inline void read_echo(struct __sk_buff *skb, __u32 off, struct packet *p)
{
	struct {
		__u8 type, code;
		__be16 sum, ident;
	} h;

	if (!load(skb, p, off, &h, sizeof h))
		return;
	if (h.type == ECHO_REPLY || h.type == ECHO_REQUEST || h.type == ECHO6_REQUEST ||
	    h.type == ECHO6_REPLY)
		p->ident = bpf_ntohs(h.ident);
}

static __always_inline void classify(struct __sk_buff *skb, __u32 off, __u8 protocol,
				     bool first_fragment, bool ingress, struct packet *p)
{
	switch (protocol) {
	case IPPROTO_TCP:
		p->protocol = GATE_TCP;
		break;
	case IPPROTO_UDP:
		p->protocol = GATE_UDP;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		p->protocol = GATE_ICMP;
		if (first_fragment)
			read_echo(skb, off, p);
		return;
	default:
		p->protocol = GATE_OTHER;
		return;
	}
	if (first_fragment)
		read_ports(skb, off, ingress, p);
}

static __always_inline bool parse4(struct __sk_buff *skb, __u32 off, bool ingress,
				   struct packet *p)
{
	struct iphdr ip;

	if (!load(skb, p, off, &ip, sizeof ip))
		return false;
	p->remote.prefix = 128;
	p->remote.addr[10] = p->remote.addr[11] = 0xff;
	__builtin_memcpy(&p->remote.addr[12], ingress ? &ip.saddr : &ip.daddr, 4);
	classify(skb, off + ip.ihl * 4, ip.protocol, !(ip.frag_off & bpf_htons(0x1fff)), ingress,
		 p);
	return true;
}

/* Router and neighbour discovery, and the listener reports that switches build their tables on. */
static __always_inline bool is_housekeeping(__u8 type)
{
	return (type >= 130 && type <= 137) || type == 143;
}

/* Steps over one extension header; false when next is not one. */
static __always_inline bool step(struct __sk_buff *skb, const struct packet *p, __u32 *off,
				 __u8 *next, bool *first)
{
	__u8 h[4];

	switch (*next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
	case IPPROTO_AH:
	case IPPROTO_MH:
		break;
	default:
		return false;
	}
	if (!load(skb, p, *off, h, sizeof h))
		return false;
	if (*next == IPPROTO_FRAGMENT) {
		*first = !((h[2] << 8 | h[3]) & 0xfff8);
		*off += 8;
	} else if (*next == IPPROTO_AH) {
		*off += (h[1] + 2) * 4;
	} else {
		*off += (h[1] + 1) * 8;
	}
	*next = h[0];
	return *first;
}

static __always_inline bool parse6(struct __sk_buff *skb, __u32 off, bool ingress,
				   struct packet *p)
{
	struct ipv6hdr ip;
	bool first = true;
	__u8 next, type;

	if (!load(skb, p, off, &ip, sizeof ip))
		return false;
	p->remote.prefix = 128;
	__builtin_memcpy(p->remote.addr, ingress ? &ip.saddr : &ip.daddr, 16);
	next = ip.nexthdr;
	off += sizeof ip;
	for (int i = 0; i < MAX_EXTENSIONS; i++)
		if (!step(skb, p, &off, &next, &first))
			break;
	if (next == IPPROTO_ICMPV6 && first && load(skb, p, off, &type, 1) && is_housekeeping(type))
		return false;
	classify(skb, off, next, first, ingress, p);
	return true;
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Steps over the tags of a frame that carries them in line. */
static __always_inline bool step_tags(struct __sk_buff *skb, struct packet *p, __u32 *off,
				      __be16 *type)
{
	p->start = BPF_HDR_START_MAC;
	*off = 2 * ETH_ALEN;
	for (int i = 0; i <= MAX_VLANS; i++) {
		if (!load(skb, p, *off, type, sizeof *type))
			return false;
		*off += is_tag(*type) ? 4 : sizeof *type;
		if (!is_tag(*type))
			return true;
	}
	return false;
}

/* False for everything that no fault may touch. */
static __always_inline bool parse(struct __sk_buff *skb, bool ingress, struct packet *p)
{
	__be16 type = (__be16)skb->protocol;
	__u32 off = 0;

	p->start = BPF_HDR_START_NET;
	if (is_tag(type) && !step_tags(skb, p, &off, &type))
		return false;
	if (type == bpf_htons(ETH_P_IP))
		return parse4(skb, off, ingress, p);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse6(skb, off, ingress, p);
	return false;
}

static __always_inline bool matches(const struct gate_control *c, const struct packet *p)
{
	struct gate_port key = {};
	__u32 *set;

	if (c->protocols && !(c->protocols & p->protocol))
		return false;
	if (!c->peers_only)
		return true;
	set = bpf_map_lookup_elem(&gate_peers, &p->remote);
	if (!set)
		return false;
	if (*set == 0)
		return true;
	if (!p->has_port)
		return false;
	key.set = *set;
	key.port = p->port;
	return bpf_map_lookup_elem(&gate_ports, &key) != NULL;
}

static __always_inline bool is_exempt(const struct gate_counters *n, const struct packet *p)
{
	return n->exempt && n->exempt == GATE_EXEMPT(p->protocol, p->ident);
}

static __always_inline bool lease_lives(const volatile struct gate_control *c, __u64 now)
{
	__u64 lease = c->lease_ns;

	return now < lease && lease - now <= GATE_LEASE_MAX_NS;
}

/* The slot's counters, when this packet meets the fault at this stage. */
static __always_inline struct gate_counters *decide(struct __sk_buff *skb, int stage, bool ingress,
						    const struct gate_control *c)
{
	const volatile struct gate_control *live = c;
	__u32 slot = skb->tc_classid;
	struct gate_counters *n;
	struct packet p = {};
	__u64 now;

	n = bpf_map_lookup_elem(&gate_counters, &slot);
	if (!n)
		return NULL;
	now = bpf_ktime_get_ns();
	if (live->closed || n->closed || !live->lease_ns || now >= live->hard_end_ns)
		return NULL;
	__sync_fetch_and_add(&n->stage[stage].seen, 1);
	if (!parse(skb, ingress, &p) || !matches(c, &p) || is_exempt(n, &p))
		return NULL;
	if (!lease_lives(live, now)) {
		__sync_fetch_and_add(&n->stage[stage].expired, 1);
		return NULL;
	}
	__sync_fetch_and_add(&n->stage[stage].matched, 1);
	return n;
}

/* True for a packet that comes back from a delay device: its losses have been decided. */
static __always_inline bool is_returning(struct __sk_buff *skb)
{
	return (skb->tc_index & GATE_TOKEN_MASK) == GATE_TOKEN;
}

/* It has been through this gate's own device, or past this gate to a later one's. */
static __always_inline bool has_passed(struct __sk_buff *skb, const struct gate_control *c)
{
	return is_returning(skb) && (skb->tc_index & ~GATE_TOKEN_MASK) >= c->order;
}

static __always_inline struct gate_control *control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&gate_control, &zero);
}

/* The n-th matched packet's fate depends on the seed and n alone. */
static __always_inline bool is_lost(const struct gate_control *c, struct gate_counters *n,
				    __u32 slot)
{
	__u64 chance = c->loss;
	__u64 nth = __sync_fetch_and_add(&n->fates, 1);
	bool lost;

	if (c->loss_after_loss | c->loss_after_pass)
		chance = n->last_lost ? c->loss_after_loss : c->loss_after_pass;
	lost = rng_at(c->seed, c->stream + slot, nth) >> 32 < chance;
	n->last_lost = lost;
	return lost;
}

static __always_inline int drop(struct __sk_buff *skb, bool ingress)
{
	const struct gate_control *c = control();
	struct gate_counters *n;

	if (!c || is_returning(skb))
		return TC_ACT_UNSPEC;
	n = decide(skb, GATE_DROP, ingress, c);
	if (!n || !is_lost(c, n, skb->tc_classid))
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&n->dropped, 1);
	return TC_ACT_STOLEN;
}

static __always_inline int delay(struct __sk_buff *skb, bool ingress)
{
	const struct gate_control *c = control();

	if (!c || has_passed(skb, c))
		return NO_MATCH;
	return decide(skb, GATE_DELAY, ingress, c) ? MATCH : NO_MATCH;
}

SEC("tc")
int gate_drop_out(struct __sk_buff *skb)
{
	return drop(skb, false);
}

SEC("tc")
int gate_drop_in(struct __sk_buff *skb)
{
	return drop(skb, true);
}

SEC("tc")
int gate_delay_out(struct __sk_buff *skb)
{
	return delay(skb, false);
}

SEC("tc")
int gate_delay_in(struct __sk_buff *skb)
{
	return delay(skb, true);
}

/* Behind the delay stages of its order: the token must not travel on with the packet into another
 * namespace, and gates of a higher order do not need it. */
SEC("tc")
int gate_clear(struct __sk_buff *skb)
{
	const struct gate_control *c;

	if (!is_returning(skb))
		return TC_ACT_UNSPEC;
	c = control();
	if (c && (skb->tc_index & ~GATE_TOKEN_MASK) <= c->order)
		skb->tc_index = 0;
	return TC_ACT_UNSPEC;
}

/* Run by BPF_PROG_TEST_RUN only: the clock that the lease is measured by. */
SEC("tc")
int gate_clock(struct __sk_buff *skb)
{
	struct gate_control *c = control();

	if (c)
		c->now_ns = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
