/*
 * net_felt - whether the round trips of some probes show the delay that was asked for
 *
 * Units:   nanoseconds; delays one way, round trips both
 */
#pragma once

#include "net_params.h"

/* What a share of the packets waits at least, one way. */
struct net_asked {
	int64_t delay_ns;
	double share;
};

/* table: the distribution when percentiles or histogramFrom ask for one, else empty. */
struct net_asked net_asked_delay(const struct net_params *p, const struct delay_table *table);

/* EFFECT_UNKNOWN: too few probes to expect the delay of some of them. base_ns is the round trip
 * without the fault, ways how often the delay is met by one (1 or 2). */
enum effect_state net_delay_felt(const struct net_asked *a, int ways, const int64_t *rtt_ns, size_t n,
				 int64_t base_ns);
