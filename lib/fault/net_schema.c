/*
 * The fields of NetworkChaos and the rules between them: Chaos Mesh's, and brunt's own percentiles,
 * histogramFrom, order, protocol and action rate.
 */
#include "../base/diag.h"
#include "../base/units.h"
#include "net_params.h"
#include "peers.h"

#include <errno.h>

static const char *const action_names[] = {"bandwidth", "corrupt", "delay", "duplicate", "loss",
					   "netem", "partition", "rate", NULL};
static const char *const direction_names[] = {"to", "from", "both", NULL};
static const char *const order_names[] = {"real", "keep", NULL};
static const char *const protocol_names[] = {"any", "tcp", "udp", "icmp", NULL};

/* "p99.9" in parts per million; -1 when it is none. */
static int64_t quantile_ppm(const char *key)
{
	struct err e = {0};
	uint32_t ppm;

	if (key[0] != 'p' || units_parse_percent(key + 1, &ppm, &e) < 0)
		return -1;
	return ppm;
}

static int parse_percentiles(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct net_quantiles *q = storage;
	int r = 0;

	if (node->kind != YAML_MAP || node->n == 0)
		return field_error(ctx, node, NULL,
				   "want a map of percentiles to durations ({p50: 20ms, p95: "
				   "800ms})");
	for (size_t i = 0; i < node->n; i++) {
		int64_t ppm = quantile_ppm(node->keys[i]->text), ns = 0;
		struct err e = {0};

		if (ppm < 0) {
			r = field_error(ctx, node->keys[i], NULL,
					"\"%s\" is not a percentile (want p0 to p100, as in p50 or "
					"p99.9)",
					node->keys[i]->text);
		} else if (node->items[i]->kind != YAML_SCALAR ||
			   units_parse_duration(node->items[i]->text, &ns, &e) < 0) {
			r = field_error(ctx, node->items[i], node->keys[i]->text, "%s",
					e.code ? e.text : "want a duration");
		} else {
			*array_push(q->items, q->n) =
				(struct delay_quantile){.q_ppm = (uint32_t)ppm, .delay_ns = ns};
		}
	}
	return r;
}

static void free_percentiles(void *storage)
{
	struct net_quantiles *q = storage;

	free(q->items);
	*q = (struct net_quantiles){0};
}

#define CORRELATION(owner)                                                                         \
	{                                                                                          \
		.name = "correlation", .type = FIELD_PERCENT,                                      \
		.offset = offsetof(owner, correlation_ppm), .deflt = "0",                           \
		.doc = "How much each draw follows the one before it, in percent.",                \
	}

static const struct field reorder_fields[] = {
	{.name = "reorder", .type = FIELD_PERCENT, .offset = offsetof(struct net_reorder, ppm),
	 .required = true, .example = "25",
	 .doc = "Percentage of packets that are sent at once, overtaking delayed ones."},
	CORRELATION(struct net_reorder),
	{.name = "gap", .type = FIELD_INT, .offset = offsetof(struct net_reorder, gap),
	 .has_range = true, .min = 0, .max = UINT32_MAX, .example = "1", .in_template = true,
	 .doc = "Only every gap-th packet may overtake. Left out or 0: any."},
};

static const struct schema reorder_schema = {
	.name = "reorder",
	.doc = "Packets that overtake others.",
	.size = sizeof(struct net_reorder),
	.fields = reorder_fields,
	.n_fields = ARRAY_SIZE(reorder_fields),
};

