/*
 * Field names, defaults and ranges are Kubernetes' own (apps/v1 Deployment, v1 Pod). A field that
 * is not here is an error: a manifest that asks for what a lab does not give (volumes, liveness
 * probes) must not seem to work.
 */
#include "manifest.h"

#include "../base/units.h"

#include <errno.h>
#include <stddef.h>

#define SCHEMA(label, type, rows, text)                                                            \
	{                                                                                          \
		.name = label, .doc = text, .size = sizeof(struct type), .fields = rows,           \
		.n_fields = ARRAY_SIZE(rows)                                                       \
	}
/* A row of the table of struct ROW_OF; further members follow. */
#define ROW(key, kind, member, text, ...)                                                          \
	{                                                                                          \
		.name = key, .type = FIELD_##kind, .offset = offsetof(struct ROW_OF, member),      \
		.doc = text, ##__VA_ARGS__                                                         \
	}
#define LIST_OF(schema, count) .sub = &(schema), .count_offset = offsetof(struct ROW_OF, count)
#define GIVEN(member) .present_offset = offsetof(struct ROW_OF, member)
#define RANGE(low, high) .has_range = true, .min = (low), .max = (high)

static int parse_milli_cpu(const struct yaml_node *node, void *storage, struct field_ctx *ctx)
{
	struct err e = {0};

	if (node->kind != YAML_SCALAR)
		return field_error(ctx, node, NULL, "want a cpu quantity such as 500m or 2");
	if (units_parse_milli_cpu(node->text, storage, &e) < 0)
		return field_error(ctx, node, NULL, "%s", e.text);
	return 0;
}

#define ROW_OF lab_resources
static const struct field resources_fields[] = {
	ROW("cpu", CUSTOM, cpu_milli,
	    "CPU time: 500m is half a CPU.", .parse = parse_milli_cpu, .example = "500m"),
	ROW("memory", SIZE, memory_bytes, "Memory in bytes: 64Mi.", .example = "64Mi"),
};
static const struct schema limits_schema =
	SCHEMA("limits", lab_resources, resources_fields,
	       "Enforced by the container's own control group.");
static const struct schema requests_schema =
	SCHEMA("requests", lab_resources, resources_fields,
	       "Accepted and ignored: nothing is scheduled in a lab.");
#undef ROW_OF

#define ROW_OF lab_limits
static const struct field container_resources_fields[] = {
	ROW("limits", OBJECT, limits, "What the container may use at most.", .sub = &limits_schema),
	ROW("requests", OBJECT, requests,
	    "Accepted and ignored: nothing is scheduled in a lab.", .sub = &requests_schema),
};
static const struct schema container_resources_schema =
	SCHEMA("resources", lab_limits, container_resources_fields, "Limits of the container.");
#undef ROW_OF

#define ROW_OF lab_header
static const struct field header_fields[] = {
	ROW("name", STRING, name, "The header's name.", .required = true, .example = "Accept"),
	ROW("value", STRING, value,
	    "The header's value.", .required = true, .example = "text/plain"),
};
static const struct schema header_schema =
	SCHEMA("httpHeaders", lab_header, header_fields, "One header of the probe's request.");
#undef ROW_OF

static const char *const http_schemes[] = {"HTTP", NULL};

#define ROW_OF lab_http_get
static const struct field http_get_fields[] = {
	ROW("host", STRING, host, "Host header; default: the pod's address."),
	ROW("httpHeaders", LIST, headers,
	    "Further headers of the request.", LIST_OF(header_schema, n_headers)),
	ROW("path", STRING, path, "Path of the request.", .deflt = "/", .example = "/readyz"),
	ROW("port", STRING, port,
	    "Number, or name of one of the container's ports.",
	    .required = true, .example = "8080"),
	ROW("scheme", ENUM, scheme, "Always HTTP.", .deflt = "HTTP", .names = http_schemes),
};
static const struct schema http_get_schema =
	SCHEMA("httpGet", lab_http_get, http_get_fields,
	       "Ready when the answer's status is 200 to 399.");
