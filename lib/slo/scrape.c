/*
 * Each target is asked at its own address through a socket made in its own network namespace: the
 * packets stay on its loopback device, where no fault of ours is, so that a delayed or partitioned
 * target still tells what it counted.
 *
 * One round asks every target that is not still busy with its last answer; it ends with the last
 * answer, or when the next round is due. Every target that was ever asked is due in every round
 * after, also when its source has forgotten it. A round without an answer is settled when the next
 * one begins, because the target's source may take a moment to say that it is down.
 */
#include "scrape.h"

#include "../base/clock.h"
#include "../client/http.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { PORT_DEFAULT = 8080 };

struct scraped {
	struct scrape *owner;
	char *ns, *name;
	char *url;
	struct http_call *call; /* of the answer that is awaited */
	int64_t started_ns;	/* of the target's process when it was asked */
	bool asked;		/* in this round */
	bool answered;		/* in this round */
	int64_t *owed;		/* due times of the rounds that are not settled, oldest first */
	size_t n_owed;
	double stamp;
};

struct scrape {
	struct indicator *indicator;
	const struct scrape_params *params;
	const struct scrape_ops *ops;
	void *data;
	struct http_client *client;
	sd_event_source *timer;
	int64_t start_ns;
	uint64_t rounds; /* number of the next one */
	struct scraped **targets;
	size_t n_targets;
	/* of this round */
	int64_t due_ns;
	size_t awaited, answered;
	bool open;
	uint64_t failures[HTTP_OUTCOME_MAX], bad_status, bad_pages, missing;
	char last_error[200];
};

static enum round missed(const struct scraped *t)
{
	return slo_is_down(t->owner->indicator->env, t->ns, t->name) ? ROUND_DOWN : ROUND_SILENT;
}

/* The oldest n of what the target owes. */
static void settle(struct scraped *t, size_t n, enum round r)
{
	struct slo *slo = t->owner->indicator->slo;
	autofree char *id = xasprintf("%s/%s", t->ns, t->name);

	for (size_t i = 0; i < n; i++)
		slo_round(slo, id, t->owed[i], r);
	t->n_owed -= n;
	memmove(t->owed, t->owed + n, t->n_owed * sizeof t->owed[0]);
}

/* What came in time answers its round. What came late makes up for all of them, or for none. */
static void settle_answered(struct scraped *t)
{
	bool makes_up = t->owner->ops->makes_up(t->owner->data);

	if (!makes_up)
		settle(t, t->n_owed - (t->asked && t->n_owed), ROUND_SILENT);
	settle(t, t->n_owed, ROUND_ANSWERED);
}

static void end_round(struct scrape *m)
{
	struct scrape_round r = {.answered = m->answered};

	for (size_t i = 0; i < m->n_targets; i++)
		r.lacking += !m->targets[i]->answered && missed(m->targets[i]) == ROUND_SILENT;
	m->open = false;
	m->ops->end(m->data, &r);
}

static void read_sample(void *data, const struct openmetrics_sample *s)
{
	struct scrape *m = data;

	m->ops->sample(m->data, s);
}

static void take_page(struct scrape *m, struct scraped *t, const struct http_response *r)
{
	autofree char *page = xstrndup(r->body, r->body_len), *id = xasprintf("%s/%s", t->ns, t->name);
	struct scrape_page about = {.target = id, .in_round = t->asked, .started_ns = t->started_ns,
				    .stamp = &t->stamp};
	struct err e = {0};
	char why[160];

	m->ops->begin_page(m->data);
	if (openmetrics_parse(page, strlen(page), read_sample, m, &e) < 0) {
		m->bad_pages++;
		snprintf(m->last_error, sizeof m->last_error, "%s: %s", t->name, e.text);
		return;
	}
	if (!m->ops->end_page(m->data, &about, why, sizeof why)) {
		m->missing++;
		snprintf(m->last_error, sizeof m->last_error, "%s: %s", t->name, why);
		return;
	}
	t->answered = t->asked;
	m->answered += t->asked;
	settle_answered(t);
}

