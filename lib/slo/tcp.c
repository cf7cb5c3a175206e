/*
 * tcp - the time a connection takes to be made, at a fixed rate
 */
#include "probe.h"

#include <errno.h>

struct tcp_params {
	struct probe_params probe;
	char *address;
};

struct tcp_state {
	struct probe *probe;
	char *url; /* libcurl's way of writing the address */
};

static int check_tcp(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct tcp_params *p = obj;
	const char *colon = strrchr(p->address, ':');
	char host[256];

	if (!colon || strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) < 1 ||
	    atoi(colon + 1) > 65535 || strchr(p->address, '/') ||
	    !probe_host(p->address, host, sizeof host))
		return field_error(ctx, node, "address", "\"%s\" is not an address (want HOST:PORT)",
				   p->address);
	return probe_check(&p->probe, node, ctx);
}

static enum sample_type tcp_yields(const void *params)
{
	return SAMPLE_LATENCY;
}

static double tcp_rate(const void *params)
{
	return ((const struct tcp_params *)params)->probe.rate;
}

static int tcp_start(struct indicator *i, struct err *e)
{
	const struct tcp_params *p = i->params;
	struct tcp_state *s = xcalloc(1, sizeof *s);
	struct http_request r = {.connect_only = true};

	i->state = s;
	s->url = xasprintf("http://%s/", p->address);
	r.url = s->url;
	return probe_start(i, &p->probe, &r, NULL, &s->probe, e);
}

static void tcp_stop(struct indicator *i)
{
	struct tcp_state *s = i->state;

	if (s)
		probe_stop(s->probe);
}

static void tcp_pending(struct indicator *i, int64_t now_ns,
			 void (*fn)(void *data, const struct sample *s), void *data)
{
	struct tcp_state *s = i->state;

	probe_pending(s->probe, now_ns, fn, data);
}

static int tcp_report(struct indicator *i, json_t **ret)
{
	struct tcp_state *s = i->state;

	*ret = s && s->probe ? probe_report(s->probe) : NULL;
	return 0;
}

static void tcp_free(struct indicator *i)
{
	struct tcp_state *s = take(i->state);

	if (!s)
		return;
	probe_free(s->probe);
	free(s->url);
	free(s);
}

#define O(field) offsetof(struct tcp_params, field)
static const struct field fields[] = {
	{.name = "address", .type = FIELD_STRING, .offset = O(address), .required = true,
	 .example = "gateway:8080",
	 .doc = "HOST:PORT. The name is looked up among the lab's pods first."},
	PROBE_FIELDS(O(probe)),
};
#undef O

static const struct schema tcp_schema = {
	.name = "tcp",
	.doc = "Opens connections at a fixed rate and closes them at once; measures the time each "
	       "took from its intended start.",
	.size = sizeof(struct tcp_params),
	.fields = fields,
	.n_fields = ARRAY_SIZE(fields),
	.check = check_tcp,
};

const struct indicator_type indicator_tcp = {
	.name = "tcp",
	.doc = "Connect time and success of TCP connections.",
	.schema = &tcp_schema,
	.yields = tcp_yields,
	.rate = tcp_rate,
	.start = tcp_start,
	.stop = tcp_stop,
	.pending = tcp_pending,
	.report = tcp_report,
	.free = tcp_free,
};
