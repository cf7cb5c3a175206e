#include "state.h"

#include <errno.h>

static json_t *encode_kvs(const struct kvs *m)
{
	json_t *j = json_object();

	for (size_t i = 0; i < m->n; i++)
		json_object_set_new(j, m->items[i].key, json_string(m->items[i].value));
	return j;
}

static json_t *encode_container(const struct lab_container_state *c)
{
	return json_pack("{s:s, s:i, s:I, s:i, s:I, s:I, s:s, s:s}", "name", c->name, "pid",
			 (int)c->pid, "start_ticks", (json_int_t)c->start_ticks, "restarts",
			 (int)c->restarts, "started_ns", (json_int_t)c->started_ns, "ready_ns",
			 (json_int_t)c->ready_ns, "state", c->state, "why", c->why);
}

static json_t *encode_pod(const struct lab_pod_state *p)
{
	json_t *addresses = json_array(), *containers = json_array();

	for (size_t i = 0; i < p->addresses.n; i++)
		json_array_append_new(addresses, json_string(p->addresses.items[i]));
	for (size_t i = 0; i < p->n_containers; i++)
		json_array_append_new(containers, encode_container(&p->containers[i]));
	return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:I, s:I, s:o}", "namespace", p->ns,
			 "name", p->name, "phase", p->phase, "ready", p->ready, "labels",
			 encode_kvs(&p->labels), "annotations", encode_kvs(&p->annotations),
			 "addresses", addresses, "netns_dev", (json_int_t)p->netns_id.dev, "netns_ino",
			 (json_int_t)p->netns_id.ino, "containers", containers);
}

json_t *lab_state_encode(const struct lab_state *s)
{
	json_t *pods = json_array();

	for (size_t i = 0; i < s->n_pods; i++)
		json_array_append_new(pods, encode_pod(&s->pods[i]));
	return json_pack("{s:s, s:b, s:o}", "name", s->name, "stopping", s->stopping, "pods", pods);
}

char *lab_state_json(const struct lab_state *s)
{
	json_t *j = lab_state_encode(s);
	autofree char *text = json_dumps(j, JSON_INDENT(2));

	json_decref(j);
	return xstrdup(text ? text : "{}");
}

static char *decode_string(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return xstrdup(s ? s : "");
}

static int64_t decode_int(const json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

static void decode_kvs(const json_t *j, const char *key, struct kvs *ret)
{
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(j, key), name, value)
		kvs_set(ret, name, json_string_value(value));
}

static void decode_container(const json_t *j, struct lab_container_state *c)
{
	*c = (struct lab_container_state){
		.name = decode_string(j, "name"),
		.pid = decode_int(j, "pid"),
		.start_ticks = decode_int(j, "start_ticks"),
		.restarts = decode_int(j, "restarts"),
		.started_ns = decode_int(j, "started_ns"),
		.ready_ns = decode_int(j, "ready_ns"),
		.state = decode_string(j, "state"),
		.why = decode_string(j, "why"),
	};
}

static void decode_pod(const json_t *j, struct lab_pod_state *p)
{
	json_t *item;
	size_t i;

	*p = (struct lab_pod_state){
		.ns = decode_string(j, "namespace"),
		.name = decode_string(j, "name"),
		.phase = decode_string(j, "phase"),
		.ready = json_is_true(json_object_get(j, "ready")),
		.netns_id.dev = decode_int(j, "netns_dev"),
		.netns_id.ino = decode_int(j, "netns_ino"),
	};
	decode_kvs(j, "labels", &p->labels);
	decode_kvs(j, "annotations", &p->annotations);
	json_array_foreach(json_object_get(j, "addresses"), i, item)
		strlist_add(&p->addresses, json_string_value(item));
	json_array_foreach(json_object_get(j, "containers"), i, item)
		decode_container(item, array_push(p->containers, p->n_containers));
}

int lab_state_decode(const json_t *j, struct lab_state *ret, struct err *e)
{
	const json_t *pods = json_object_get(j, "pods");
	json_t *item;
	size_t i;

	if (!json_is_array(pods))
		return err_set(e, EPROTO, "the lab's answer has no pods");
	*ret = (struct lab_state){.name = decode_string(j, "name"),
				  .stopping = json_is_true(json_object_get(j, "stopping"))};
	json_array_foreach(pods, i, item)
		decode_pod(item, array_push(ret->pods, ret->n_pods));
	return 0;
}

static void pod_done(struct lab_pod_state *p)
{
	for (size_t i = 0; i < p->n_containers; i++) {
		free(p->containers[i].name);
		free(p->containers[i].state);
		free(p->containers[i].why);
	}
	free(p->containers);
	strlist_done(&p->addresses);
	kvs_done(&p->labels);
	kvs_done(&p->annotations);
	free(p->ns);
	free(p->name);
	free(p->phase);
}

void lab_state_done(struct lab_state *s)
{
	for (size_t i = 0; i < s->n_pods; i++)
		pod_done(&s->pods[i]);
	free(s->pods);
	free(s->name);
	*s = (struct lab_state){0};
}

bool lab_state_is_ready(const struct lab_state *s)
{
	for (size_t i = 0; i < s->n_pods; i++)
		if (!s->pods[i].ready && !streq(s->pods[i].phase, "Succeeded"))
			return false;
	return true;
}

static char *pod_obstacle(const struct lab_pod_state *p)
{
	for (size_t i = 0; i < p->n_containers; i++) {
		const struct lab_container_state *c = &p->containers[i];

		if (!c->ready_ns)
			return xasprintf("%s: %s is %s%s%s%s", p->name, c->name, c->state,
					 c->restarts ? " again and again" : "", *c->why ? ": " : "",
					 c->why);
	}
	return xasprintf("%s is %s", p->name, p->phase);
}

char *lab_state_obstacle(const struct lab_state *s)
{
	size_t waiting = 0;
	char *first = NULL, *all;

	for (size_t i = 0; i < s->n_pods; i++) {
		const struct lab_pod_state *p = &s->pods[i];

		if (p->ready || streq(p->phase, "Succeeded"))
			continue;
		if (!waiting++)
			first = pod_obstacle(p);
	}
	if (waiting < 2)
		return first ? first : xstrdup("");
	all = xasprintf("%s (and %zu more)", first, waiting - 1);
	free(first);
	return all;
}

int lab_state_find(const struct lab_state *s, const char *pod, const struct lab_pod_state **ret,
		   struct err *e)
{
	const char *slash = strchr(pod, '/');
	const struct lab_pod_state *found = NULL;

	for (size_t i = 0; i < s->n_pods; i++) {
		const struct lab_pod_state *p = &s->pods[i];

		if (!streq(p->name, slash ? slash + 1 : pod))
			continue;
		if (slash && (strlen(p->ns) != (size_t)(slash - pod) ||
			      strncmp(p->ns, pod, slash - pod) != 0))
			continue;
		if (found)
			return err_set(e, EINVAL, "pod %s is in namespaces %s and %s (say which: %s/%s)",
				       pod, found->ns, p->ns, found->ns, pod);
		found = p;
	}
	if (!found)
		return err_set(e, ENOENT, "lab %s has no pod %s", s->name, pod);
	*ret = found;
	return 0;
}