static const struct field delay_fields[] = {
	{.name = "latency", .type = FIELD_DURATION,
	 .offset = offsetof(struct net_delay, latency_ns), .example = "100ms", .in_template = true,
	 .present_offset = offsetof(struct net_delay, latency_given), .has_range = true, .min = 0,
	 .max = 3600 * NSEC_PER_SEC,
	 .doc = "Added to each packet's way, in each direction that the fault has. Needed unless "
		"percentiles or histogramFrom say the distribution."},
	{.name = "jitter", .type = FIELD_DURATION, .offset = offsetof(struct net_delay, jitter_ns),
	 .deflt = "0ms", .has_range = true, .min = 0, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Each packet's delay is drawn from latency minus to latency plus jitter."},
	CORRELATION(struct net_delay),
	{.name = "reorder", .type = FIELD_OBJECT, .sub = &reorder_schema,
	 .offset = offsetof(struct net_delay, reorder),
	 .present_offset = offsetof(struct net_delay, reorder.given),
	 .doc = "Lets some packets overtake others."},
	{.name = "percentiles", .type = FIELD_CUSTOM, .parse = parse_percentiles,
	 .free = free_percentiles, .offset = offsetof(struct net_delay, percentiles),
	 .example = "{p50: 20ms, p95: 800ms}",
	 .doc = "The delay's distribution by some of its percentiles; between them it is interpolated."},
	{.name = "histogramFrom", .type = FIELD_PATH,
	 .offset = offsetof(struct net_delay, histogram_from), .example = "latency.hlog",
	 .doc = "A file with the delay's distribution: one delay a line, an HdrHistogram log, or "
		"its percentile listing."},
	{.name = "histogramUnit", .type = FIELD_DURATION,
	 .offset = offsetof(struct net_delay, histogram_unit_ns), .deflt = "1ms",
	 .has_range = true, .min = 1, .max = NSEC_PER_SEC,
	 .doc = "What a value of 1 means in the HdrHistogram of histogramFrom."},
	{.name = "order", .type = FIELD_ENUM, .names = order_names, .deflt = "real",
	 .offset = offsetof(struct net_delay, order),
	 .doc = "real: packets with shorter delays overtake, as on a real network of many paths. "
		"keep: none overtakes, each waits for those before it."},
};

/* Percentiles that fall, or a histogram that cannot be read, are found before a run. */
static int check_shape(const struct net_delay *d, const struct yaml_node *node,
		       struct field_ctx *ctx)
{
	struct net_params p = {.delay = *d};
	struct delay_table table = {0};
	struct err e = {0};

	if (d->latency_given || net_delay_table(&p, &table, &e) == 0)
		return 0;
	return field_error(ctx, node, d->histogram_from ? "histogramFrom" : "percentiles", "%s", e.text);
}

static int check_delay(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct net_delay *d = obj;
	int shapes = d->latency_given + (d->percentiles.n > 0) + (d->histogram_from != NULL);

	if (shapes > 1)
		return field_error(ctx, node, NULL,
				   "latency, percentiles and histogramFrom exclude each other");
	if (shapes && !d->latency_given && d->jitter_ns)
		return field_error(ctx, node, "jitter",
				   "only goes with latency: a distribution has its own spread");
	if (d->latency_given && d->jitter_ns > d->latency_ns)
		field_warn(ctx, node, "jitter",
			   "is larger than latency: what would be sent before its time is sent at once");
	return shapes ? check_shape(d, node, ctx) : 0;
}

static const struct schema delay_schema = {
	.name = "delay",
	.doc = "Packets arrive later.",
	.size = sizeof(struct net_delay),
	.fields = delay_fields,
	.n_fields = ARRAY_SIZE(delay_fields),
	.check = check_delay,
};

#define CHANCE_SCHEMA(word, what)                                                                  \
	static const struct field word##_fields[] = {                                              \
		{.name = #word, .type = FIELD_PERCENT, .offset = offsetof(struct net_chance, ppm), \
		 .required = true, .example = "20", .doc = "Percentage of packets that are " what}, \
		CORRELATION(struct net_chance),                                                    \
	};                                                                                         \
	static const struct schema word##_schema = {                                               \
		.name = #word,                                                                     \
		.doc = "Packets are " what,                                                        \
		.size = sizeof(struct net_chance),                                                 \
		.fields = word##_fields,                                                           \
		.n_fields = ARRAY_SIZE(word##_fields),                                             \
	}

