/*
 * metrics - what liveroom says about itself, as OpenMetrics text
 *
 * Threads: any; counters are relaxed atomics, a scrape sees each of them at some recent value
 * Source:  OpenMetrics 1.0 text format
 */
#pragma once

#include "util.h"

#include "../../runtime/service/http.h"

#include <stdatomic.h>

/* Sorted by name; COUNTER is exposed with the suffix _total. */
#define METRICS(COUNTER, GAUGE)                                                                    \
	GAUGE(live_cache_bytes, "Bytes of segments held in memory.")                               \
	COUNTER(live_cache_evictions, "Segments dropped to stay within the cache's budget.")       \
	COUNTER(live_cache_hits, "Segments served from memory.")                                   \
	GAUGE(live_cache_limit_bytes, "What the cache may hold under the present memory limit.")   \
	COUNTER(live_cache_misses, "Segments that had to be read from the store.")                 \
	COUNTER(live_chat_messages, "Chat messages taken.")                                        \
	COUNTER(live_chat_refusals, "Chat messages refused because a viewer sent too many.")       \
	GAUGE(live_connections, "Open client connections.")                                        \
	COUNTER(live_join_failures, "Joins that could not be answered.")                           \
	COUNTER(live_joins, "Viewers let into a room.")                                            \
	COUNTER(live_leaves, "Viewers that said good-bye.")                                        \
	GAUGE(live_memory_limit_bytes, "The memory limit of the own cgroup, 0 when there is none.") \
	COUNTER(live_refused_requests, "Requests refused as malformed or beyond a bound.")         \
	GAUGE(live_rooms, "Rooms that are live.")                                                  \
	COUNTER(live_segments, "Segments that were due to viewers.")                               \
	COUNTER(live_session_refusals, "Joins refused because the room was full.")                 \
	GAUGE(live_sessions, "Viewers in all rooms.")                                              \
	COUNTER(live_sessions_expired, "Sessions that ended because nothing was heard of them.")   \
	COUNTER(live_sessions_finished, "Sessions that have ended, by a good-bye or by themselves.") \
	COUNTER(live_sessions_stalled, "Sessions that have ended and had a stall.")                \
	COUNTER(live_stalls, "Segments that did not reach a viewer in time.")                      \
	COUNTER(live_upstream_failures, "Requests to a room or the store that failed.")            \
	COUNTER(live_upstream_retries, "Requests sent again to another address.")

enum metric {
#define ROW(name, doc) METRIC_##name,
	METRICS(ROW, ROW)
#undef ROW
	METRIC_MAX
};

void metric_add(enum metric m, int64_t n);
void metric_set(enum metric m, int64_t value);
int64_t metric_get(enum metric m);

/*
 * A latency histogram with about 3 % error: 32 linear steps in each power of two, from 1 us to
 * 70 s. Zero is an empty one.
 */
enum { HIST_SUB = 32, HIST_BUCKETS = 27 * HIST_SUB };
struct hist {
	_Atomic uint64_t counts[HIST_BUCKETS];
	_Atomic uint64_t n;
	_Atomic uint64_t sum_ns;
};

void hist_add(struct hist *h, int64_t ns);
/* The value below which the share q of the samples lies, 0 when empty. */
int64_t hist_quantile(const struct hist *h, double q);

/* The time from a complete request to its answer, by path; path is a route's static string. */
void metrics_request(const char *path, int64_t ns);

/* What a server tells of its connections and answers. */
void metrics_connections(int change);
void metrics_refused(int status);
void metrics_answered(const char *path, int status, int64_t took_ns);

/* The whole exposition. */
void metrics_answer(struct http_answer *a);
