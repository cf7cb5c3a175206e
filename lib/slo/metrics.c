/*
 * metrics - what the targets say about themselves at /metrics
 *
 * Each target is asked at its own address through a socket made in its own network namespace: the
 * packets stay on its loopback device, where no fault of ours is, so that a delayed or partitioned
 * target still tells what it counted.
 *
 * One round asks every target that is not still busy with its last answer; it ends with the last
 * answer, or when the next round is due, and gives one sample. A target that does not answer is
 * left out: its counters are made up for later, its gauges are missing from that sample.
 */
#include "openmetrics.h"
#include "slo.h"
#include "tally.h"

#include "../base/clock.h"
#include "../client/http.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <math.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { PORT_DEFAULT = 8080 };

struct ratio_params {
	char *bad, *total;
};

struct metrics_params {
	struct selector selector;
	int64_t port;
	char *path;
	char *value;
	struct ratio_params ratio;
	int64_t interval_ns, timeout_ns;
};

static int check_selector(const char *text, const char *field, const struct yaml_node *node,
			  struct field_ctx *ctx)
{
	struct openmetrics_selector sel;
	struct err e = {0};

	if (!text)
		return 0;
	if (openmetrics_selector_parse(text, &sel, &e) < 0)
		return field_error(ctx, node, field, "%s", e.text);
	openmetrics_selector_done(&sel);
	return 0;
}

static int check_metrics(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct metrics_params *p = obj;
	int ret = 0;

	if (!p->value == !p->ratio.bad)
		return field_error(ctx, node, NULL, "want either value or ratio");
	if (check_selector(p->value, "value", node, ctx) < 0 ||
	    check_selector(p->ratio.bad, "ratio.bad", node, ctx) < 0 ||
	    check_selector(p->ratio.total, "ratio.total", node, ctx) < 0)
		ret = -EINVAL;
	if (p->path[0] != '/')
		ret = field_error(ctx, node, "path", "\"%s\" is not a path (want /metrics)", p->path);
	return ret;
}

static enum sample_type metrics_yields(const void *params)
{
	const struct metrics_params *p = params;

	return p->value ? SAMPLE_VALUE : SAMPLE_RATIO;
}

/* The metrics that are read: value, or bad and total. */
enum { VALUE = 0, BAD = 0, TOTAL = 1, METRICS_MAX = 2 };

/* What one page says of each metric. */
struct reading {
	double sum[METRICS_MAX];
	bool found[METRICS_MAX], counter[METRICS_MAX];
};

struct scraped {
	struct metrics *owner;
	char *ns, *name;
	char *url;
	struct http_call *call; /* of the answer that is awaited */
	int64_t started_ns;	/* of the target's process when it was asked */
	bool asked;		/* in this round */
};

struct metrics {
	struct indicator *indicator;
	const struct metrics_params *params;
	struct http_client *client;
	sd_event_source *timer;
	int64_t start_ns;
	uint64_t rounds;
	struct openmetrics_selector selectors[METRICS_MAX];
	size_t n_selectors;
	struct scraped **targets;
	size_t n_targets;
	struct tally tallies[METRICS_MAX];
	/* of this round */
	size_t awaited, answered;
	double gauge, bad, total;
	bool counter, open;
	uint64_t failures[HTTP_OUTCOME_MAX], bad_status, bad_pages, missing;
	char last_error[200];
};

static void read_sample(void *data, const struct openmetrics_sample *s)
{
	void **args = data;
	const struct metrics *m = args[0];
	struct reading *r = args[1];

	for (size_t k = 0; k < m->n_selectors; k++)
		if (openmetrics_selector_matches(&m->selectors[k], s) && !isnan(s->value)) {
			r->sum[k] += s->value;
			r->found[k] = true;
			r->counter[k] |= s->counter;
		}
}

static void count(struct metrics *m, const struct scraped *t, const struct reading *r)
{
	autofree char *id = xasprintf("%s/%s", t->ns, t->name);

	if (m->params->value) {
		m->counter |= r->counter[VALUE];
		if (r->counter[VALUE])
			tally_add(&m->tallies[VALUE], id, t->started_ns, r->sum[VALUE]);
		if (t->asked) /* else it is the answer to an earlier round */
			m->gauge += r->sum[VALUE];
		return;
	}
	/* A counter that has no series yet has counted nothing. */
	m->bad += tally_add(&m->tallies[BAD], id, t->started_ns, r->sum[BAD]);
	m->total += tally_add(&m->tallies[TOTAL], id, t->started_ns, r->sum[TOTAL]);
}

