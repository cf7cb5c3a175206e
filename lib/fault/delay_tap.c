/*
 * Everything about the link that the kernel sends in one batch: attributes, clsact, both filters,
 * and up as the last, so that no packet meets a half-made device.
 *
 * Source: tun_set_offload() in drivers/net/tun.c, tcf_mirred_to_dev() in net/sched/act_mirred.c
 */
#include "delay_tap.h"

#include "../kernel/broker.h"
#include "../kernel/link.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Newer than Debian 12's headers: linux/if_tun.h of 6.2. */
enum { OFFLOAD_USO4 = 0x20, OFFLOAD_USO6 = 0x40 };

enum {
	QUEUE_PACKETS = 8192, /* between two reads of the engine */
	MTU_MAX = 65535 - ETH_HLEN,
};

struct link_facts {
	int ifindex;
	uint32_t mtu;
	uint16_t type; /* ARPHRD_ETHER, ... */
	uint8_t addr[ETH_ALEN];
	char kind[16], alias[IFALIASZ];
};

static void copy_text(char *to, size_t size, const struct nlattr *from)
{
	if (from)
		nla_strlcpy(to, from, size);
}

static int read_link(const struct nlmsghdr *h, void *data)
{
	struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *ifi = nlmsg_data((struct nlmsghdr *)h);
	struct link_facts *f = data;

	if (nlmsg_parse((struct nlmsghdr *)h, sizeof *ifi, tb, IFLA_MAX, NULL) < 0)
		return -EPROTO;
	f->ifindex = ifi->ifi_index;
	f->type = ifi->ifi_type;
	f->mtu = tb[IFLA_MTU] ? nla_get_u32(tb[IFLA_MTU]) : ETH_DATA_LEN;
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == ETH_ALEN)
		memcpy(f->addr, nla_data(tb[IFLA_ADDRESS]), ETH_ALEN);
	copy_text(f->alias, sizeof f->alias, tb[IFLA_IFALIAS]);
	if (tb[IFLA_LINKINFO] && nla_parse_nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL) == 0)
		copy_text(f->kind, sizeof f->kind, info[IFLA_INFO_KIND]);
	return 0;
}

/* By name if there is one, else by index. */
static int ask_link(struct netlink *nl, int ifindex, const char *name, struct link_facts *ret,
		    struct err *e)
{
	struct ifinfomsg ifi = {.ifi_index = ifindex};
	struct nl_msg *msg = netlink_request(RTM_GETLINK, 0, &ifi, sizeof ifi);

	if (name)
		nla_put_string(msg, IFLA_IFNAME, name);
	*ret = (struct link_facts){0};
	return netlink_ask(nl, msg, "get link", read_link, ret, e);
}

static void add_attributes(struct netlink_batch *batch, const struct delay_path *path, int tap,
			   const struct link_facts *device)
{
	struct ifinfomsg ifi = {.ifi_index = tap};
	struct nl_msg *msg = netlink_request(RTM_NEWLINK, 0, &ifi, sizeof ifi);

	if (device->type == ARPHRD_ETHER)
		nla_put(msg, IFLA_ADDRESS, ETH_ALEN, device->addr);
	nla_put_u32(msg, IFLA_MTU, MIN_OF(device->mtu, (uint32_t)MTU_MAX));
	nla_put_u32(msg, IFLA_TXQLEN, QUEUE_PACKETS);
	nla_put_u32(msg, IFLA_GROUP, path->group);
	if (path->tap_alias)
		nla_put_string(msg, IFLA_IFALIAS, path->tap_alias);
	netlink_batch_add(batch, msg, 0, "%s: set link attributes", path->tap_name);
	netlink_batch_add(batch, link_msg_no_ipv6(tap), EAFNOSUPPORT, "%s: no IPv6 address",
			  path->tap_name);
}

static int set_offloads(int fd, const char *name, struct err *e)
{
	const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	if (ioctl(fd, TUNSETOFFLOAD, tcp | OFFLOAD_USO4 | OFFLOAD_USO6) < 0 &&
	    ioctl(fd, TUNSETOFFLOAD, tcp) < 0)
		return err_errno(e, errno, "%s: set offloads", name);
	return 0;
}

int delay_tap_make(struct broker *b, const struct delay_path *path,
		   const struct return_path *back, bool offloads, int *ret_fd,
		   int *ret_ifindex, struct err *e)
{
	struct link_facts device, tap;
	autobatch batch = {0};
	autofd int fd = -1;

	if (ask_link(path->nl, path->ifindex, NULL, &device, e) < 0)
		return err_wrap(e, "device %d", path->ifindex);
	fd = device.type == ARPHRD_ETHER ? broker_tap(b, path->netns_fd, path->tap_name, e)
					 : broker_tun(b, path->netns_fd, path->tap_name, e);
	if (fd < 0)
		return fd;
	if (offloads && set_offloads(fd, path->tap_name, e) < 0)
		return err_wrap(e, "delay device");
	if (ask_link(path->nl, 0, path->tap_name, &tap, e) < 0)
		return err_wrap(e, "%s", path->tap_name);
	add_attributes(&batch, path, tap.ifindex, &device);
	return_path_attach(back, &(struct return_device){tap.ifindex, path->tap_name, path->ifindex,
							 path->direction == DELAY_FROM},
			   &batch);
	netlink_batch_add(&batch, link_msg_up(tap.ifindex), 0, "%s: set link up", path->tap_name);
	if (netlink_batch_run(path->nl, &batch, e) < 0)
		return err_wrap(e, "delay device");
	*ret_fd = take_fd(fd);
	*ret_ifindex = tap.ifindex;
	return 0;
}

int delay_tap_remove(struct netlink *nl, const char *tap_name, const char *tap_alias, struct err *e)
{
	struct err unknown = {0};
	struct ifinfomsg ifi = {0};
	struct link_facts tap;
	int r = ask_link(nl, 0, tap_name, &tap, &unknown);

	if (r == -ENODEV)
		return 0;
	if (r < 0)
		return err_set(e, -r, "%s: %s", tap_name, unknown.text);
	if (!streq(tap.kind, "tun") || !streq(tap.alias, tap_alias ? tap_alias : ""))
		return err_set(e, EEXIST, "%s is not brunt's (kind \"%s\", alias \"%s\")", tap_name,
			       tap.kind, tap.alias);
	ifi.ifi_index = tap.ifindex;
	r = netlink_talk(nl, netlink_request(RTM_DELLINK, 0, &ifi, sizeof ifi), "delete link",
			 &unknown);
	if (r < 0 && r != -ENODEV)
		return err_set(e, -r, "%s: %s", tap_name, unknown.text);
	return 0;
}