#undef ROW_OF

#define ROW_OF lab_tcp_socket
static const struct field tcp_socket_fields[] = {
	ROW("port", STRING, port,
	    "Number, or name of one of the container's ports.",
	    .required = true, .example = "8080"),
};
static const struct schema tcp_socket_schema =
	SCHEMA("tcpSocket", lab_tcp_socket, tcp_socket_fields,
	       "Ready when a connection is accepted.");
#undef ROW_OF

#define ROW_OF lab_probe
static const struct field probe_fields[] = {
	ROW("failureThreshold", INT, failure_threshold,
	    "Failures in a row that end readiness.", .deflt = "3", RANGE(1, 1000)),
	ROW("httpGet", OBJECT, http, "Ask over HTTP.", .sub = &http_get_schema, GIVEN(is_http)),
	ROW("initialDelaySeconds", INT, initial_delay_s,
	    "Wait after each start before the first try.", .deflt = "0", RANGE(0, 3600)),
	ROW("periodSeconds", INT, period_s,
	    "Time between tries; until the first success after a start a lab tries every 100 ms.",
	    .deflt = "10", RANGE(1, 3600)),
	ROW("successThreshold", INT, success_threshold,
	    "Successes in a row that make it ready.", .deflt = "1", RANGE(1, 1000)),
	ROW("tcpSocket", OBJECT, tcp,
	    "Open a connection.", .sub = &tcp_socket_schema, GIVEN(is_tcp)),
	ROW("timeoutSeconds", INT, timeout_s,
	    "A try fails after this time.", .deflt = "1", RANGE(1, 3600)),
};
#undef ROW_OF

static int check_probe(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct lab_probe *p = obj;

	if (p->is_http == p->is_tcp)
		return field_error(ctx, node, NULL, "want one of httpGet and tcpSocket");
	return 0;
}

static const struct schema probe_schema = {
	.name = "readinessProbe",
	.doc = "Asked from the lab's switch; the container counts as ready while it succeeds.",
	.size = sizeof(struct lab_probe),
	.fields = probe_fields,
	.n_fields = ARRAY_SIZE(probe_fields),
	.check = check_probe,
};

#define ROW_OF lab_env
static const struct field env_fields[] = {
	ROW("name", STRING, name, "The variable's name.", .required = true, .example = "PORT"),
	ROW("value", STRING, value,
	    "Its value; $(NAME) stands for a variable set before.", .example = "8080"),
};
static const struct schema env_schema = SCHEMA("env", lab_env, env_fields, "An environment variable.");
#undef ROW_OF

static const char *const protocols[] = {"TCP", "UDP", NULL};

#define ROW_OF lab_port
static const struct field port_fields[] = {
	ROW("containerPort", INT, number,
	    "The port that the container listens on.",
	    .required = true, RANGE(1, 65535), .example = "8080"),
	ROW("name", STRING, name, "A name for probes to refer to."),
	ROW("protocol", ENUM, protocol, "TCP or UDP.", .deflt = "TCP", .names = protocols),
};
static const struct schema port_schema =
	SCHEMA("ports", lab_port, port_fields, "A port, for information and for probes' names.");
#undef ROW_OF

static const char *const pull_policies[] = {"IfNotPresent", "Always", "Never", NULL};