static void end_round(struct metrics *m)
{
	struct sample s = {.type = m->params->value ? SAMPLE_VALUE : SAMPLE_RATIO,
			   .at_ns = clock_now_ns()};

	m->open = false;
	s.ok = m->answered > 0;
	s.value = m->counter ? m->tallies[VALUE].sum : m->gauge;
	s.bad = m->bad;
	s.total = m->total;
	if (s.type == SAMPLE_VALUE || s.ok)
		slo_sample(m->indicator->slo, &s);
	m->bad = m->total = 0;
}

static void take_page(struct metrics *m, struct scraped *t, const struct http_response *r)
{
	autofree char *page = xstrndup(r->body, r->body_len);
	struct reading reading = {0};
	void *args[] = {m, &reading};
	struct err e = {0};
	/* The metric that must be there: an absent counter of bad things has counted none. */
	size_t must = m->params->value ? VALUE : TOTAL;

	if (openmetrics_parse(page, strlen(page), read_sample, args, &e) < 0) {
		m->bad_pages++;
		snprintf(m->last_error, sizeof m->last_error, "%s: %s", t->name, e.text);
	} else if (!reading.found[must]) {
		m->missing++;
		snprintf(m->last_error, sizeof m->last_error, "%s: no series of %s", t->name,
			 m->selectors[must].name);
	} else {
		count(m, t, &reading);
		m->answered += t->asked;
	}
}

static void on_page(void *data, const struct http_response *r)
{
	struct scraped *t = data;
	struct metrics *m = t->owner;

	t->call = NULL;
	if (r->outcome != HTTP_OK) {
		m->failures[r->outcome]++;
		snprintf(m->last_error, sizeof m->last_error, "%s: %s", t->name, r->text);
	} else if (r->status != 200) {
		m->bad_status++;
		snprintf(m->last_error, sizeof m->last_error, "%s: status %d", t->name, r->status);
	} else {
		take_page(m, t, r);
	}
	if (t->asked && m->open && --m->awaited == 0)
		end_round(m);
}

static int open_socket(void *data, int domain, int type, int protocol)
{
	const struct scraped *t = data;
	const struct slo_env *env = t->owner->indicator->env;
	const struct target *target = target_list_find(env->targets(env->data), t->ns, t->name);
	int fd;

	if (!target || !target->phase[0])
		return -ENETDOWN;
	if (target->netns_fd >= 0)
		return broker_socket(env->broker, target->netns_fd, domain, type, protocol, NULL);
	fd = socket(domain, type, protocol);
	return fd < 0 ? -errno : fd;
}

static struct scraped *scraped_of(struct metrics *m, const struct target *t)
{
	struct scraped *s;

	for (size_t i = 0; i < m->n_targets; i++)
		if (streq(m->targets[i]->ns, t->ns) && streq(m->targets[i]->name, t->name))
			return m->targets[i];
	s = xcalloc(1, sizeof *s);
	*s = (struct scraped){.owner = m, .ns = xstrdup(t->ns), .name = xstrdup(t->name)};
	*array_push(m->targets, m->n_targets) = s;
	return s;
}

static int64_t port_of(const struct metrics *m, const struct target *t)
{
	const char *annotation = kvs_get(&t->annotations, "prometheus.io/port");

	if (m->params->port)
		return m->params->port;
	return annotation && atoi(annotation) > 0 ? atoi(annotation) : PORT_DEFAULT;
}

static void set_url(struct metrics *m, struct scraped *s, const struct target *t)
{
	const char *address = t->addresses.n ? t->addresses.items[0] : "127.0.0.1";
	bool v6 = strchr(address, ':');

	free(s->url);
	s->url = xasprintf("http://%s%s%s:%lld%s", v6 ? "[" : "", address, v6 ? "]" : "",
			   (long long)port_of(m, t), m->params->path);
}

