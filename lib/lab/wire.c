/*
 * Hardware addresses are set: a bridge without one takes the lowest of its ports', and would
 * change it, and so everybody's neighbour tables, as pods come and go. Multicast snooping is off
 * for want of a querier: IPv6 neighbour discovery must reach every port. Duplicate address
 * detection is skipped, the addresses are unique by construction and a pod could not use them for
 * its first second.
 */
#include "wire.h"

#include "../kernel/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>

/* Links of the lab are of one group: deleting 200 one by one takes 30 ms each, together 60 ms. */
enum { LINK_GROUP = 77 };

enum { PREFIX4 = 16, PREFIX6 = 64, LOOPBACK_INDEX = 1 };

static const char switch4[] = "10.77.0.1", switch6[] = "fd00:77::1";

struct lab_wire {
	struct netlink *nl;
	int netns_fd;
	int bridge;
	bool ipv6;
};

static int open_here(struct netlink **ret, struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? err_errno(e, errno, "netlink socket") : netlink_adopt(fd, ret, e);
}

static struct nl_msg *link_request(int type, int flags, int index, unsigned up)
{
	const struct ifinfomsg info = {
		.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = up, .ifi_change = up};

	return netlink_request(type, flags, &info, sizeof info);
}

static void put_mac(struct nl_msg *m, unsigned char kind, size_t n)
{
	const unsigned char mac[] = {0x02, 0x77, kind, n >> 16, n >> 8, n};

	nla_put(m, IFLA_ADDRESS, sizeof mac, mac);
}

static struct nl_msg *bridge_request(void)
{
	struct nl_msg *m = link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, IFF_UP);
	struct nlattr *info, *data;

	nla_put_string(m, IFLA_IFNAME, LAB_BRIDGE);
	nla_put_u32(m, IFLA_GROUP, LINK_GROUP);
	put_mac(m, 1, 1);
	info = nla_nest_start(m, IFLA_LINKINFO);
	nla_put_string(m, IFLA_INFO_KIND, "bridge");
	data = nla_nest_start(m, IFLA_INFO_DATA);
	nla_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

static void port_name(size_t port, char *buf)
{
	snprintf(buf, IF_NAMESIZE, "pod%zu", port);
}

static struct nl_msg *veth_request(const struct lab_wire *w, size_t port, int netns_fd)
{
	const struct ifinfomsg peer_header = {.ifi_family = AF_UNSPEC};
	struct nl_msg *m = link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, IFF_UP);
	struct nlattr *info, *data, *peer;
	char name[IF_NAMESIZE];

	port_name(port, name);
	nla_put_string(m, IFLA_IFNAME, name);
	nla_put_u32(m, IFLA_GROUP, LINK_GROUP);
	nla_put_u32(m, IFLA_MASTER, w->bridge);
	info = nla_nest_start(m, IFLA_LINKINFO);
	nla_put_string(m, IFLA_INFO_KIND, "veth");
	data = nla_nest_start(m, IFLA_INFO_DATA);
	peer = nla_nest_start(m, VETH_INFO_PEER);
	nlmsg_append(m, (void *)&peer_header, sizeof peer_header, NLMSG_ALIGNTO);
	nla_put_string(m, IFLA_IFNAME, "eth0");
	put_mac(m, 0, port);
	nla_put_u32(m, IFLA_NET_NS_FD, netns_fd);
	nla_nest_end(m, peer);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

static struct nl_msg *address_request(int index, int family, const char *address)
{
	const struct ifaddrmsg header = {
		.ifa_family = family,
		.ifa_prefixlen = family == AF_INET ? PREFIX4 : PREFIX6,
		.ifa_flags = family == AF_INET ? 0 : IFA_F_NODAD,
		.ifa_index = index,
	};
	struct nl_msg *m = netlink_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header,
					   sizeof header);
	unsigned char bytes[sizeof(struct in6_addr)];
	int len = family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);

	inet_pton(family, address, bytes);
	nla_put(m, IFA_LOCAL, len, bytes);
	nla_put(m, IFA_ADDRESS, len, bytes);
	return m;
}