#define ROW_OF lab_container
static const struct field container_fields[] = {
	ROW("args", STRINGS, args,
	    "Arguments after the command's own; $(NAME) stands for a variable of env."),
	ROW("command", STRINGS, command,
	    "Program and arguments; the program is looked up in PATH and beside brunt.",
	    .example = "[liveroom, serve]"),
	ROW("env", LIST, env,
	    "Environment: these, PATH, HOME, HOSTNAME and POD_IP.", LIST_OF(env_schema, n_env)),
	ROW("image", STRING, image, "Accepted and ignored: a lab runs programs of this machine."),
	ROW("imagePullPolicy", ENUM, pull_policy,
	    "Accepted and ignored.", .deflt = "IfNotPresent", .names = pull_policies),
	ROW("name", STRING, name,
	    "The container's name, a DNS label.", .required = true, .example = "app"),
	ROW("ports", LIST, ports,
	    "Ports that the container listens on.", LIST_OF(port_schema, n_ports)),
	ROW("readinessProbe", OBJECT, probe,
	    "Without one the container is ready once it runs.",
	    .sub = &probe_schema, GIVEN(has_probe)),
	ROW("resources", OBJECT, resources,
	    "Limits of the container.", .sub = &container_resources_schema),
	ROW("workingDir", STRING, working_dir, "Folder to start in.", .deflt = "/"),
};
#undef ROW_OF

static const struct lab_port *port_named(const struct lab_container *c, const char *name)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (streq(c->ports[i].name, name))
			return &c->ports[i];
	return NULL;
}

static int check_probe_port(const struct lab_container *c, const struct yaml_node *node,
			    struct field_ctx *ctx)
{
	const char *port = c->probe.is_http ? c->probe.http.port : c->probe.tcp.port;
	const char *kind = c->probe.is_http ? "httpGet" : "tcpSocket";
	const struct yaml_node *at = yaml_get(yaml_get(node, "readinessProbe"), kind);
	autofree char *path = xasprintf("readinessProbe.%s.port", kind);
	int64_t number;

	if (units_parse_int(port, &number, NULL) < 0 ? !port_named(c, port) :
						       number < 1 || number > 65535)
		return field_error(ctx, yaml_get(at, "port"), path,
				   "\"%s\" is neither a port from 1 to 65535 nor the name of one of "
				   "the container's ports", port);
	return 0;
}

static int check_container(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct lab_container *c = obj;

	if (!c->command.n)
		return field_error(ctx, node, "command",
				   "missing (a lab runs programs of this machine; images are ignored)");
	if (!*c->command.items[0])
		return field_error(ctx, yaml_get(node, "command"), "command[0]", "empty");
	return c->has_probe ? check_probe_port(c, node, ctx) : 0;
}