static int64_t started_at(const struct target *t)
{
	int64_t ret = 0;

	for (size_t i = 0; i < t->n_containers; i++)
		ret = MAX_OF(ret, t->containers[i].started_ns);
	return ret;
}

static void ask(struct metrics *m, const struct target *t)
{
	struct scraped *s = scraped_of(m, t);
	struct http_request r = {
		.timeout_ns = m->params->timeout_ns,
		.max_body = OPENMETRICS_BYTES_MAX,
		.open_socket = open_socket,
		.socket_data = s,
	};
	struct err e = {0};

	if (s->call)
		return;
	set_url(m, s, t);
	s->started_ns = started_at(t);
	r.url = s->url;
	if (http_send(m->client, &r, on_page, s, &s->call, &e) < 0) {
		m->failures[HTTP_OTHER]++;
		snprintf(m->last_error, sizeof m->last_error, "%s: %s", s->name, e.text);
		return;
	}
	s->asked = true;
	m->awaited++;
}

static void begin_round(struct metrics *m)
{
	const struct slo_env *env = m->indicator->env;
	const struct target_list *all = env->targets(env->data);

	for (size_t i = 0; i < m->n_targets; i++)
		m->targets[i]->asked = false;
	m->awaited = m->answered = 0;
	m->gauge = 0;
	m->open = true;
	for (size_t i = 0; i < all->n; i++)
		if (selector_matches(&m->params->selector, all->items[i]))
			ask(m, all->items[i]);
	if (!m->awaited)
		end_round(m);
}

static int on_due(sd_event_source *src, uint64_t usec, void *data)
{
	struct metrics *m = data;
	int64_t interval_ns = m->params->interval_ns, now_ns = clock_now_ns();

	if (m->open)
		end_round(m);
	begin_round(m);
	/* Rounds that a stalled loop missed are left out. */
	m->rounds = (uint64_t)((now_ns - m->start_ns) / interval_ns) + 1;
	sd_event_source_set_time(src, (uint64_t)(m->start_ns + (int64_t)m->rounds * interval_ns) /
					      NSEC_PER_USEC);
	return 0;
}

static int parse_selectors(struct metrics *m, struct err *e)
{
	const struct metrics_params *p = m->params;
	const char *texts[METRICS_MAX] = {p->value ? p->value : p->ratio.bad, p->ratio.total};

	for (size_t k = 0; k < METRICS_MAX && texts[k]; k++) {
		if (openmetrics_selector_parse(texts[k], &m->selectors[k], e) < 0)
			return -EINVAL;
		m->n_selectors++;
	}
	return 0;
}

static int metrics_start(struct indicator *i, struct err *e)
{
	struct metrics *m = xcalloc(1, sizeof *m);
	int r;

	i->state = m;
	m->indicator = i;
	m->params = i->params;
	m->start_ns = clock_now_ns();
	for (size_t k = 0; k < METRICS_MAX; k++)
		m->tallies[k].born_ns = m->start_ns;
	if ((r = parse_selectors(m, e)) < 0 ||
	    (r = http_client_new(i->env->loop, &m->client, e)) < 0)
		return r;
	r = sd_event_add_time(i->env->loop, &m->timer, CLOCK_MONOTONIC,
			      (uint64_t)m->start_ns / NSEC_PER_USEC, 1, on_due, m);
	if (r < 0)
		return err_errno(e, -r, "timer");
	sd_event_source_set_enabled(m->timer, SD_EVENT_ON);
	return 0;
}

static void metrics_stop(struct indicator *i)
{
	struct metrics *m = i->state;

	m->timer = sd_event_source_disable_unref(m->timer);
	http_client_free(take(m->client));
}

static void metrics_free(struct indicator *i)
{
	struct metrics *m = take(i->state);

	if (!m)
		return;
	sd_event_source_disable_unref(m->timer);
	http_client_free(m->client);
	for (size_t k = 0; k < METRICS_MAX; k++) {
		openmetrics_selector_done(&m->selectors[k]);
		tally_done(&m->tallies[k]);
	}
	for (size_t k = 0; k < m->n_targets; k++) {
		free(m->targets[k]->ns);
		free(m->targets[k]->name);
		free(m->targets[k]->url);
		free(m->targets[k]);
	}
	free(m->targets);
	free(m);
}

