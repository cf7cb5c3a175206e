/*
 * net_felt - the delay that was asked for as one number, beside what probes make of it
 *
 * Units:   nanoseconds; a fault's delays are one way, what probes show is the round trip
 */
#pragma once

#include "net_params.h"

enum { NET_MIN_PROBES = 4 }; /* fewer prove nothing */

/* Share of the packets that are to overtake others, by chance and gap. */
double net_reorder_share(const struct net_delay *d);

/*
 * added_ns: what the fault added to the round trips of n probes, in any order; they are sorted. ways:
 * how often one of them meets the delay. table: the distribution when percentiles or histogramFrom
 * ask for one, else empty.
 */
void net_felt_delay(const struct net_params *p, const struct delay_table *table, int ways,
		    int64_t *added_ns, size_t n, struct effect_figure *ret);
/* Of a distribution the mean delay of n packets, one way, as the delay engine counted them. */
void net_felt_mean(const struct net_params *p, const struct delay_table *table, double mean_ns, uint64_t n,
		   struct effect_figure *ret);
/* True when each packet has another delay: some dozen probes do not tell their mean. */
bool net_delay_is_wide(const struct net_params *p, const struct delay_table *table);
/* The share that overtook, where a probe shows whether it did: a constant delay. */
void net_felt_reorder(const struct net_params *p, int ways, const int64_t *added_ns, size_t n,
		      struct effect_figure *ret);
