/*
 * probe - open-loop requests at a fixed rate: what http and tcp share
 *
 * The n-th request is meant to begin at start + n / rate, whatever became of the earlier ones, and
 * its latency counts from there: a service that stalls for half a second shows the latency of every
 * request that fell into the stall (no coordinated omission). Requests beyond max_in_flight are
 * not sent and count as failed ("overload"), and so as slower than any answer.
 */
#pragma once

#include "../client/http.h"
#include "slo.h"

struct probe_params {
	double rate;
	int64_t timeout_ns, max_in_flight;
};

#define PROBE_FIELDS(base)                                                                         \
	{.name = "rate", .type = FIELD_FREQUENCY, .offset = (base) + offsetof(struct probe_params, rate), \
	 .deflt = "10/s", .example = "50/s", .in_template = true,                                  \
	 .doc = "Requests per time, begun on a fixed clock whatever became of the earlier ones."}, \
	{.name = "timeout", .type = FIELD_DURATION,                                                \
	 .offset = (base) + offsetof(struct probe_params, timeout_ns), .deflt = "3s",              \
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 600 * NSEC_PER_SEC,                       \
	 .doc = "A request without an answer after this time has failed."},                        \
	{.name = "maxInFlight", .type = FIELD_INT,                                                 \
	 .offset = (base) + offsetof(struct probe_params, max_in_flight), .deflt = "1000",         \
	 .has_range = true, .min = 1, .max = 10000,                                                \
	 .doc = "Requests that may be open at one time; further ones are not sent and count as "   \
		"failed."}

/* Rules of PROBE_FIELDS, for the check of the schema that has them. */
int probe_check(const struct probe_params *p, const struct yaml_node *node, struct field_ctx *ctx);

/* The host of "http://HOST:PORT/..." or "HOST:PORT", without brackets: false when there is none. */
bool probe_host(const char *url, char *buf, size_t size);

struct probe;

/*
 * Begins. request is the pattern of each: url, method, headers, body, keep_alive, insecure and
 * connect_only are taken from it and stay borrowed. good says whether an answer with that status
 * is a success (NULL: every answer is).
 */
int probe_start(struct indicator *i, const struct probe_params *p, const struct http_request *request,
		bool (*good)(const void *params, int status), struct probe **ret, struct err *e);
void probe_stop(struct probe *p); /* drops what is open */
void probe_pending(struct probe *p, int64_t now_ns,
		   void (*fn)(void *data, const struct sample *s), void *data);
json_t *probe_report(const struct probe *p);
void probe_free(struct probe *p);
DEFINE_AUTOPTR(probe, probe_free);