/* Fields of Kubernetes that a lab cannot keep: what they promise would silently be missing. */
static char *not_in_a_lab(const char *name)
{
	static const char *const fields[] = {
		"affinity", "automountServiceAccountToken", "dnsPolicy", "envFrom", "ephemeralContainers",
		"hostNetwork", "hostPID", "imagePullSecrets", "initContainers", "lifecycle",
		"livenessProbe", "minReadySeconds", "nodeName", "nodeSelector", "paused",
		"priorityClassName", "progressDeadlineSeconds", "revisionHistoryLimit", "securityContext",
		"serviceAccountName", "startupProbe", "stdin", "strategy", "tolerations",
		"topologySpreadConstraints", "tty", "volumeDevices", "volumeMounts", "volumes",
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (streq(fields[i], name))
			return xasprintf("is not supported in a lab yet: leave it out for the lab's copy");
	return NULL;
}

static const struct schema container_schema = {
	.name = "containers",
	.unknown = not_in_a_lab,
	.doc = "A program that runs in the pod.",
	.size = sizeof(struct lab_container),
	.fields = container_fields,
	.n_fields = ARRAY_SIZE(container_fields),
	.check = check_container,
};

static const char *const restart_policies[] = {"Always", "OnFailure", "Never", NULL};

#define ROW_OF lab_pod_spec
static const struct field pod_spec_fields[] = {
	ROW("containers", LIST, containers,
	    "The pod's programs; they share its network and names.",
	    LIST_OF(container_schema, n_containers), .required = true),
	ROW("restartPolicy", ENUM, restart_policy,
	    "What follows when a container ends.", .deflt = "Always", .names = restart_policies),
	ROW("terminationGracePeriodSeconds", INT, grace_s,
	    "Time between SIGTERM and SIGKILL when the lab goes down.",
	    .deflt = "30", RANGE(0, 3600)),
};
#undef ROW_OF

static bool is_dns_label(const char *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	size_t n = strlen(s);

	return n > 0 && n <= LAB_NAME_MAX && strspn(s, letters) == n && s[0] != '-' &&
	       s[n - 1] != '-';
}

static int check_name(const char *name, const struct yaml_node *node, struct field_ctx *ctx,
		      const char *path)
{
	if (!name || is_dns_label(name))
		return 0;
	return field_error(ctx, node, path,
			   "\"%s\" is not a name (want a-z, 0-9 and -, up to %d letters)", name,
			   LAB_NAME_MAX);
}

static int check_pod_spec(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct lab_pod_spec *s = obj;
	const struct yaml_node *list = yaml_get(node, "containers");
	int r = 0;

	if (s->n_containers < 1 || s->n_containers > LAB_MAX_CONTAINERS)
		return field_error(ctx, list, "containers", "want 1 to %d containers",
				   LAB_MAX_CONTAINERS);
	for (size_t i = 0; i < s->n_containers; i++) {
		const char *name = s->containers[i].name;
		const struct yaml_node *at = yaml_get(list->items[i], "name");
		autofree char *path = xasprintf("containers[%zu].name", i);

		if (check_name(name, at, ctx, path) < 0)
			r = -EINVAL;
		for (size_t j = 0; name && j < i; j++)
			if (streq(name, s->containers[j].name))
				r = field_error(ctx, at, path, "\"%s\" is also containers[%zu]",
						name, j);
	}
	return r;
}

static const struct schema pod_spec_schema = {
	.name = "spec",
	.unknown = not_in_a_lab,
	.doc = "What runs in a pod.",
	.size = sizeof(struct lab_pod_spec),
	.fields = pod_spec_fields,
	.n_fields = ARRAY_SIZE(pod_spec_fields),
	.check = check_pod_spec,
};

#define ROW_OF lab_metadata
static const struct field metadata_fields[] = {
	ROW("annotations", STRMAP, annotations, "Free text for selectors and people."),
	ROW("labels", STRMAP, labels, "What selectors match.", .example = "{app: web}"),
	ROW("name", STRING, name, "A DNS label.", .required = true, .example = "web"),
	ROW("namespace", STRING, namespace,
	    "A DNS label; part of the name and nothing more.", .deflt = "default"),
};
static const struct field template_metadata_fields[] = {
	ROW("annotations", STRMAP, annotations, "Free text for selectors and people."),
	ROW("labels", STRMAP, labels, "What selectors match.", .example = "{app: web}"),
};
static const struct schema template_metadata_schema =
	SCHEMA("metadata", lab_metadata, template_metadata_fields,
	       "Labels and annotations of each pod.");
#undef ROW_OF

static int check_metadata(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct lab_metadata *m = obj;
	int r = check_name(m->name, yaml_get(node, "name"), ctx, "name");

	return check_name(m->namespace, yaml_get(node, "namespace"), ctx, "namespace") < 0 ?
	       -EINVAL : r;
}

static const struct schema metadata_schema = {
	.name = "metadata",
	.doc = "Name, namespace, labels and annotations.",
	.size = sizeof(struct lab_metadata),
	.fields = metadata_fields,
	.n_fields = ARRAY_SIZE(metadata_fields),
	.check = check_metadata,
};

#define ROW_OF lab_pod_template
static const struct field template_fields[] = {
	ROW("metadata", OBJECT, metadata,
	    "Labels and annotations of each pod.", .sub = &template_metadata_schema),
	ROW("spec", OBJECT, spec,
	    "What runs in each pod.", .sub = &pod_spec_schema, .required = true),
};
static const struct schema template_schema =
	SCHEMA("template", lab_pod_template, template_fields, "The pods of the deployment.");
#undef ROW_OF

#define ROW_OF lab_label_selector
static const struct field label_selector_fields[] = {
	ROW("matchLabels", STRMAP, match_labels, "Must be among the template's labels."),
};
static const struct schema label_selector_schema =
	SCHEMA("selector", lab_label_selector, label_selector_fields,
	       "Kubernetes wants it; a lab checks it.");
#undef ROW_OF

#define ROW_OF lab_deployment_spec
static const struct field deployment_spec_fields[] = {
	ROW("replicas", INT, replicas,
	    "Number of pods; they are named NAME-0, NAME-1, ...",
	    .deflt = "1", RANGE(0, LAB_MAX_PODS)),
	ROW("selector", OBJECT, selector,
	    "Must match the template's labels.", .sub = &label_selector_schema),
	ROW("template", OBJECT, template,
	    "The pods of the deployment.", .sub = &template_schema, .required = true),
};
#undef ROW_OF

static int check_deployment(const void *obj, const struct yaml_node *node, struct field_ctx *ctx)
{
	const struct lab_deployment_spec *d = obj;
	const struct yaml_node *selector = yaml_get(node, "selector");
	int r = 0;

	for (size_t i = 0; i < d->selector.match_labels.n; i++) {
		const struct kv *want = &d->selector.match_labels.items[i];

		if (!streq(kvs_get(&d->template.metadata.labels, want->key), want->value))
			r = field_error(ctx, selector, "selector.matchLabels",
					"%s: %s is not among the template's labels", want->key,
					want->value);
	}
	if (d->template.spec.restart_policy != RESTART_ALWAYS)
		r = field_error(ctx, yaml_get(yaml_get(yaml_get(node, "template"), "spec"),
					      "restartPolicy"),
				"template.spec.restartPolicy", "a Deployment's pods have Always");
	return r;
}

static const struct schema deployment_spec_schema = {
	.name = "spec",
	.unknown = not_in_a_lab,
	.doc = "How many pods, and what runs in them.",
	.size = sizeof(struct lab_deployment_spec),
	.fields = deployment_spec_fields,
	.n_fields = ARRAY_SIZE(deployment_spec_fields),
	.check = check_deployment,
};

static const char *const pod_versions[] = {"v1", NULL};
static const char *const deployment_versions[] = {"apps/v1", NULL};
static const char *const pod_kinds[] = {"Pod", NULL};
static const char *const deployment_kinds[] = {"Deployment", NULL};

#define ROW_OF lab_document
static const struct field pod_fields[] = {
	ROW("apiVersion", ENUM, api_version, "v1", .required = true, .names = pod_versions),
	ROW("kind", ENUM, kind, "Pod", .required = true, .names = pod_kinds),
	ROW("metadata", OBJECT, metadata,
	    "Name, namespace, labels and annotations.", .sub = &metadata_schema, .required = true),
	ROW("spec", OBJECT, pod,
	    "What runs in the pod.", .sub = &pod_spec_schema, .required = true),
};
static const struct field deployment_fields[] = {
	ROW("apiVersion", ENUM, api_version,
	    "apps/v1", .required = true, .names = deployment_versions),
	ROW("kind", ENUM, kind, "Deployment", .required = true, .names = deployment_kinds),
	ROW("metadata", OBJECT, metadata,
	    "Name, namespace, labels and annotations.", .sub = &metadata_schema, .required = true),
	ROW("spec", OBJECT, deployment,
	    "How many pods, and what runs in them.",
	    .sub = &deployment_spec_schema, .required = true),
};

const struct schema lab_pod_schema =
	SCHEMA("Pod", lab_document, pod_fields,
	       "One pod: programs that share a network namespace.");
const struct schema lab_deployment_schema =
	SCHEMA("Deployment", lab_document, deployment_fields, "A number of equal pods.");
