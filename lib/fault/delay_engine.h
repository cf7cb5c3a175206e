/*
 * delay_engine - brunt's own delay device, for kernels without netem
 *
 * One engine process serves all targets of a fault. Per target, device and direction there is a
 * *path*: a TAP in the target's namespace. The gate's mirred filter redirects matched packets to
 * the TAP; the engine reads them, holds each for its delay and writes it back to the same TAP,
 * whose ingress filter sets skb->tc_index to the token and redirects it to the device again. The
 * gate sees the token, clears it and answers no match.
 *
 * Flow:    gate, mirred egress redirect -> TAP -> [engine] -> TAP, clsact ingress -> device
 *          egress (DELAY_TO) or ingress (DELAY_FROM)
 *
 * Lease:   the gate's map holds struct delay_lease_words; only the engine renews until_ns, about
 *          three times a lease, after it has emptied its TAPs. When the engine dies, redirected
 *          packets are dropped (the TAP is gone) until the lease ends, then the gate is inert.
 *          To end a fault at once, write closed, or a hard_end_ns that has passed: the engine never
 *          touches those words.
 * Ends:    when the fault ends (delay_engine_stop, hard end, control socket closed because the
 *          owner died, SIGTERM) the engine ends the lease, delivers at once and in order what it
 *          still holds, and closes its TAPs, which removes them with their filters.
 * Replay:  the fate of the n-th packet of a path follows from (seed, stream, n) alone.
 *
 * Units:   times are ns of the clock that the gate sees (bpf_ktime_get_ns)
 * Owns:    the process and its pidfd; fds passed in are borrowed
 * Threads: one thread at a time; calls wait for the engine's answer (some 50 us, at most 5 s)
 * Errors:  -EOWNERDEAD when the engine has died; otherwise the kernel's errno, naming the object
 */
#pragma once

#include "../base/err.h"
#include "delay_table.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct broker;
struct netlink;
struct delay_engine;

/* The role (cmd/brunt/roles.def) that the engine is re-executed in. */
#define DELAY_ROLE "__delay"
int delay_main(int argc, char **argv);

enum delay_direction {
	DELAY_TO,   /* what the target sends: its device's egress */
	DELAY_FROM, /* what the target receives: its device's ingress */
};

/* What happens to a packet. Zero is "pass on at once". Probabilities and correlations as in
 * netem, except that correlated delays keep the distribution that was asked for. */
struct delay_params {
	int64_t delay_ns;
	int64_t jitter_ns;               /* uniform in delay -/+ jitter */
	uint32_t correlation_ppm;        /* of a delay with the one before it */
	const struct delay_table *table; /* NULL: delay and jitter; else it replaces both */
	uint32_t reorder_ppm, reorder_correlation_ppm; /* passed on at once instead of delayed */
	uint32_t reorder_gap;                          /* every gap-th packet at most; 0 is 1 */
	uint32_t duplicate_ppm, duplicate_correlation_ppm;
	uint32_t corrupt_ppm, corrupt_correlation_ppm; /* one bit flipped; turns offloads off */
	bool order_keep;        /* never overtake: a packet waits for those before it */
	uint64_t limit_packets; /* held per path; 0: delay_limit_packets(p, 0) */
	uint64_t seed;
};

/* In the gate's BPF_F_MMAPABLE map. */
struct delay_lease_words {
	uint64_t until_ns;    /* written by the engine alone while it lives */
	uint64_t hard_end_ns; /* read by the engine, as the next */
	uint64_t closed;      /* not 0: the fault is over */
};

struct delay_lease {
	int map_fd;
	size_t offset;          /* of struct delay_lease_words in the map's memory */
	int64_t lease_ns;       /* 0: 300 ms */
	int64_t clock_shift_ns; /* the gate's clock minus this process's CLOCK_MONOTONIC */
};

struct delay_path {
	int netns_fd;          /* the target's namespace */
	struct netlink *nl;    /* NETLINK_ROUTE, opened in it */
	int ifindex;           /* the device that packets go back to */
	enum delay_direction direction;
	const char *tap_name;  /* journaled by the caller before */
	const char *tap_alias; /* IFLA_IFALIAS, to know it by; may be NULL */
	uint32_t group;        /* IFLA_GROUP */
	uint64_t stream;       /* names the path for replay: rng_stream("uplink/ns/pod/eth0/to") */
};

struct delay_counters {
	uint64_t packets, bytes;     /* taken in; a GSO packet is one */
	uint64_t delivered;          /* written back, duplicates included */
	uint64_t queued;             /* held now */
	uint64_t queued_max;
	uint64_t dropped_limit;      /* more than limit_packets, or out of the engine's memory */
	uint64_t dropped_write;      /* refused by the kernel when written back */
	uint64_t reordered;          /* delivered after a packet that came later */
	uint64_t duplicated, corrupted;
	uint64_t delay_sum_ns;       /* as drawn; by packets it is the mean */
	uint64_t late_sum_ns, late_max_ns; /* delivered behind the drawn moment */
	uint64_t overtook;           /* passed on at once, to reorder */
};

/* Starts the engine process and loads the TAPs' BPF programs, which mark packets with token (not
 * 0) on their way back. The lease is live when this returns. */
int delay_engine_start(const struct delay_params *p, const struct delay_lease *lease,
		       uint16_t token, struct delay_engine **ret, struct err *e);

/* Makes the path's TAP, up and with its filters, and lets the engine serve it. When this returns
 * the gate may redirect to *ret_ifindex. *ret_id names the path in the calls below. */
int delay_engine_add(struct delay_engine *en, struct broker *broker, const struct delay_path *path,
		     uint32_t *ret_id, int *ret_ifindex, struct err *e);

/* Delivers at once what the path holds and closes its TAP; the link is gone on return. Close the
 * gate first. */
int delay_engine_remove(struct delay_engine *en, uint32_t id, struct err *e);

/* Changes the parameters of all paths from the next packet on; what is held keeps its moment.
 * The seed and offloads stay: corrupt_ppm cannot become non-zero. */
int delay_engine_set(struct delay_engine *en, const struct delay_params *p, struct err *e);

/* Delivers at once, in order, what all paths hold: close the gate first. The TAPs stay. Without it
 * the engine does so by itself within a third of a lease, or packets are lost with their TAP when
 * that is deleted before. */
int delay_engine_flush(struct delay_engine *en, struct err *e);

/* From shared memory, at any time, also after the engine's death; id or DELAY_ALL. */
enum { DELAY_ALL = UINT32_MAX };
void delay_engine_counters(const struct delay_engine *en, uint32_t id, struct delay_counters *ret);

/* Readable when the process has exited; owned by the engine. */
int delay_engine_pidfd(const struct delay_engine *en);
pid_t delay_engine_pid(const struct delay_engine *en);

/* Ends the lease, delivers, closes all TAPs and waits for the process to exit; NULL is allowed. */
void delay_engine_stop(struct delay_engine *en);
DEFINE_AUTOPTR(delay_engine, delay_engine_stop);

/* Removes a TAP that a stuck engine left, from a journal record: by name, only if it is a TAP
 * (or TUN) and its alias equals tap_alias. 0 removed or not there; -EEXIST: it is somebody else's. */
int delay_tap_remove(struct netlink *nl, const char *tap_name, const char *tap_alias, struct err *e);

/* Packets in flight when traffic of rate_Bps (0: 10 Gbit/s) in MTU-sized packets meets the
 * longest delay, with room to spare; netem's TCA_NETEM limit is sized by it too. */
uint64_t delay_limit_packets(const struct delay_params *p, uint64_t rate_Bps);
