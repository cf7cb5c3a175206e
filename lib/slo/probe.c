/*
 * The clock is absolute: a late wake-up sends everything that was due, each with the intended
 * start it had. How late brunt itself was is in the report ("late_ms"), so that a stalled prober
 * is not taken for a slow service.
 */
#include "probe.h"

#include "../base/clock.h"
#include "../base/units.h"
#include "../kernel/broker.h"

#include <ctype.h>
#include <errno.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { RATE_MAX = 5000 }; /* 180 us of CPU a request on the reference machine */

/* One open request. */
struct shot {
	struct probe *probe;
	struct shot *next, *prev;
	struct http_call *call;
	int64_t intended_ns;
	int64_t lag_ns; /* how long after that it was sent */
};

struct probe {
	struct indicator *indicator;
	const struct probe_params *params;
	struct http_client *client;
	struct http_request request;
	bool (*good)(const void *params, int status);
	sd_event_source *timer;
	char host[256];
	int64_t start_ns;
	uint64_t next; /* number of the next request */
	char *hosts;   /* the text that addresses was made of; NULL: none yet */
	struct strlist addresses;
	uint64_t turn; /* of the addresses */
	struct shot *open;
	int64_t n_open, most_open;
	uint64_t outcomes[HTTP_OUTCOME_MAX], bad_status, overload, missed;
	int last_bad_status;
	char last_error[160];
	int64_t late_ns; /* the most that a request was sent after its time */
};

int probe_check(const struct probe_params *p, const struct yaml_node *node, struct field_ctx *ctx)
{
	if (p->rate > RATE_MAX)
		return field_error(ctx, node, "rate",
				   "%.0f/s is more than %d/s, the most that one prober keeps up with",
				   p->rate, RATE_MAX);
	return 0;
}

/* "" and ":PORT" may follow a host. */
static bool is_port(const char *s)
{
	char *end;
	long port;

	if (*s != ':')
		return true;
	if (!isdigit((unsigned char)s[1]))
		return false;
	port = strtol(s + 1, &end, 10);
	return port > 0 && port <= 65535 && (!*end || strchr("/?#", *end));
}

bool probe_host(const char *url, char *buf, size_t size)
{
	const char *p = strstr(url, "://"), *at;
	size_t len;

	p = p ? p + 3 : url;
	at = strpbrk(p, "@/?#");
	if (at && *at == '@')
		p = at + 1;
	if (*p == '[') {
		p++;
		len = strcspn(p, "]");
		if (p[len] != ']')
			return false;
	} else {
		len = strcspn(p, ":/?#");
	}
	if (!len || len >= size || strpbrk(url, " \t\r\n") || !is_port(p + len + (p[len] == ']')))
		return false;
	memcpy(buf, p, len);
	buf[len] = '\0';
	return true;
}

static void shot_free(struct shot *s)
{
	struct probe *p = s->probe;

	if (s->prev)
		s->prev->next = s->next;
	else
		p->open = s->next;
	if (s->next)
		s->next->prev = s->prev;
	p->n_open--;
	free(s);
}

static void tell(struct probe *p, int64_t intended_ns, int64_t lag_ns, bool ok, bool timed)
{
	int64_t now_ns = clock_now_ns();

	slo_sample(p->indicator->slo, &(struct sample){
					      .type = SAMPLE_LATENCY,
					      .ok = ok,
					      .at_ns = intended_ns,
					      .lag_ns = lag_ns,
					      .latency_ns = timed ? now_ns - intended_ns : -1,
					      .done_ns = now_ns,
				      });
}

static void on_answer(void *data, const struct http_response *r)
{
	struct shot *s = data;
	struct probe *p = s->probe;
	int64_t intended_ns = s->intended_ns, lag_ns = s->lag_ns;
	bool ok = r->outcome == HTTP_OK && (!p->good || p->good(p->indicator->params, r->status));

	p->outcomes[r->outcome]++;
	if (r->outcome != HTTP_OK) {
		snprintf(p->last_error, sizeof p->last_error, "%s", r->text);
	} else if (!ok) {
		p->bad_status++;
		p->last_bad_status = r->status;
	}
	shot_free(s);
	tell(p, intended_ns, lag_ns, ok, ok || r->outcome == HTTP_TIMEOUT);
}

