#include "net_record.h"

#include <errno.h>
#include <stdio.h>

static void add_filter(const struct fault *f, const struct net_port *port, int direction, int stage,
		       struct net_record_port *p)
{
	const struct net_state *st = net_state_of(f);
	struct net_record_filter *filter = &p->filters[p->n_filters++];

	filter->ingress = direction == NET_IN;
	filter->pref = net_pref(f, stage);
	filter->handle = port->handle;
	memcpy(filter->tag, gate_program(st->gate, stage, filter->ingress)->tag,
	       sizeof filter->tag);
}

static void fill_port(const struct fault *f, const struct net_port *port,
		      struct net_record_port *p)
{
	const struct net_params *params = net_params_of(f);
	const struct net_state *st = net_state_of(f);

	memcpy(p->name, port->name, sizeof p->name);
	p->ifindex = port->ifindex;
	p->clsact_made = net_makes_clsact(port);
	p->no_queue = port->no_queue;
	net_foreach_direction(params, d) {
		if (net_drops(params))
			add_filter(f, port, d, GATE_DROP, p);
		if (!*port->device[d].name)
			continue;
		add_filter(f, port, d, GATE_DELAY, p);
		add_filter(f, port, d, GATE_CLEAR, p);
	}
	for (int d = NET_OUT; d < NET_DIRECTIONS; d++) {
		const struct net_device *dev = &port->device[d];

		if (!*dev->name)
			continue;
		memcpy(p->devices[p->n_devices].name, dev->name, sizeof dev->name);
		p->devices[p->n_devices++].tap = st->backend == NET_BACKEND_ENGINE;
	}
}

void net_record_of(const struct fault *f, const struct net_site *site, struct net_record *ret)
{
	*ret = (struct net_record){0};
	snprintf(ret->name, sizeof ret->name, "%s", net_state_of(f)->filter_name);
	net_foreach_port(site, port)
		fill_port(f, port, array_push(ret->ports, ret->n_ports));
}

void net_record_done(struct net_record *r)
{
	free(r->ports);
	*r = (struct net_record){0};
}

static json_t *tag_to_json(const uint8_t tag[8])
{
	char text[17];

	for (int i = 0; i < 8; i++)
		snprintf(text + 2 * i, 3, "%02x", tag[i]);
	return json_string(text);
}

static json_t *port_to_json(const struct net_record_port *p)
{
	json_t *filters = json_array(), *devices = json_array();

	for (size_t i = 0; i < p->n_filters; i++) {
		const struct net_record_filter *f = &p->filters[i];

		json_array_append_new(filters,
				      json_pack("{s:b, s:i, s:I, s:o}", "ingress", f->ingress,
						"pref", f->pref, "handle", (json_int_t)f->handle,
						"tag", tag_to_json(f->tag)));
	}
	for (size_t i = 0; i < p->n_devices; i++)
		json_array_append_new(devices, json_pack("{s:s, s:b}", "name", p->devices[i].name,
							 "tap", p->devices[i].tap));
	return json_pack("{s:s, s:i, s:b, s:b, s:o, s:o}", "name", p->name, "ifindex", p->ifindex,
			 "clsactMade", p->clsact_made, "noQueue", p->no_queue, "filters", filters,
			 "devices", devices);
}

json_t *net_record_to_json(const struct net_record *r)
{
	json_t *ports = json_array();

	for (size_t i = 0; i < r->n_ports; i++)
		json_array_append_new(ports, port_to_json(&r->ports[i]));
	return json_pack("{s:i, s:s, s:o}", "version", 1, "name", r->name, "ports", ports);
}

static int read_filter(json_t *json, struct net_record_filter *ret)
{
	int ingress;
	const char *tag;
	json_int_t handle;

	if (json_unpack(json, "{s:b, s:i, s:I, s:s}", "ingress", &ingress, "pref", &ret->pref,
			"handle", &handle, "tag", &tag) < 0 || strlen(tag) != 16)
		return -EINVAL;
	ret->ingress = ingress;
	ret->handle = (uint32_t)handle;
	for (int i = 0; i < 8; i++) {
		unsigned byte;

		if (sscanf(tag + 2 * i, "%2x", &byte) != 1)
			return -EINVAL;
		ret->tag[i] = (uint8_t)byte;
	}
	return 0;
}

static int read_device(json_t *json, struct net_record_port *p)
{
	const char *name;
	int tap;

	if (json_unpack(json, "{s:s, s:b}", "name", &name, "tap", &tap) < 0 ||
	    strlen(name) >= IFNAMSIZ)
		return -EINVAL;
	strcpy(p->devices[p->n_devices].name, name);
	p->devices[p->n_devices++].tap = tap;
	return 0;
}

static int read_port(json_t *json, struct net_record_port *p)
{
	json_t *filters, *devices, *item;
	const char *name;
	int made, no_queue = 0;
	size_t i;

	if (json_unpack(json, "{s:s, s:i, s:b, s?b, s:o, s:o}", "name", &name, "ifindex", &p->ifindex,
			"clsactMade", &made, "noQueue", &no_queue, "filters", &filters, "devices",
			&devices) < 0 ||
	    strlen(name) >= IFNAMSIZ || json_array_size(filters) > ARRAY_SIZE(p->filters) ||
	    json_array_size(devices) > ARRAY_SIZE(p->devices))
		return -EINVAL;
	strcpy(p->name, name);
	p->clsact_made = made;
	p->no_queue = no_queue;
	json_array_foreach(filters, i, item)
		if (read_filter(item, &p->filters[p->n_filters++]) < 0)
			return -EINVAL;
	json_array_foreach(devices, i, item)
		if (read_device(item, p) < 0)
			return -EINVAL;
	return 0;
}

int net_record_from_json(const json_t *json, struct net_record *ret, struct err *e)
{
	json_t *ports, *item;
	const char *name;
	int version;
	size_t i;

	*ret = (struct net_record){0};
	if (json_unpack((json_t *)json, "{s:i, s:s, s:o}", "version", &version, "name", &name,
			"ports", &ports) < 0)
		return err_set(e, EINVAL, "undo record of NetworkChaos is damaged");
	if (version != 1)
		return err_set(e, EINVAL, "undo record of NetworkChaos has version %d (want 1)",
			       version);
	snprintf(ret->name, sizeof ret->name, "%s", name);
	json_array_foreach(ports, i, item)
		if (read_port(item, array_push(ret->ports, ret->n_ports)) < 0) {
			net_record_done(ret);
			return err_set(e, EINVAL, "undo record of NetworkChaos: port %zu is "
						  "damaged", i + 1);
		}
	return 0;
}
