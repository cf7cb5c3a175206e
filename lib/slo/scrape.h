/*
 * scrape - asks targets for their metrics pages, round by round, for the indicators that read them
 *
 * Owns:    its sockets, timer and what it knows of targets; data is the caller's
 * Threads: the loop's thread only
 */
#pragma once

#include "openmetrics.h"
#include "slo.h"

struct scrape_params {
	struct selector selector;
	int64_t port;
	char *path;
	int64_t interval_ns, timeout_ns;
};

#define SCRAPE_FIELDS(base)                                                                        \
	{.name = "selector", .type = FIELD_OBJECT,                                                 \
	 .offset = (base) + offsetof(struct scrape_params, selector), .sub = &selector_schema,     \
	 .doc = "The targets that are asked. Default: all."},                                      \
	{.name = "port", .type = FIELD_INT, .offset = (base) + offsetof(struct scrape_params, port), \
	 .has_range = true, .min = 1, .max = 65535,                                                \
	 .doc = "Port of the metrics page. Default: the target's annotation prometheus.io/port, else " \
		"8080."},                                                                          \
	{.name = "path", .type = FIELD_STRING,                                                     \
	 .offset = (base) + offsetof(struct scrape_params, path), .deflt = "/metrics",             \
	 .doc = "Path of the metrics page."},                                                      \
	{.name = "interval", .type = FIELD_DURATION,                                               \
	 .offset = (base) + offsetof(struct scrape_params, interval_ns), .deflt = "500ms",         \
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,                 \
	 .doc = "Time between two scrapes."},                                                      \
	{.name = "timeout", .type = FIELD_DURATION,                                                \
	 .offset = (base) + offsetof(struct scrape_params, timeout_ns), .deflt = "2s",             \
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 600 * NSEC_PER_SEC,                       \
	 .doc = "A scrape without an answer after this time has failed."}

/* Readings a second: those of counters and gauges, of which each round gives one. */
double scrape_rate(const struct scrape_params *p);

/* Rules of SCRAPE_FIELDS, for the check of the schema that has them. */
int scrape_check(const struct scrape_params *p, const struct yaml_node *node, struct field_ctx *ctx);

/* Whose page was read. */
struct scrape_page {
	const char *target; /* "namespace/name" */
	int64_t started_ns; /* of its process, CLOCK_MONOTONIC */
	bool in_round;	    /* false: it is the late answer to an earlier round */
	double *stamp;	    /* the caller's, of this target, from page to page; 0 at first */
};

struct scrape_round {
	size_t answered;
	size_t lacking; /* targets that were due and have not answered, those that are down left out */
};

/* Counters make up for a late answer; a sum of gauges is no reading without it. */
static inline bool scrape_is_whole(const struct scrape_round *r)
{
	return r->answered > 0 && !r->lacking;
}

struct scrape_ops {
	void (*begin)(void *data); /* a round */
	void (*begin_page)(void *data);
	void (*sample)(void *data, const struct openmetrics_sample *s);
	/* The page was read as a whole. False, with the reason in why: it is no answer. */
	bool (*end_page)(void *data, const struct scrape_page *page, char *why, size_t size);
	/* Whether a late answer makes up for the rounds since it was asked for, as a counter's does. */
	bool (*makes_up)(void *data);
	void (*end)(void *data, const struct scrape_round *round);
};

struct scrape;

/* *ret is set on failure too; for scrape_free. */
int scrape_start(struct indicator *i, const struct scrape_params *p, const struct scrape_ops *ops,
		 void *data, struct scrape **ret, struct err *e);
int64_t scrape_start_ns(const struct scrape *s);
void scrape_stop(struct scrape *s); /* drops what is open */
json_t *scrape_report(const struct scrape *s);
void scrape_free(struct scrape *s); /* accepts NULL */
