/*
 * Which devices of a namespace a fault is put on. A packet must meet it once each way, whatever
 * stands on what: eth0 under a bridge, a bond, a VLAN, a macvlan, a tunnel. The lowest device sees
 * every packet that comes in or goes out, so those above it are left out, and the plan says so.
 *
 *   ports of a bridge, bond, team, VRF    IFLA_MASTER of the lower ones
 *   VLAN, macvlan, ipvlan, macsec         IFLA_LINK to the lower one
 *   tunnels (vxlan, gre, wireguard, ...)  their packets go out again through another device, in
 *                                         others of their own: left out unless the fault's peers or
 *                                         protocols can be told in what they carry only
 *   a veth with both ends here            carries packets from here to here
 *
 * A device that the user names is taken, whatever stands on or below it.
 */
#include "net.h"

#include <errno.h>
#include <stdio.h>

static const char *const tunnel_kinds[] = {
	"bareudp", "erspan", "geneve",  "gre",  "gretap", "gtp",    "ip6erspan", "ip6gre",
	"ip6gretap", "ip6tnl", "ipip",  "sit",  "vti",    "vti6",   "vxlan",     "wireguard",
	"xfrm",
};
static const char *const udp_tunnel_kinds[] = {"bareudp", "geneve", "gtp", "vxlan", "wireguard"};

static bool is_one_of(const char *kind, const char *const *kinds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (streq(kind, kinds[i]))
			return true;
	return false;
}

static bool is_tunnel(const struct link *l)
{
	return is_one_of(l->kind, tunnel_kinds, ARRAY_SIZE(tunnel_kinds));
}

static bool is_own(const struct link *l)
{
	return ((unsigned)l->index & GATE_IFINDEX_MASK) == GATE_IFINDEX_BASE ||
	       strncmp(l->alias, NET_NAME_PREFIX, strlen(NET_NAME_PREFIX)) == 0;
}

static bool carries_packets(const struct link *l)
{
	return !(l->flags & IFF_LOOPBACK) && (l->flags & IFF_UP) && !streq(l->kind, "ifb") &&
	       !is_own(l);
}

static bool is_inner_veth(const struct links *links, const struct link *l)
{
	const struct link *peer = l->elsewhere ? NULL : link_by_index(links, l->lower);

	return streq(l->kind, "veth") && peer && streq(peer->kind, "veth") && peer->lower == l->index;
}

/* The outer packet of a tunnel is another one: of UDP or of a protocol of its own, to another peer. */
static bool is_told_inside_only(const struct net_params *p, const struct link *l)
{
	if (net_has_peers(p))
		return true;
	return p->protocol != NET_ANY &&
	       (p->protocol != NET_UDP ||
		!is_one_of(l->kind, udp_tunnel_kinds, ARRAY_SIZE(udp_tunnel_kinds)));
}

static bool is_plain(const struct links *links, const struct link *l)
{
	return carries_packets(l) && !is_tunnel(l) && !is_inner_veth(links, l) &&
	       !streq(l->kind, "dummy");
}

/* Another device here that is on the way of what this one carries; NULL: none. */
static const struct link *below(const struct net_params *p, const struct links *links,
				const struct link *l)
{
	const struct link *lower = l->elsewhere ? NULL : link_by_index(links, l->lower);

	for (size_t i = 0; i < links->n; i++)
		if (links->items[i].master == l->index && links->items[i].index != l->index &&
		    carries_packets(&links->items[i]))
			return &links->items[i];
	if (is_inner_veth(links, l) || (is_tunnel(l) && !l->elsewhere && !is_told_inside_only(p, l))) {
		for (size_t i = 0; i < links->n; i++)
			if (links->items[i].index != l->index && is_plain(links, &links->items[i]))
				return &links->items[i];
		return NULL;
	}
	if (is_tunnel(l) || streq(l->kind, "veth"))
		return NULL;
	return lower && lower != l && carries_packets(lower) ? lower : NULL;
}

bool net_is_port(const struct fault *f, const struct links *links, const struct link *l)
{
	const struct net_params *p = net_params_of(f);

	if (p->device)
		return streq(l->name, p->device);
	return carries_packets(l) && !below(p, links, l);
}

static void add_port(struct net_state *st, struct net_site *site, const struct link *l)
{
	struct net_port *port = array_push(site->ports, site->n_ports);

	port->ifindex = l->index;
	port->ethernet = link_is_ethernet(l);
	port->mtu = l->mtu;
	port->no_queue = l->tx_queue_len == 0;
	memcpy(port->address, l->address, sizeof port->address);
	memcpy(port->name, l->name, sizeof port->name);
	port->slot = st->n_slots;
	st->n_slots += NET_DIRECTIONS;
}

static void leave_out(const struct net_params *p, struct net_site *site, const struct links *links,
		      const struct link *l)
{
	const struct link *lower = below(p, links, l);
	autofree char *why = NULL;

	if (!lower || p->device || !carries_packets(l))
		return;
	why = is_inner_veth(links, l)
		? xasprintf("%s is left out: both ends of it are in this namespace", l->name)
		: xasprintf("%s is left out: its packets pass %s, and meet the fault there", l->name,
			    lower->name);
	strlist_add(&site->left_out, why);
}

int net_find_ports(const struct fault *f, struct net_site *site, const struct links *links,
		   struct err *e)
{
	const struct net_params *p = net_params_of(f);

	for (size_t i = 0; i < links->n; i++)
		if (net_is_port(f, links, &links->items[i]))
			add_port(net_state_of(f), site, &links->items[i]);
		else
			leave_out(p, site, links, &links->items[i]);
	if (site->n_ports)
		return 0;
	if (p->device)
		return err_set(e, ENODEV, "%s has no device \"%s\"", site->id, p->device);
	return err_set(e, ENODEV, "%s has no network device that is up, besides loopback",
		       site->id);
}
