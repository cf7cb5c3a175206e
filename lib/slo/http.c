/*
 * http - a request at each tick of a fixed clock, and what became of it
 *
 * Every request is by default a connection of its own, as a new visitor makes it: under a fault the
 * handshake is part of what a visitor waits for, and each one goes to the next address of the
 * name, as a service's virtual address would send it. `keepAlive: true` measures a client that
 * keeps its connections.
 */
#include "probe.h"

#include <errno.h>
#include <stdio.h>

struct status_range {
	int first, last;
};

struct http_params {
	struct probe_params probe;
	char *url, *body;
	int method;
	struct kvs headers;
	struct status_range *expect;
	size_t n_expect;
	bool keep_alive, insecure;
};

static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
				      "PATCH", "DELETE", "OPTIONS", NULL};

static int parse_range(const char *s, struct status_range *ret)
{
	int len = 0;

	if (sscanf(s, "%3d-%3d%n", &ret->first, &ret->last, &len) != 2 || !len) {
		len = 0;
		if (sscanf(s, "%3d%n", &ret->first, &len) != 1)
			return -EINVAL;
		ret->last = ret->first;
	}
	return ret->first >= 100 && ret->last <= 599 && ret->first <= ret->last ? len : -EINVAL;
}

/* "200", "200-399", "200,204,300-399" */
static int parse_expect(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct http_params *p =
		(struct http_params *)((char *)storage - offsetof(struct http_params, expect));
	const char *s = node->kind == YAML_SCALAR ? node->text : NULL;

	for (; s; s++) {
		struct status_range r;
		int len = parse_range(s, &r);

		if (len < 0)
			break;
		*array_push(p->expect, p->n_expect) = r;
		s += len;
		if (!*s)
			return 0;
		if (*s != ',')
			break;
	}
	if (!s)
		return field_error(ctx, node, NULL,
				   "want status codes as one text (\"200-399\" or \"200,404\")");
	return field_error(ctx, node, NULL,
			   "\"%s\" is not a set of status codes (want \"200-399\" or \"200,404\")",
			   node->text);
}

static void free_expect(void *storage)
{
	free(*(struct status_range **)storage);
}

/* RFC 9110, 5.6.2 and 5.5: a token, and a value that cannot end its line. */
static bool is_header(const struct kv *h)
{
	static const char token[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				    "!#$%&'*+-.^_`|~";

	return *h->key && h->key[strspn(h->key, token)] == '\0' && !strpbrk(h->value, "\r\n");
}

static int check_headers(const struct http_params *p, const struct yaml_node *node,
			 struct field_ctx *ctx)
{
	const struct yaml_node *map = yaml_get(node, "headers");
	size_t mark = field_enter(ctx, "headers");
	int r = 0;

	for (size_t i = 0; i < p->headers.n; i++)
		if (!is_header(&p->headers.items[i]))
			r = field_error(ctx, map->keys[i], NULL,
					"\"%s: %s\" is not a header line of HTTP",
					p->headers.items[i].key, p->headers.items[i].value);
	field_leave(ctx, mark);
	return r;
}

static int check_http(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct http_params *p = obj;
	char host[256];

	if ((strncmp(p->url, "http://", 7) != 0 && strncmp(p->url, "https://", 8) != 0) ||
	    !probe_host(p->url, host, sizeof host))
		return field_error(ctx, node, "url", "\"%s\" is not a URL (want http://HOST:PORT/PATH)",
				   p->url);
	if (check_headers(p, node, ctx) < 0)
		return -EINVAL;
	return probe_check(&p->probe, node, ctx);
}

static enum sample_type http_yields(const void *params)
{
	return SAMPLE_LATENCY;
}

static bool http_good(const void *params, int status)
{
	const struct http_params *p = params;

	for (size_t i = 0; i < p->n_expect; i++)
		if (status >= p->expect[i].first && status <= p->expect[i].last)
			return true;
	return !p->n_expect && status >= 200 && status <= 399;
}

static double http_rate(const void *params)
{
	return ((const struct http_params *)params)->probe.rate;
}

static int http_start(struct indicator *i, struct err *e)
{
	const struct http_params *p = i->params;
	struct http_request r = {
		.url = p->url,
		.method = methods[p->method],
		.headers = &p->headers,
		.body = p->body,
		.keep_alive = p->keep_alive,
		.insecure = p->insecure,
	};
	struct probe *probe = NULL;
	int ret = probe_start(i, &p->probe, &r, http_good, &probe, e);

	i->state = probe;
	return ret;
}

static void http_stop(struct indicator *i)
{
	probe_stop(i->state);
}

static void http_pending(struct indicator *i, int64_t now_ns,
			 void (*fn)(void *data, const struct sample *s), void *data)
{
	probe_pending(i->state, now_ns, fn, data);
}

static int http_report(struct indicator *i, json_t **ret)
{
	*ret = i->state ? probe_report(i->state) : NULL;
	return 0;
}

static void http_free(struct indicator *i)
{
	probe_free(take(i->state));
}

#define O(field) offsetof(struct http_params, field)
static const struct field fields[] = {
	{.name = "url", .type = FIELD_STRING, .offset = O(url), .required = true,
	 .example = "http://gateway:8080/join",
	 .doc = "What is asked for. The name is looked up among the lab's pods first."},
	PROBE_FIELDS(O(probe)),
	{.name = "method", .type = FIELD_ENUM, .offset = O(method), .names = methods, .deflt = "GET",
	 .doc = "The request's method."},
	{.name = "headers", .type = FIELD_STRMAP, .offset = O(headers),
	 .doc = "Header lines of the request."},
	{.name = "body", .type = FIELD_STRING, .offset = O(body), .doc = "Body of the request."},
	{.name = "expectStatus", .type = FIELD_CUSTOM, .offset = O(expect), .parse = parse_expect,
	 .free = free_expect, .example = "\"200-399\"",
	 .doc = "Status codes that are a success. Default: 200-399."},
	{.name = "keepAlive", .type = FIELD_BOOL, .offset = O(keep_alive),
	 .doc = "Use connections again. Default: each request is a connection of its own, as a new "
		"visitor makes it."},
	{.name = "insecureSkipVerify", .type = FIELD_BOOL, .offset = O(insecure),
	 .doc = "Accept any certificate of an https:// service."},
};
#undef O

static const struct schema http_schema = {
	.name = "http",
	.doc = "Sends requests at a fixed rate; measures latency from the intended start, and success.",
	.size = sizeof(struct http_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_http,
};

const struct indicator_type indicator_http = {
	.name = "http",
	.doc = "Own HTTP prober: latency from the intended start (no coordinated omission), success by "
	       "status code.",
	.schema = &http_schema,
	.yields = http_yields,
	.rate = http_rate,
	.start = http_start,
	.stop = http_stop,
	.pending = http_pending,
	.report = http_report,
	.free = http_free,
};
