/*
 * tcp - the time a connection takes to be made, at a fixed rate
 */
#include "probe.h"

#include <errno.h>

struct tcp_params {
	struct probe_params probe;
	char *address;
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
};
