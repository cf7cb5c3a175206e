/*
 * net_probe - what a fault does to round trips, measured from inside a target's namespace
 *
 * ICMP echo, or a TCP handshake where only certain ports are faulty. Every probe has a *control*
 * sent with it, which the fault's gate lets pass (gate_exempt) and which is otherwise the same: what
 * the two differ by is the fault's doing and nobody else's, whatever other faults or the network
 * do meanwhile. Probes are sent and read without waiting; the kernel's own receive time (ICMP) or
 * estimate (TCP) is taken, so it does not matter when they are read.
 *
 * Threads: one thread
 */
#pragma once

#include "peers.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;
struct net_probe;

enum { NET_PROBE_FELT, NET_PROBE_CONTROL, NET_PROBE_KINDS };
enum { NET_PROBE_SAMPLES = 4096, NET_PROBE_DESTINATIONS = 6 };

struct net_probe_result {
	struct {
		uint64_t sent, answered, duplicates;
	} count[NET_PROBE_KINDS];
	int64_t *added_ns; /* a probe's round trip less its control's, oldest first */
	size_t n_added;    /* at most NET_PROBE_SAMPLES */
};

/* netns_fd is borrowed: the caller frees the probe when the namespace goes. */
struct net_probe *net_probe_new(struct broker *b, int netns_fd);
void net_probe_free(struct net_probe *p);

/* A destination; its port 0 means ICMP. */
void net_probe_add(struct net_probe *p, const struct peer *destination);
void net_probe_send(struct net_probe *p);
void net_probe_read(struct net_probe *p);

/* Keeps the destination that answered most, drops the others, and starts counting anew. False when
 * none answered: it may be tried again. */
bool net_probe_settle(struct net_probe *p);
bool net_probe_is_settled(const struct net_probe *p);
/* The controls' flow (GATE_EXEMPT), once settled. */
uint64_t net_probe_flow(const struct net_probe *p);
/* Since net_probe_settle. Probes younger than patience_ns and unanswered do not count as sent. */
struct net_probe_result net_probe_now(const struct net_probe *p, int64_t patience_ns);
/* The probe's own packets that the fault's gate may have met, since they were last forgotten. */
void net_probe_packets(const struct net_probe *p, uint64_t *ret_out, uint64_t *ret_in);
void net_probe_forget_packets(struct net_probe *p);
bool net_probe_answered(const struct net_probe *p); /* any destination so far */
bool net_probe_has_destination(const struct net_probe *p);

/* The q-th quantile (0..1) of n values; sorts them. */
int64_t net_probe_quantile(int64_t *values, size_t n, double q);