static void add_count(json_t *o, const char *key, uint64_t n)
{
	if (n)
		json_object_set_new(o, key, json_integer((json_int_t)n));
}

static int metrics_report(struct indicator *i, json_t **ret)
{
	const struct metrics *m = i->state;
	json_t *o, *errors;

	if (!m)
		return 0;
	o = json_object();
	errors = json_object();
	for (size_t k = HTTP_OK + 1; k < HTTP_OUTCOME_MAX; k++)
		add_count(errors, http_outcome_name(k), m->failures[k]);
	add_count(errors, "status", m->bad_status);
	add_count(errors, "page", m->bad_pages);
	add_count(errors, "missing", m->missing);
	json_object_set_new(o, "rounds", json_integer((json_int_t)m->rounds));
	json_object_set_new(o, "targets", json_integer((json_int_t)m->n_targets));
	json_object_set_new(o, "errors", errors);
	if (m->last_error[0])
		json_object_set_new(o, "last_error", json_string(m->last_error));
	*ret = o;
	return 0;
}

static const struct field ratio_fields[] = {
	{.name = "bad", .type = FIELD_STRING, .offset = offsetof(struct ratio_params, bad),
	 .required = true, .example = "live_stalls_total",
	 .doc = "Counter of what should not happen; label matchers as in value."},
	{.name = "total", .type = FIELD_STRING, .offset = offsetof(struct ratio_params, total),
	 .required = true, .example = "live_segments_total", .doc = "Counter of everything."},
};

static const struct schema ratio_schema = {
	.name = "ratio",
	.doc = "The increase of one counter for each unit of another; may exceed 1 (CPU seconds per "
	       "request).",
	.size = sizeof(struct ratio_params),
	.fields = ratio_fields,
	.n_fields = ARRAY_SIZE(ratio_fields),
};

#define O(field) offsetof(struct metrics_params, field)
static const struct field fields[] = {
	{.name = "selector", .type = FIELD_OBJECT, .offset = O(selector), .sub = &selector_schema,
	 .doc = "The targets that are asked. Default: all."},
	{.name = "port", .type = FIELD_INT, .offset = O(port), .has_range = true,
	 .min = 1, .max = 65535,
	 .doc = "Port of the metrics page. Default: the target's annotation prometheus.io/port, else "
		"8080."},
	{.name = "path", .type = FIELD_STRING, .offset = O(path), .deflt = "/metrics",
	 .doc = "Path of the metrics page."},
	{.name = "value", .type = FIELD_STRING, .offset = O(value),
	 .example = "process_resident_memory_bytes",
	 .doc = "The metric, with label matchers if wanted (http_requests_total{code=~\"5..\"}), summed "
		"over its series and the targets. A counter counts from the start of the run: count is "
		"its increase in the window, rate the increase per second."},
	{.name = "ratio", .type = FIELD_OBJECT, .offset = O(ratio), .sub = &ratio_schema,
	 .doc = "bad and total: two counters."},
	{.name = "interval", .type = FIELD_DURATION, .offset = O(interval_ns), .deflt = "500ms",
	 .has_range = true, .min = 50 * NSEC_PER_MSEC, .max = 3600 * NSEC_PER_SEC,
	 .doc = "Time between two scrapes."},
	{.name = "timeout", .type = FIELD_DURATION, .offset = O(timeout_ns), .deflt = "2s",
	 .has_range = true, .min = NSEC_PER_MSEC, .max = 600 * NSEC_PER_SEC,
	 .doc = "A scrape without an answer after this time has failed."},
};
#undef O

static const struct schema metrics_schema = {
	.name = "metrics",
	.doc = "Scrapes OpenMetrics text from the targets themselves, each from inside its own network "
	       "namespace, so that the measurement does not suffer the fault.",
	.size = sizeof(struct metrics_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_metrics,
};

const struct indicator_type indicator_metrics = {
	.name = "metrics",
	.doc = "A metric, or the ratio of two counters, scraped from the targets.",
	.schema = &metrics_schema,
	.yields = metrics_yields,
	.start = metrics_start,
	.stop = metrics_stop,
	.report = metrics_report,
	.free = metrics_free,
};
