/*
 * Is the fault still as it was set? The kernel's own dumps are compared with those taken right after
 * the injection: the gate's filters and what stands before them, the delay devices with their qdiscs
 * and filters, the devices' own qdiscs, the gate's maps, the delay engine's process. What was changed
 * back since the last look net_notices.c has heard.
 */
#include "net.h"

#include "../kernel/bpf.h"
#include "../kernel/broker.h"
#include "../kernel/netdump.h"
#include "net_record.h"

#include <poll.h>
#include <stdio.h>

/* Its source may say so only later: the devices of a pod go long before its object does. */
static bool all_ended(const struct target *t)
{
	for (size_t i = 0; i < t->n_containers; i++)
		if (!container_has_ended(&t->containers[i]))
			return false;
	return t->n_containers > 0;
}

/* Devices ------------------------------------------------------------------------------------- */

static void check_port_link(const struct net_port *port, const struct links *links, struct str *ret)
{
	const struct link *l = link_by_index(links, port->ifindex), *other;

	if (l && !(l->flags & IFF_UP))
		str_addf(ret, "device %s was set down\n", port->name);
	if (l)
		return;
	other = link_by_name(links, port->name);
	if (other)
		str_addf(ret, "device %s was made anew: it is number %d now, and was %d\n",
			 port->name, other->index, port->ifindex);
	else
		str_addf(ret, "device %s was removed\n", port->name);
}

static void check_delay_device(const struct net_state *st, const struct net_port *port, int d,
			       const struct links *links, struct str *ret)
{
	const struct net_device *dev = &port->device[d];
	const struct link *l = link_by_name(links, dev->name);

	if (!*dev->name)
		return;
	if (!l)
		str_addf(ret, "delay device %s of %s was removed\n", dev->name, port->name);
	else if (l->index != dev->ifindex || !streq(l->alias, st->filter_name))
		str_addf(ret, "delay device %s of %s is another one now\n", dev->name, port->name);
	else if (!(l->flags & IFF_UP))
		str_addf(ret, "delay device %s of %s was set down\n", dev->name, port->name);
}

static bool is_known(const struct net_site *site, const struct link *l)
{
	net_foreach_port(site, port)
		if (port->ifindex == l->index || streq(port->name, l->name))
			return true;
	return false;
}

static void check_links(const struct fault *f, const struct net_site *site,
			const struct links *links, struct str *ret)
{
	net_foreach_port(site, port) {
		check_port_link(port, links, ret);
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			check_delay_device(net_state_of(f), port, d, links, ret);
	}
	for (size_t i = 0; i < links->n; i++)
		if (!is_known(site, &links->items[i]) && net_is_port(f, links, &links->items[i]))
			str_addf(ret, "device %s came: its packets do not meet the fault\n",
				 links->items[i].name);
}

/* Qdiscs, and the filters of delay devices ---------------------------------------------------- */

/* "qdisc NAME KIND ...", "filter NAME KIND ...": whose it is. */
static bool is_of(const char *line, const char *device)
{
	const char *name = strchr(line, ' ') + 1;
	size_t n = strlen(device);

	return n && strncmp(name, device, n) == 0 && name[n] == ' ';
}

static bool is_delay_devices(const struct net_site *site, const char *line)
{
	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			if (is_of(line, port->device[d].name))
				return true;
	return false;
}

/* The gate's own qdisc is looked at by its filters, which several faults may have there. */
static bool is_ports(const struct net_site *site, const char *line)
{
	net_foreach_port(site, port)
		if (is_of(line, port->name))
			return !strstr(line, " clsact ") && !strstr(line, " ingress ");
	return false;
}

static int list_as_is(struct net_site *site, const struct links *links, struct strlist *ret,
		      struct err *e)
{
	struct strlist qdiscs = {0};
	int r = netdump_qdiscs(site->nl, links, &qdiscs, e);

	for (size_t i = 0; r == 0 && i < qdiscs.n; i++)
		if (is_delay_devices(site, qdiscs.items[i]) || is_ports(site, qdiscs.items[i]))
			strlist_add(ret, qdiscs.items[i]);
	strlist_done(&qdiscs);
	net_foreach_port(site, port)
		for (int d = NET_OUT; r == 0 && d < NET_DIRECTIONS; d++)
			if (*port->device[d].name)
				netdump_filters(site->nl, links, port->device[d].ifindex, ret);
	return r;
}

int net_keep_as_set(const struct fault *f, struct net_site *site, struct err *e)
{
	autolinks links = {0};

	strlist_done(&site->as_set);
	if (net_notices_begin(f, site, e) < 0 || link_list(site->nl, &links, e) < 0)
		return -e->code;
	return list_as_is(site, &links, &site->as_set, e);
}

/* "qdisc va netem parent ffffffff ..." up to what follows the kind. */
static int head_of(const char *line)
{
	const char *end = line;

	for (int words = 0; words < 3 && *end; words++)
		end += strcspn(end + 1, " ") + 1;
	return (int)(end - line);
}

/* A line of the other list with the same first words: it was changed in place. */
static bool has_head(const struct strlist *l, const char *line)
{
	for (size_t i = 0; i < l->n; i++)
		if (strncmp(l->items[i], line, (size_t)head_of(line) + 1) == 0)
			return true;
	return false;
}