static int open_socket(void *data, int domain, int type, int protocol)
{
	const struct slo_env *env = data;
	int netns_fd = env->vantage ? env->vantage->netns_fd : -1;
	int fd;

	if (netns_fd >= 0)
		return broker_socket(env->broker, netns_fd, domain, type, protocol, NULL);
	fd = socket(domain, type, protocol);
	return fd < 0 ? -errno : fd;
}

static void add_addresses(const char *list, bool v6, struct strlist *ret)
{
	autofree char *copy = xstrdup(list);
	char *save = NULL;

	for (char *a = strtok_r(copy, ", ", &save); a; a = strtok_r(NULL, ", ", &save))
		if (!strchr(a, ':') == !v6)
			strlist_add(ret, a);
}

/* The addresses that a client would try first. A lab's are unique local ones, and RFC 6724 puts IPv4
 * before those: a server that listens on 0.0.0.0 only is no half broken one. */
static void preferred_addresses(const char *list, struct strlist *ret)
{
	add_addresses(list, false, ret);
	if (!ret->n)
		add_addresses(list, true, ret);
}

/* The next address of the name among the vantage's hosts; NULL: not known there. */
static const char *next_address(struct probe *p)
{
	const struct vantage *v = p->indicator->env->vantage;
	const char *list = v ? kvs_get(&v->hosts, p->host) : NULL;

	if (!list || !*list)
		return NULL;
	if (!streq(list, p->hosts)) {
		free(take(p->hosts));
		strlist_done(&p->addresses);
		p->hosts = xstrdup(list);
		preferred_addresses(list, &p->addresses);
	}
	return p->addresses.n ? p->addresses.items[p->turn++ % p->addresses.n] : NULL;
}

/* The service has let too many of its answers wait: this one would have waited longest. */
static void refuse(struct probe *p, int64_t intended_ns, int64_t now_ns)
{
	p->overload++;
	slo_sample(p->indicator->slo, &(struct sample){
					      .type = SAMPLE_LATENCY,
					      .at_ns = intended_ns,
					      .latency_ns = -1,
					      .lag_ns = now_ns - intended_ns,
					      .unsent = true,
					      .done_ns = now_ns,
				      });
}

static void fire(struct probe *p, int64_t intended_ns, int64_t now_ns)
{
	struct http_request r = p->request;
	struct err e = {0};
	struct shot *s;

	p->late_ns = MAX_OF(p->late_ns, now_ns - intended_ns);
	slo_round(p->indicator->slo, SLO_PROBER, intended_ns,
		  now_ns - intended_ns < SLO_MISSED_NS ? ROUND_ANSWERED : ROUND_SILENT);
	if (p->n_open >= p->params->max_in_flight) {
		refuse(p, intended_ns, now_ns);
		return;
	}
	s = xcalloc(1, sizeof *s);
	*s = (struct shot){.probe = p, .intended_ns = intended_ns, .lag_ns = now_ns - intended_ns,
			   .next = p->open};
	if (s->next)
		s->next->prev = s;
	p->open = s;
	p->n_open++;
	p->most_open = MAX_OF(p->most_open, p->n_open);
	r.connect_to = next_address(p);
	/* Brunt's own lag is not the service's: a late request has its whole time. */
	r.timeout_ns = p->params->timeout_ns - (s->lag_ns < SLO_LATE_NS ? s->lag_ns : 0);
	r.timeout_ns = MAX_OF(r.timeout_ns, NSEC_PER_MSEC);
	if (http_send(p->client, &r, on_answer, s, &s->call, &e) == 0)
		return;
	shot_free(s);
	p->outcomes[HTTP_OTHER]++;
	snprintf(p->last_error, sizeof p->last_error, "%s", e.text);
	tell(p, intended_ns, now_ns - intended_ns, false, false);
}

static int64_t intended_at(const struct probe *p, uint64_t n)
{
	return p->start_ns + (int64_t)((double)n * (NSEC_PER_SEC / p->params->rate));
}

static int on_due(sd_event_source *src, uint64_t usec, void *data)
{
	struct probe *p = data;
	int64_t now_ns = clock_now_ns(), next_ns;

	while ((next_ns = intended_at(p, p->next)) <= now_ns) {
		fire(p, next_ns, now_ns);
		p->next++;
	}
	/* Rounded up: a microsecond too early would wake up twice. */
	sd_event_source_set_time(src, (uint64_t)(next_ns + NSEC_PER_USEC - 1) / NSEC_PER_USEC);
	return 0;
}