CHANCE_SCHEMA(loss, "lost.");
CHANCE_SCHEMA(duplicate, "sent twice.");
CHANCE_SCHEMA(corrupt, "damaged by a flipped bit.");

static const struct field rate_fields[] = {
	{.name = "rate", .type = FIELD_RATE, .offset = offsetof(struct net_rate, rate_Bps),
	 .required = true, .example = "1mbit", .has_range = true, .min = 0, .max = INT64_MAX,
	 .doc = "bit, kbit, mbit, gbit and tbit per second; bps, kbps, mbps, gbps and tbps are "
		"bytes per second."},
};

static const struct schema rate_schema = {
	.name = "rate",
	.doc = "Packets pass at a limited rate, with buffers sized by it.",
	.size = sizeof(struct net_rate),
	.fields = rate_fields,
	.n_fields = ARRAY_SIZE(rate_fields),
};

static int parse_peakrate(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct err e = {0};
	int64_t bits;

	if (node->kind != YAML_SCALAR)
		return field_error(ctx, node, NULL, "want bits per second, or a rate (\"2mbit\")");
	if (units_parse_int(node->text, &bits, NULL) == 0 && bits >= 0) {
		*(uint64_t *)storage = (uint64_t)bits / 8;
		return 0;
	}
	if (units_parse_rate(node->text, storage, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	return 0;
}

static const struct field bandwidth_fields[] = {
	{.name = "rate", .type = FIELD_RATE, .offset = offsetof(struct net_bandwidth, rate_Bps),
	 .required = true, .example = "1mbit", .has_range = true, .min = 0, .max = INT64_MAX,
	 .doc = "As in rate: bit, kbit, ... per second; bps, kbps, ... are bytes per second."},
	{.name = "limit", .type = FIELD_INT, .offset = offsetof(struct net_bandwidth, limit_bytes),
	 .required = true, .has_range = true, .min = 1, .max = UINT32_MAX, .example = "65536",
	 .doc = "Bytes that may wait for tokens; what comes beyond is lost."},
	{.name = "buffer", .type = FIELD_INT,
	 .offset = offsetof(struct net_bandwidth, buffer_bytes), .required = true,
	 .has_range = true, .min = 1, .max = UINT32_MAX, .example = "32768",
	 .doc = "Bytes that may pass at once: the bucket's size. Packets larger than this are "
		"lost."},
	{.name = "peakrate", .type = FIELD_CUSTOM, .parse = parse_peakrate,
	 .offset = offsetof(struct net_bandwidth, peak_Bps), .example = "2000000",
	 .doc = "How fast the bucket may be emptied: a whole number of bits per second, as tc takes "
		"it, or a rate as above."},
	{.name = "minburst", .type = FIELD_INT,
	 .offset = offsetof(struct net_bandwidth, min_burst_bytes), .has_range = true, .min = 0,
	 .max = UINT32_MAX, .doc = "Size of the bucket for peakrate, in bytes; the MTU at least."},
};

/* As in Chaos Mesh, one of the two without the other is not looked at. */
static int check_bandwidth(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	struct net_bandwidth *b = (struct net_bandwidth *)obj;
	bool both = b->peak_Bps && b->min_burst_bytes;

	if (b->peak_Bps && !both)
		field_warn(ctx, node, "peakrate", "needs minburst: without it, it is ignored");
	if (b->min_burst_bytes && !both)
		field_warn(ctx, node, "minburst", "only goes with peakrate: it is ignored");
	if (!both)
		b->peak_Bps = 0, b->min_burst_bytes = 0;
	if (both && b->peak_Bps <= b->rate_Bps)
		field_warn(ctx, node, "peakrate", "is not larger than rate: the kernel will refuse it");
	return 0;
}

static const struct schema bandwidth_schema = {
	.name = "bandwidth",
	.doc = "Packets pass through a token bucket.",
	.size = sizeof(struct net_bandwidth),
	.fields = bandwidth_fields,
	.n_fields = ARRAY_SIZE(bandwidth_fields),
	.check = check_bandwidth,
};

static const struct field fields[] = {
	FAULT_COMMON_FIELDS,
	{.name = "action", .type = FIELD_ENUM, .names = action_names, .required = true,
	 .offset = offsetof(struct net_params, action), .example = "delay",
	 .doc = "What happens to packets; netem is any of delay, loss, duplicate, corrupt and rate "
		"together."},
	{.name = "direction", .type = FIELD_ENUM, .names = direction_names, .deflt = "to",
	 .offset = offsetof(struct net_params, direction),
	 .doc = "to: what the targets send; from: what they receive; both: each way on its own, so "
		"that a delay adds twice to a round trip."},
	{.name = "target", .type = FIELD_OBJECT, .sub = &selection_schema,
	 .offset = offsetof(struct net_params, target),
	 .present_offset = offsetof(struct net_params, target_given),
	 .doc = "Only traffic between the chosen targets and these."},
	{.name = "externalTargets", .type = FIELD_STRINGS,
	 .offset = offsetof(struct net_params, external_targets),
	 .example = "[\"10.1.0.0/16\", \"example.org:443\"]",
	 .doc = "Only traffic with these addresses, CIDRs or names, each with an optional :port. "
		"Names are looked up again while the fault runs."},
	{.name = "device", .type = FIELD_STRING, .offset = offsetof(struct net_params, device),
	 .example = "eth0",
	 .doc = "The targets' network device; left out: every one but loopback."},
	{.name = "targetDevice", .type = FIELD_STRING,
	 .offset = offsetof(struct net_params, target_device), .example = "eth0",
	 .doc = "Of `target`, only the addresses of this device count."},
	{.name = "protocol", .type = FIELD_ENUM, .names = protocol_names, .deflt = "any",
	 .offset = offsetof(struct net_params, protocol),
	 .doc = "Only packets of this protocol."},
	{.name = "delay", .type = FIELD_OBJECT, .sub = &delay_schema,
	 .offset = offsetof(struct net_params, delay),
	 .present_offset = offsetof(struct net_params, delay.given), .in_template = true,
	 .doc = "For action delay or netem."},
	{.name = "loss", .type = FIELD_OBJECT, .sub = &loss_schema,
	 .offset = offsetof(struct net_params, loss),
	 .present_offset = offsetof(struct net_params, loss.given),
	 .doc = "For action loss or netem."},
	{.name = "duplicate", .type = FIELD_OBJECT, .sub = &duplicate_schema,
	 .offset = offsetof(struct net_params, duplicate),
	 .present_offset = offsetof(struct net_params, duplicate.given),
	 .doc = "For action duplicate or netem."},
	{.name = "corrupt", .type = FIELD_OBJECT, .sub = &corrupt_schema,
	 .offset = offsetof(struct net_params, corrupt),
	 .present_offset = offsetof(struct net_params, corrupt.given),
	 .doc = "For action corrupt or netem."},
	{.name = "rate", .type = FIELD_OBJECT, .sub = &rate_schema,
	 .offset = offsetof(struct net_params, rate),
	 .present_offset = offsetof(struct net_params, rate.given),
	 .doc = "For action rate or netem."},
	{.name = "bandwidth", .type = FIELD_OBJECT, .sub = &bandwidth_schema,
	 .offset = offsetof(struct net_params, bandwidth),
	 .present_offset = offsetof(struct net_params, bandwidth.given),
	 .doc = "For action bandwidth."},
};

/* Which object each action reads, by its bit. */
enum { HAS_DELAY = 1, HAS_LOSS = 2, HAS_DUPLICATE = 4, HAS_CORRUPT = 8, HAS_RATE = 16,
       HAS_BANDWIDTH = 32 };

static const struct {
	const char *name;
	unsigned bit;
} objects[] = {
	{"bandwidth", HAS_BANDWIDTH}, {"corrupt", HAS_CORRUPT}, {"delay", HAS_DELAY},
	{"duplicate", HAS_DUPLICATE}, {"loss", HAS_LOSS},       {"rate", HAS_RATE},
};

enum { HAS_NETEM = HAS_DELAY | HAS_LOSS | HAS_DUPLICATE | HAS_CORRUPT | HAS_RATE };

/* What Chaos Mesh looks at: all that netem can do, whichever of its actions is named. */
static unsigned allowed_objects(const struct net_params *p)
{
	return p->action == NET_PARTITION ? 0 : p->action == NET_BANDWIDTH ? HAS_BANDWIDTH : HAS_NETEM;
}

static unsigned given_objects(const struct net_params *p)
{
	return (p->delay.given ? HAS_DELAY : 0) | (p->loss.given ? HAS_LOSS : 0) |
	       (p->duplicate.given ? HAS_DUPLICATE : 0) | (p->corrupt.given ? HAS_CORRUPT : 0) |
	       (p->rate.given ? HAS_RATE : 0) | (p->bandwidth.given ? HAS_BANDWIDTH : 0);
}

static void forget_object(struct net_params *p, unsigned bit)
{
	bool *const given[] = {&p->bandwidth.given, &p->corrupt.given, &p->delay.given,
			       &p->duplicate.given, &p->loss.given, &p->rate.given};

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		if (objects[i].bit == bit)
			*given[i] = false;
}

/* Blocks that stand there beside the action's own: netem's are applied together, others are not
 * looked at. Afterwards what is .given counts, and the action is netem if it is more than one. */
static void settle_objects(struct net_params *p, const struct yaml_node *node, struct field_ctx *ctx)
{
	unsigned given = given_objects(p), may = allowed_objects(p);
	const char *action = action_names[p->action];
	bool more = false;

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		if (!(given & objects[i].bit) || streq(objects[i].name, action))
			continue;
		if (!(may & objects[i].bit)) {
			field_warn(ctx, node, objects[i].name, "has no meaning for action %s: it is "
				   "ignored, as in Chaos Mesh", action);
			forget_object(p, objects[i].bit);
		} else if (p->action != NET_NETEM) {
			field_warn(ctx, node, objects[i].name, "is applied too, as in Chaos Mesh, though "
				   "the action is %s (action netem says so)", action);
			more = true;
		}
	}
	if (more)
		p->action = NET_NETEM;
}

static bool delays_nothing(const struct net_delay *d)
{
	return d->given && !d->latency_ns && !d->jitter_ns && !d->percentiles.n && !d->histogram_from;
}

/* A part that is there and asks for nothing. */
static unsigned idle_objects(const struct net_params *p)
{
	return (delays_nothing(&p->delay) ? HAS_DELAY : 0) |
	       (p->loss.given && !p->loss.ppm ? HAS_LOSS : 0) |
	       (p->duplicate.given && !p->duplicate.ppm ? HAS_DUPLICATE : 0) |
	       (p->corrupt.given && !p->corrupt.ppm ? HAS_CORRUPT : 0) |
	       (p->rate.given && !p->rate.rate_Bps ? HAS_RATE : 0) |
	       (p->bandwidth.given && !p->bandwidth.rate_Bps ? HAS_BANDWIDTH : 0);
}

/* Why nothing at all can come of it; NULL when something can. Chaos Mesh takes such a manifest, so
 * it is valid, and a run refuses it. */
static const char *idle_reason(const struct net_params *p)
{
	unsigned given = given_objects(p) & allowed_objects(p);

	if (p->action == NET_PARTITION)
		return NULL;
	if (!given)
		return "what is to happen to a packet is not said (delay, loss, ... or bandwidth)";
	if (given == (given & idle_objects(p)))
		return given & (given - 1) ? "every part is 0: nothing would happen to a packet"
					   : "0 would do nothing to a packet";
	return NULL;
}

static const char *peak_reason(const struct net_params *p)
{
	const struct net_bandwidth *b = &p->bandwidth;

	return p->action == NET_BANDWIDTH && b->peak_Bps && b->peak_Bps <= b->rate_Bps
		       ? "bandwidth.peakrate must be larger than rate"
		       : NULL;
}

int net_refuse(const struct net_params *p, struct err *e)
{
	const char *why = idle_reason(p) ? idle_reason(p) : peak_reason(p);

	if (why)
		return err_set(e, EINVAL, "%s", why);
	if (p->device && streq(p->device, "lo"))
		return err_set(e, EINVAL, "device lo: traffic on loopback is untouched");
	return 0;
}

static void check_does_something(const struct net_params *p, const struct yaml_node *node,
				 struct field_ctx *ctx)
{
	const char *why = idle_reason(p), *action = action_names[p->action];
	autofree char *place = p->action == NET_NETEM	    ? NULL
			       : p->action == NET_DELAY     ? xstrdup("delay.latency")
			       : p->action == NET_BANDWIDTH ? xstrdup("bandwidth.rate")
							    : xasprintf("%s.%s", action, action);

	if (why)
		field_warn(ctx, node, place, "%s; a run will refuse it", why);
}

/* "eth0@if5", as ip shows it, is eth0. The kernel's IFNAMSIZ bounds a name. */
static void check_device(char *device, const char *field, const struct yaml_node *node,
			 struct field_ctx *ctx)
{
	char *at = device ? strchr(device, '@') : NULL;

	if (at)
		*at = '\0';
	if (!device)
		return;
	if (!*device || strlen(device) > 15 || strpbrk(device, "/: \t\n"))
		field_warn(ctx, node, field, "\"%s\" is not the name of a network device (1 to 15 "
			   "characters without blanks, '/' and ':'): no target will have it", device);
	else if (streq(device, "lo"))
		field_warn(ctx, node, field, "traffic on loopback is untouched: name another device, or "
			   "leave it out");
}

static void peer_warning(struct field_ctx *ctx, const struct yaml_node *node, size_t i,
			 const char *text)
{
	size_t mark = field_enter(ctx, "externalTargets");

	field_enter_item(ctx, i);
	field_warn(ctx, node, NULL, "%s; a run will refuse it", text);
	field_leave(ctx, mark);
}

static int check_peers(const struct net_params *p, const struct yaml_node *node,
		       struct field_ctx *ctx)
{
	const struct yaml_node *list = yaml_get(node, "externalTargets");
	int r = 0;

	for (size_t i = 0; i < p->external_targets.n; i++) {
		autofree char *name = NULL;
		struct err e = {0};
		struct peer peer;

		if (peer_parse(p->external_targets.items[i], &peer, &name, &e) < 0)
			peer_warning(ctx, list && i < list->n ? list->items[i] : node, i, e.text);
		else if (peer.port && p->protocol == NET_ICMP)
			r = field_error(ctx, node, "externalTargets", "\"%s\": protocol icmp has no ports",
					p->external_targets.items[i]);
	}
	if (p->target_device && !p->target_given)
		field_warn(ctx, node, "targetDevice", "only goes with target: it is ignored");
	return r;
}

static int check(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	struct net_params *p = (struct net_params *)obj;

	settle_objects(p, node, ctx);
	check_does_something(p, node, ctx);
	check_device(p->device, "device", node, ctx);
	check_device(p->target_device, "targetDevice", node, ctx);
	return check_peers(p, node, ctx);
}

const struct schema net_schema = {
	.name = "NetworkChaos",
	.doc = "Delays, loses, damages or limits the packets of its targets, in the directions and "
	       "with the peers that are given. ARP and IPv6 neighbour discovery always pass; "
	       "traffic on loopback is untouched. Faults that overlap on a target add up, each in "
	       "its own time: a packet meets all their losses first, then each one's delay, "
	       "duplication, damage and rate in turn.",
	.size = sizeof(struct net_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check,
};
