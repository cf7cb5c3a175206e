/*
 * net_params - a NetworkChaos as the user wrote it
 *
 * Units:   nanoseconds, bytes per second, bytes, parts per million
 */
#pragma once

#include "delay_table.h"
#include "driver.h"

enum net_action {
	NET_BANDWIDTH,
	NET_CORRUPT,
	NET_DELAY,
	NET_DUPLICATE,
	NET_LOSS,
	NET_NETEM,
	NET_PARTITION,
	NET_RATE,
};

enum net_direction { NET_TO, NET_FROM, NET_BOTH };
enum net_order { NET_ORDER_REAL, NET_ORDER_KEEP };
enum net_protocol { NET_ANY, NET_TCP, NET_UDP, NET_ICMP };

struct net_quantiles {
	struct delay_quantile *items;
	size_t n;
};

struct net_chance {
	bool given;
	uint32_t ppm, correlation_ppm;
};

struct net_delay {
	bool given;
	int64_t latency_ns, jitter_ns;
	bool latency_given;
	uint32_t correlation_ppm;
	struct net_reorder {
		bool given;
		uint32_t ppm, correlation_ppm;
		int64_t gap;
	} reorder;
	struct net_quantiles percentiles;
	char *histogram_from;
	int64_t histogram_unit_ns;
	int order; /* enum net_order */
};

struct net_bandwidth {
	bool given;
	uint64_t rate_Bps, peak_Bps;
	int64_t limit_bytes, buffer_bytes, min_burst_bytes;
};

struct net_rate {
	bool given;
	uint64_t rate_Bps;
};

struct net_params {
	struct fault_common common; /* first */
	int action;    /* enum net_action */
	int direction; /* enum net_direction */
	int protocol;  /* enum net_protocol */
	char *device, *target_device;
	struct selection target; /* .given */
	bool target_given;
	struct strlist external_targets;
	struct net_delay delay;
	struct net_chance loss, duplicate, corrupt;
	struct net_rate rate;
	struct net_bandwidth bandwidth;
};

extern const struct schema net_schema;

/* -EINVAL: the manifest is one that Chaos Mesh takes, and nothing could come of it. */
int net_refuse(const struct net_params *p, struct err *e);

/* True when packets are limited to peers: `target` or `externalTargets` was given. */
static inline bool net_has_peers(const struct net_params *p)
{
	return p->target_given || p->external_targets.n > 0;
}

/* What the fault needs of the kernel. */
static inline bool net_drops(const struct net_params *p)
{
	return p->action == NET_PARTITION ||
	       ((p->action == NET_LOSS || p->action == NET_NETEM) && p->loss.ppm);
}

static inline bool net_wants(const struct net_params *p, enum net_action action, bool given)
{
	return p->action == (int)action || (p->action == NET_NETEM && given);
}

/* Needs a delay device: netem, or brunt's engine. */
static inline bool net_delays(const struct net_params *p)
{
	return net_wants(p, NET_DELAY, p->delay.given) ||
	       net_wants(p, NET_DUPLICATE, p->duplicate.ppm) ||
	       net_wants(p, NET_CORRUPT, p->corrupt.ppm);
}

/* Needs a token bucket on the delay device. */
static inline bool net_limits(const struct net_params *p)
{
	return p->action == NET_BANDWIDTH || net_wants(p, NET_RATE, p->rate.given);
}

static inline bool net_ingress(const struct net_params *p)
{
	return p->direction != NET_TO;
}

static inline bool net_egress(const struct net_params *p)
{
	return p->direction != NET_FROM;
}

/* The distribution that percentiles or histogramFrom ask for; n is 0 when neither is given. */
int net_delay_table(const struct net_params *p, struct delay_table *ret, struct err *e);

/* "delay 100 ms", "partition", "loss 20.0 %, delay 10 ms": what was asked for. */
void net_describe(const struct net_params *p, char *buf, size_t len);