static void on_page(void *data, const struct http_response *r)
{
	struct scraped *t = data;
	struct scrape *m = t->owner;

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

static struct scraped *scraped_of(struct scrape *m, const struct target *t)
{
	struct scraped *s;

	for (size_t i = 0; i < m->n_targets; i++)
		if (streq(m->targets[i]->ns, t->ns) && streq(m->targets[i]->name, t->name))
			return m->targets[i];
	s = xcalloc(1, sizeof *s);
	*s = (struct scraped){.owner = m, .ns = xstrdup(t->ns), .name = xstrdup(t->name)};
	*array_push(m->targets, m->n_targets) = s;
	*array_push(s->owed, s->n_owed) = m->due_ns;
	return s;
}

static int64_t port_of(const struct scrape *m, const struct target *t)
{
	const char *annotation = kvs_get(&t->annotations, "prometheus.io/port");

	if (m->params->port)
		return m->params->port;
	return annotation && atoi(annotation) > 0 ? atoi(annotation) : PORT_DEFAULT;
}

static void set_url(struct scrape *m, struct scraped *s, const struct target *t)
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

static void ask(struct scrape *m, const struct target *t)
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

static int64_t due_at(const struct scrape *m, uint64_t round)
{
	return m->start_ns + (int64_t)round * m->params->interval_ns;
}

/* The answers that did not come. */
static void settle_missed(struct scrape *m)
{
	for (size_t i = 0; i < m->n_targets; i++)
		if (!m->targets[i]->call)
			settle(m->targets[i], m->targets[i]->n_owed, missed(m->targets[i]));
}

/* Rounds that a stalled loop has left out were due all the same. */
static void skip_rounds(struct scrape *m, uint64_t until)
{
	for (; m->rounds < until; m->rounds++)
		for (size_t i = 0; i < m->n_targets; i++) {
			struct scraped *t = m->targets[i];

			*array_push(t->owed, t->n_owed) = due_at(m, m->rounds);
		}
	settle_missed(m);
}

static void ask_all(struct scrape *m)
{
	const struct slo_env *env = m->indicator->env;
	const struct target_list *all = env->targets(env->data);

	for (size_t i = 0; i < all->n; i++)
		if (selector_matches(&m->params->selector, all->items[i]))
			ask(m, all->items[i]);
}

static void begin_round(struct scrape *m)
{
	m->due_ns = due_at(m, m->rounds++);
	m->awaited = m->answered = 0;
	for (size_t i = 0; i < m->n_targets; i++) {
		struct scraped *t = m->targets[i];

		t->asked = t->answered = false;
		*array_push(t->owed, t->n_owed) = m->due_ns;
	}
	m->ops->begin(m->data);
	m->open = true;
	ask_all(m);
	if (!m->awaited)
		end_round(m);
}

static int on_due(sd_event_source *src, uint64_t usec, void *data)
{
	struct scrape *m = data;
	uint64_t round = (uint64_t)((clock_now_ns() - m->start_ns) / m->params->interval_ns);

	if (m->open)
		end_round(m);
	settle_missed(m);
	skip_rounds(m, round);
	begin_round(m);
	sd_event_source_set_time(src, (uint64_t)due_at(m, m->rounds) / NSEC_PER_USEC);
	return 0;
}

int scrape_start(struct indicator *i, const struct scrape_params *p, const struct scrape_ops *ops,
		 void *data, struct scrape **ret, struct err *e)
{
	struct scrape *m = xcalloc(1, sizeof *m);
	int r;

	*m = (struct scrape){.indicator = i, .params = p, .ops = ops, .data = data,
			     .start_ns = clock_now_ns()};
	*ret = m;
	if ((r = http_client_new(i->env->loop, &m->client, e)) < 0)
		return r;
	r = sd_event_add_time(i->env->loop, &m->timer, CLOCK_MONOTONIC,
			      (uint64_t)m->start_ns / NSEC_PER_USEC, 1, on_due, m);
	if (r < 0)
		return err_errno(e, -r, "timer");
	sd_event_source_set_enabled(m->timer, SD_EVENT_ON);
	return 0;
}

int64_t scrape_start_ns(const struct scrape *m)
{
	return m->start_ns;
}

/* What is due for less than an interval may still be answered: nobody waits for it. */
static void settle_at_end(struct scrape *m)
{
	int64_t last_ns = clock_now_ns() - m->params->interval_ns;

	if (last_ns > m->start_ns)
		skip_rounds(m, (uint64_t)((last_ns - m->start_ns) / m->params->interval_ns) + 1);
	for (size_t i = 0; i < m->n_targets; i++) {
		struct scraped *t = m->targets[i];
		size_t n = 0;

		while (n < t->n_owed && t->owed[n] <= last_ns)
			n++;
		settle(t, n, missed(t));
	}
}

void scrape_stop(struct scrape *m)
{
	if (m->timer)
		settle_at_end(m);
	m->timer = sd_event_source_disable_unref(m->timer);
	http_client_free(take(m->client));
}

void scrape_free(struct scrape *m)
{
	if (!m)
		return;
	scrape_stop(m);
	for (size_t k = 0; k < m->n_targets; k++) {
		free(m->targets[k]->ns);
		free(m->targets[k]->name);
		free(m->targets[k]->url);
		free(m->targets[k]->owed);
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

json_t *scrape_report(const struct scrape *m)
{
	json_t *o = json_object(), *errors = json_object();

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
	return o;
}

double scrape_rate(const struct scrape_params *p)
{
	return (double)NSEC_PER_SEC / (double)p->interval_ns;
}

int scrape_check(const struct scrape_params *p, const struct yaml_node *node, struct field_ctx *ctx)
{
	if (p->path[0] == '/')
		return 0;
	return field_error(ctx, node, "path", "\"%s\" is not a path (want /metrics)", p->path);
}