static void add_addresses(const struct lab_wire *w, struct netlink_batch *b, int index,
			  const char *v4, const char *v6)
{
	netlink_batch_add(b, address_request(index, AF_INET, v4), 0, "address %s", v4);
	if (w->ipv6)
		netlink_batch_add(b, address_request(index, AF_INET6, v6), 0, "address %s", v6);
}

static bool kernel_has_ipv6(void)
{
	autofd int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_RDONLY | O_CLOEXEC);
	char c = '1';

	return fd >= 0 && read(fd, &c, 1) == 1 && c == '0';
}

int lab_wire_open(struct lab_wire **ret, struct err *e)
{
	autoptr(lab_wire) w = xcalloc(1, sizeof *w);
	autobatch b = {0};
	int r;

	w->ipv6 = kernel_has_ipv6();
	w->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (w->netns_fd < 0)
		return err_errno(e, errno, "/proc/self/ns/net");
	r = open_here(&w->nl, e);
	if (r < 0)
		return r;
	r = netlink_talk(w->nl, bridge_request(), "bridge " LAB_BRIDGE, e);
	if (r < 0)
		return r;
	w->bridge = if_nametoindex(LAB_BRIDGE);
	netlink_batch_add(&b, link_request(RTM_NEWLINK, 0, LOOPBACK_INDEX, IFF_UP), 0, "lo up");
	add_addresses(w, &b, w->bridge, switch4, switch6);
	r = netlink_batch_run(w->nl, &b, e);
	if (r < 0)
		return r;
	*ret = take(w);
	return 0;
}

void lab_wire_close(struct lab_wire *w)
{
	if (!w)
		return;
	netlink_close(w->nl);
	if (w->netns_fd >= 0)
		close(w->netns_fd);
	free(w);
}

/* A netlink socket in the pod's namespace and the number of its eth0. */
static int enter_pod(const struct lab_wire *w, int netns_fd, struct netlink **ret, int *ret_index,
		     struct err *e)
{
	int r;

	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return err_errno(e, errno, "enter network namespace");
	*ret_index = if_nametoindex("eth0");
	r = open_here(ret, e);
	if (setns(w->netns_fd, CLONE_NEWNET) < 0)
		abort(); /* to go on in a pod's namespace would put the next pods' links there */
	return r;
}

int lab_wire_plug(struct lab_wire *w, size_t port, int netns_fd, const struct lab_pod *p,
		  struct err *e)
{
	autoptr(netlink) nl = NULL;
	autobatch b = {0};
	int index = 0, r;

	lab_wire_unplug(w, port); /* the pair of a pod's earlier life may linger on */
	r = netlink_talk(w->nl, veth_request(w, port, netns_fd), "veth pair", e);
	if (r < 0)
		return r;
	r = enter_pod(w, netns_fd, &nl, &index, e);
	if (r < 0)
		return r;
	netlink_batch_add(&b, link_request(RTM_NEWLINK, 0, LOOPBACK_INDEX, IFF_UP), 0, "lo up");
	netlink_batch_add(&b, link_request(RTM_NEWLINK, 0, index, IFF_UP), 0, "eth0 up");
	add_addresses(w, &b, index, p->address4, p->address6);
	return netlink_batch_run(nl, &b, e);
}

void lab_wire_unplug(struct lab_wire *w, size_t port)
{
	struct nl_msg *m = link_request(RTM_DELLINK, 0, 0, 0);
	char name[IF_NAMESIZE];

	port_name(port, name);
	nla_put_string(m, IFLA_IFNAME, name);
	netlink_talk(w->nl, m, name, NULL);
}

bool lab_wire_has_ipv6(const struct lab_wire *w)
{
	return w->ipv6;
}

int lab_wire_netns(const struct lab_wire *w)
{
	return w->netns_fd;
}

int lab_wire_clear(struct err *e)
{
	struct nl_msg *m = link_request(RTM_DELLINK, 0, 0, 0);
	autoptr(netlink) nl = NULL;
	autobatch b = {0};
	int r = open_here(&nl, e);

	nla_put_u32(m, IFLA_GROUP, LINK_GROUP);
	netlink_batch_add(&b, m, ENODEV, "delete links");
	return r < 0 ? r : netlink_batch_run(nl, &b, e);
}