int probe_start(struct indicator *i, const struct probe_params *params,
		const struct http_request *request, bool (*good)(const void *params, int status),
		struct probe **ret, struct err *e)
{
	autoptr(probe) p = xcalloc(1, sizeof *p);
	int r;

	p->indicator = i;
	p->params = params;
	p->request = *request;
	p->request.open_socket = open_socket;
	p->request.socket_data = (void *)i->env;
	p->good = good;
	probe_host(request->url, p->host, sizeof p->host);
	if ((r = http_client_new(i->env->loop, &p->client, e)) < 0)
		return r;
	p->start_ns = clock_now_ns();
	r = sd_event_add_time(i->env->loop, &p->timer, CLOCK_MONOTONIC,
			      (uint64_t)p->start_ns / NSEC_PER_USEC, 1, on_due, p);
	if (r < 0)
		return err_errno(e, -r, "timer");
	sd_event_source_set_enabled(p->timer, SD_EVENT_ON);
	*ret = take(p);
	return 0;
}

/* A late prober is part of what it measured: say so when it could matter. */
static void warn_when_late(const struct probe *p)
{
	char text[256], late[UNITS_TEXT_MAX];

	if (p->late_ns < SLO_LATE_NS)
		return;
	snprintf(text, sizeof text,
		 "%s: brunt itself began a request %s late; as much of the slowest answers may be "
		 "its own",
		 p->request.url, units_duration(p->late_ns, late));
	event_emit(p->indicator->env->listener,
		   (struct event){.type = EVENT_WARNING, .text = text});
}

/* What a stalled loop has not even begun. */
static void skip_missed(struct probe *p)
{
	int64_t now_ns = clock_now_ns(), due_ns;

	for (; (due_ns = intended_at(p, p->next)) < now_ns - SLO_MISSED_NS; p->next++) {
		p->late_ns = MAX_OF(p->late_ns, now_ns - due_ns);
		p->missed++;
		slo_round(p->indicator->slo, SLO_PROBER, due_ns, ROUND_SILENT);
	}
}

void probe_stop(struct probe *p)
{
	if (!p)
		return;
	if (p->timer) {
		skip_missed(p);
		warn_when_late(p);
	}
	p->timer = sd_event_source_disable_unref(p->timer);
	http_client_free(take(p->client));
	while (p->open)
		shot_free(p->open);
}

void probe_free(struct probe *p)
{
	if (!p)
		return;
	probe_stop(p);
	strlist_done(&p->addresses);
	free(p->hosts);
	free(p);
}

void probe_pending(struct probe *p, int64_t now_ns, void (*fn)(void *data, const struct sample *s),
		   void *data)
{
	for (const struct shot *s = p ? p->open : NULL; s; s = s->next)
		fn(data, &(struct sample){.type = SAMPLE_LATENCY,
					  .at_ns = s->intended_ns,
					  .latency_ns = now_ns - s->intended_ns,
					  .done_ns = now_ns});
}

json_t *probe_report(const struct probe *p)
{
	json_t *o = json_object(), *errors = json_object();

	for (size_t k = HTTP_OK + 1; k < HTTP_OUTCOME_MAX; k++)
		if (p->outcomes[k])
			json_object_set_new(errors, http_outcome_name(k),
					    json_integer((json_int_t)p->outcomes[k]));
	if (p->bad_status)
		json_object_set_new(errors, "status", json_integer((json_int_t)p->bad_status));
	if (p->overload)
		json_object_set_new(errors, "overload", json_integer((json_int_t)p->overload));
	json_object_set_new(o, "sent", json_integer((json_int_t)(p->next - p->overload - p->missed)));
	json_object_set_new(o, "errors", errors);
	if (p->last_bad_status)
		json_object_set_new(o, "last_bad_status", json_integer(p->last_bad_status));
	if (p->last_error[0])
		json_object_set_new(o, "last_error", json_string(p->last_error));
	json_object_set_new(o, "most_in_flight", json_integer(p->most_open));
	json_object_set_new(o, "late_ms", json_real((double)p->late_ns / NSEC_PER_MSEC));
	return o;
}
