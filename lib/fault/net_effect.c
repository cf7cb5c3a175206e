/*
 * The probes of a fault: whom they are sent to, and when. What they and the gate's counters say is
 * net_figures.c's business.
 *
 * A probe is compared with the control that was sent beside it and that this fault alone let pass:
 * a fault that begins or ends on the same target meanwhile changes both alike.
 */
#include "../base/clock.h"
#include "net.h"
#include "net_probe.h"

#include <linux/neighbour.h>
#include <poll.h>

enum {
	PROBED_SITES = 4,    /* of many targets, this many are probed */
	BASELINE_PROBES = 4, /* each, before the fault; the first pays for ARP */
};

static const int64_t baseline_wait_ns = 300 * NSEC_PER_MSEC;

static bool can_probe(const struct net_params *p)
{
	return p->protocol != NET_UDP;
}

static bool wants_tcp(const struct net_params *p)
{
	return p->protocol == NET_TCP;
}

/* In reach of the fault: covered by a peer, if there are peers. Fills in the port to probe. */
static bool matches(const struct net_state *st, const struct net_params *p, struct peer *d)
{
	if (!net_has_peers(p))
		return !wants_tcp(p);
	for (size_t i = 0; i < st->peers.n; i++) {
		if (!peer_covers(&st->peers.items[i], d))
			continue;
		d->port = st->peers.items[i].port;
		return d->port || !wants_tcp(p);
	}
	return false;
}

struct candidates {
	const struct net_state *st;
	const struct net_params *params;
	struct net_probe *probe;
};

static void add_candidate(struct candidates *c, const void *addr, int len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct peer d = {.prefix = 128};

	if (len == 4)
		memcpy(d.addr, mapped, sizeof mapped);
	memcpy(d.addr + 16 - len, addr, (size_t)len);
	/* Multicast, and link-local addresses, which need a device to be reached. */
	if ((len == 16 && (d.addr[0] == 0xff || (d.addr[0] == 0xfe && d.addr[1] == 0x80))) ||
	    (len == 4 && d.addr[12] >= 224))
		return;
	if (matches(c->st, c->params, &d))
		net_probe_add(c->probe, &d);
}

static int add_attr(const struct nlmsghdr *h, size_t header, int type, struct candidates *c)
{
	struct nlattr *a = nlmsg_find_attr((struct nlmsghdr *)h, (int)header, type);

	if (a && (nla_len(a) == 4 || nla_len(a) == 16))
		add_candidate(c, nla_data(a), nla_len(a));
	return 0;
}

/* Gateways, and hosts with a route of their own: behind a tunnel nobody is a neighbour. IPv6 has
 * such routes for the namespace's own addresses, too, made by the kernel. */
static int add_route(const struct nlmsghdr *h, void *data)
{
	const struct rtmsg *r = nlmsg_data(h);
	bool host = r->rtm_dst_len == (r->rtm_family == AF_INET ? 32 : 128);

	if (r->rtm_type != RTN_UNICAST)
		return 0;
	if (host && (r->rtm_family == AF_INET || r->rtm_protocol != RTPROT_KERNEL))
		add_attr(h, sizeof *r, RTA_DST, data);
	return add_attr(h, sizeof *r, RTA_GATEWAY, data);
}

static int add_neighbour(const struct nlmsghdr *h, void *data)
{
	const struct ndmsg *n = nlmsg_data(h);

	if (n->ndm_state & (NUD_NOARP | NUD_FAILED | NUD_INCOMPLETE))
		return 0;
	return add_attr(h, sizeof *n, NDA_DST, data);
}

static void add_hosts(const struct fault *f, struct candidates *c)
{
	const struct vantage *v = f->env->vantage;

	for (size_t i = 0; v && i < v->hosts.n; i++) {
		autofree char *first = xstrdup(v->hosts.items[i].value);
		struct peer p;

		first[strcspn(first, ", ")] = '\0';
		if (peer_parse_address(first, &p, NULL) == 0 && matches(c->st, c->params, &p))
			net_probe_add(c->probe, &p);
	}
}

/* NULL when there is nobody to ask. */
static struct net_probe *new_probe(const struct fault *f, const struct net_site *site)
{
	const struct rtmsg route = {0};
	const struct ndmsg neighbour = {0};
	struct candidates c = {
		.st = net_state_of(f),
		.params = net_params_of(f),
		.probe = net_probe_new(f->env->broker, site->target->netns_fd),
	};

	for (size_t i = 0; i < c.st->peers.n; i++) {
		const struct peer *p = &c.st->peers.items[i];

		if (p->prefix == 128 && (p->port || !wants_tcp(c.params)))
			net_probe_add(c.probe, p);
	}
	netlink_ask(site->nl, netlink_request(RTM_GETROUTE, NLM_F_DUMP, &route, sizeof route),
		    "list routes", add_route, &c, NULL);
	netlink_ask(site->nl,
		    netlink_request(RTM_GETNEIGH, NLM_F_DUMP, &neighbour, sizeof neighbour),
		    "list neighbours", add_neighbour, &c, NULL);
	add_hosts(f, &c);
	if (net_probe_has_destination(c.probe))
		return c.probe;
	net_probe_free(c.probe);
	return NULL;
}

void net_probe_start(struct fault *f)
{
	struct net_state *st = net_state_of(f);
	size_t n = 0;

	if (!can_probe(net_params_of(f)))
		return;
	net_foreach_site(st, site) {
		if (n++ == PROBED_SITES)
			return;
		site->probe = new_probe(f, site);
		for (int i = 0; site->probe && i < BASELINE_PROBES; i++)
			net_probe_send(site->probe);
	}
}

static size_t unanswered(struct net_state *st)
{
	size_t n = 0;

	net_foreach_site(st, site) {
		if (!site->probe)
			continue;
		net_probe_read(site->probe);
		n += !net_probe_answered(site->probe);
	}
	return n;
}

/* From here on the probe's controls are let pass. */
static void settle(const struct net_state *st, const struct net_site *site)
{
	if (net_probe_is_settled(site->probe) || !net_probe_settle(site->probe))
		return;
	net_foreach_port(site, port)
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			gate_exempt(st->gate, port->slot + (size_t)d, net_probe_flow(site->probe));
}

/* The answers came while the journal was written, except where nobody answers, or late because of
 * another fault: those probes settle when they do. */
void net_probe_baseline_done(struct fault *f)
{
	struct net_state *st = net_state_of(f);
	int64_t end = clock_now_ns() + baseline_wait_ns;

	while (unanswered(st) && clock_now_ns() < end)
		poll(NULL, 0, 5);
	net_foreach_site(st, site)
		if (site->probe) {
			settle(st, site);
			net_probe_forget_packets(site->probe); /* no gate has met them */
		}
}

void net_probe_tick(struct fault *f)
{
	struct net_state *st = net_state_of(f);

	net_foreach_site(st, site)
		if (site->probe) {
			net_probe_read(site->probe);
			settle(st, site);
			net_probe_send(site->probe);
		}
}
