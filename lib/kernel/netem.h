/*
 * netem - the kernel's delay device, as a qdisc message with every attribute
 *
 * libnl 3.7's own netem lacks 64-bit times and rates, doubles the message for tables and fails at
 * 16384 entries, so the options are built here.
 *
 * Units:   nanoseconds, bytes per second, parts per million
 */
#pragma once

#include "netlink.h"

struct netem {
	int64_t delay_ns, jitter_ns;
	const int16_t *table; /* n_table entries in fixed point of 8192; NULL: uniform */
	uint32_t n_table;
	uint32_t limit_packets;
	uint32_t delay_correlation_ppm;
	uint32_t duplicate_ppm, duplicate_correlation_ppm;
	uint32_t corrupt_ppm, corrupt_correlation_ppm;
	uint32_t reorder_ppm, reorder_correlation_ppm, gap;
	uint64_t rate_Bps;
	uint64_t seed; /* 0: the kernel's own; before Linux 6.7 it always is */
};

struct nl_msg *netem_msg(int ifindex, uint32_t parent, uint32_t handle, int flags,
			 const struct netem *n);

/* What the kernel says about the netem qdisc with this handle, for reading back. */
struct netem_state {
	bool found;
	int64_t delay_ns, jitter_ns;
	uint32_t limit_packets;
	bool seeded;
};
int netem_read(struct netlink *nl, int ifindex, uint32_t handle, struct netem_state *ret,
	       struct err *e);