static void compare(const struct strlist *was, const struct strlist *now, struct str *ret)
{
	for (size_t i = 0; i < was->n; i++)
		if (!strlist_has(now, was->items[i]))
			str_addf(ret, "%.*s was %s\n", head_of(was->items[i]), was->items[i],
				 has_head(now, was->items[i]) ? "changed" : "removed");
	for (size_t i = 0; i < now->n; i++)
		if (!strlist_has(was, now->items[i]) && !has_head(was, now->items[i]))
			str_addf(ret, "%.*s was added\n", head_of(now->items[i]), now->items[i]);
}

static int check_qdiscs(struct net_site *site, const struct links *links, struct str *ret,
			struct err *e)
{
	struct strlist now = {0};
	int r = list_as_is(site, links, &now, e);

	if (r == 0)
		compare(&site->as_set, &now, ret);
	strlist_done(&now);
	return r;
}

/* The gate ------------------------------------------------------------------------------------ */

static bool is_gates(const struct tc_filter *f, const struct net_record_filter *want,
		     const char *name)
{
	return f->pref == want->pref && f->handle == want->handle && streq(f->name, name) &&
	       memcmp(f->tag, want->tag, sizeof f->tag) == 0;
}

static void check_hook(const struct fault *f, struct net_site *site, const char *name,
		       const struct net_record_port *p, int d, struct str *ret)
{
	autofilters found = {0};
	char text[224];
	int last = 0;

	/* No clsact any more, or no device: no filter of ours either. */
	if (tc_filters_list(site->nl, p->ifindex, TC_PARENT(d == NET_IN), &found, NULL) < 0)
		tc_filters_done(&found);
	for (size_t i = 0; i < p->n_filters; i++) {
		bool there = false;

		if (p->filters[i].ingress != (d == NET_IN))
			continue;
		last = MAX_OF(last, p->filters[i].pref);
		for (size_t k = 0; k < found.n; k++)
			there |= is_gates(&found.items[k], &p->filters[i], name);
		if (!there)
			str_addf(ret, "the gate's filter at %s of %s (pref %d) was removed\n",
				 net_hook_names[d], p->name, p->filters[i].pref);
	}
	for (size_t k = 0; k < found.n; k++)
		if (found.items[k].pref <= last && !found.items[k].chain &&
		    !net_is_this_runs(f, &found.items[k]))
			str_addf(ret, "the %s came before the gate at %s of %s\n",
				 net_describe_filter(&found.items[k], text, sizeof text),
				 net_hook_names[d], p->name);
}

/* Runs before clsact, and may end it for good. */
static void check_tcx(const struct fault *f, const struct net_site *site, const char *device,
		      int ifindex, int d, struct str *ret)
{
	int id = broker_first_tcx(f->env->broker, site->target->netns_fd, ifindex, d == NET_IN, NULL);
	char name[16];

	if (id <= 0)
		return;
	bpf_program_name((uint32_t)id, name);
	str_addf(ret, "TCX program %d%s%s%s came before the gate at %s of %s\n", id,
		 *name ? " (" : "", name, *name ? ")" : "", net_hook_names[d], device);
}

static void check_gate(const struct fault *f, struct net_site *site, struct str *ret)
{
	const struct net_state *st = net_state_of(f);
	const struct net_params *params = net_params_of(f);
	autorecord r = {0};
	char why[160];

	if (gate_is_changed(st->gate, why, sizeof why))
		str_addf(ret, "%s\n", why);
	net_foreach_port(site, port)
		net_foreach_direction(params, d)
			if (gate_slot_is_closed(st->gate, port->slot + (size_t)d))
				str_addf(ret, "somebody closed the gate at %s of %s\n",
					 net_hook_names[d], port->name);
	net_record_of(f, site, &r);
	for (size_t i = 0; i < r.n_ports; i++)
		net_foreach_direction(params, d) {
			check_hook(f, site, r.name, &r.ports[i], d, ret);
			check_tcx(f, site, r.ports[i].name, r.ports[i].ifindex, d, ret);
		}
}

static void check_engine(const struct net_state *st, struct str *ret)
{
	struct pollfd p = {.events = POLLIN};

	if (!st->engine)
		return;
	p.fd = delay_engine_pidfd(st->engine);
	if (poll(&p, 1, 0) == 1)
		str_add(ret, "the delay engine's process has died\n");
}

/* The whole ----------------------------------------------------------------------------------- */

static struct net_site *site_of(const struct net_state *st, const struct target *t)
{
	net_foreach_site(st, site)
		if (netns_same(site->netns_id, t->netns_id))
			return site;
	return NULL;
}

int net_check(struct fault *f, const struct target *t, struct str *ret, struct err *e)
{
	struct net_state *st = net_state_of(f);
	struct net_site *site = site_of(st, t);
	autolinks links = {0};
	autostr heard = {0};
	int r;

	if (!st->injected)
		return 0;
	if (!site || site->gone || t->netns_fd < 0) {
		str_add(ret, "the target is gone");
		return 0;
	}
	check_engine(st, ret);
	r = link_list(site->nl, &links, e);
	if (r == 0)
		check_links(f, site, &links, ret);
	check_gate(f, site, ret);
	if (r == 0)
		r = check_qdiscs(site, &links, ret, e);
	net_notices_read(f, site, ret->len ? &heard : ret);
	if (!ret->len || !all_ended(t))
		return r;
	str_reset(ret);
	str_add(ret, "the target is gone: its processes have ended");
	return 0;
}
