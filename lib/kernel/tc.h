/*
 * tc - qdiscs and filters: list them, and messages that add and remove them
 *
 * The tc_msg_ functions build one request each; send them with netlink_talk or in a batch.
 *
 * Units:   handles and parents as in tc ("1:0" is 0x10000); preferences 1..65535
 */
#pragma once

#include "netlink.h"

#include <linux/pkt_sched.h>

/* Parents of filters at clsact. */
#define TC_PARENT_INGRESS TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
#define TC_PARENT_EGRESS TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)
#define TC_PARENT(ingress) ((ingress) ? TC_PARENT_INGRESS : TC_PARENT_EGRESS)

struct tc_qdisc {
	int ifindex;
	char kind[16];
	uint32_t handle, parent;
	uint32_t drops, overlimits, backlog_packets;
	uint64_t bytes; /* that have passed */
	uint32_t backlog_bytes;
};

struct tc_qdiscs {
	struct tc_qdisc *items;
	size_t n;
};

/* Of one device, or of all with ifindex 0. */
int tc_qdiscs_list(struct netlink *nl, int ifindex, struct tc_qdiscs *ret, struct err *e);
void tc_qdiscs_done(struct tc_qdiscs *l);
#define autoqdiscs __attribute__((cleanup(tc_qdiscs_done))) struct tc_qdiscs
const struct tc_qdisc *tc_qdisc_find(const struct tc_qdiscs *l, int ifindex, const char *kind);

struct tc_filter {
	uint32_t parent, handle, chain;
	uint16_t pref;
	char kind[16];
	char name[128]; /* TCA_BPF_NAME; "" for other kinds */
	uint8_t tag[8]; /* of the BPF program */
	uint32_t prog_id;
};

struct tc_filters {
	struct tc_filter *items;
	size_t n;
};

/* In the kernel's order of evaluation. A filter's header without a handle is left out. */
int tc_filters_list(struct netlink *nl, int ifindex, uint32_t parent, struct tc_filters *ret,
		    struct err *e);
void tc_filters_done(struct tc_filters *l);
#define autofilters __attribute__((cleanup(tc_filters_done))) struct tc_filters

struct nl_msg *tc_msg_add_clsact(int ifindex);
struct nl_msg *tc_msg_delete_clsact(int ifindex);
struct nl_msg *tc_msg_delete_qdisc(int ifindex, uint32_t parent, uint32_t handle);

struct tc_bpf {
	int ifindex;
	bool ingress;
	uint16_t pref;
	uint32_t handle;
	int prog_fd;
	const char *name;
	uint32_t class_id;
	int redirect_ifindex; /* 0: direct-action; else a match goes to this device */
	bool redirect_ingress; /* to its ingress, as if it had been received; else its egress */
};
struct nl_msg *tc_msg_add_bpf(const struct tc_bpf *f);
struct nl_msg *tc_msg_delete_bpf(int ifindex, bool ingress, uint16_t pref, uint32_t handle);

struct tc_tbf {
	uint64_t rate_Bps, peak_Bps; /* peak 0: none */
	uint32_t limit_bytes, burst_bytes, peak_burst_bytes;
};
struct nl_msg *tc_msg_tbf(int ifindex, uint32_t parent, uint32_t handle, int flags,
			  const struct tc_tbf *t);
