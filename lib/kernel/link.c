#include "link.h"

#include "../base/mem.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/veth.h>
#include <stdio.h>

static void copy_text(char *to, size_t len, const struct nlattr *attr)
{
	if (attr)
		snprintf(to, len, "%.*s", nla_len(attr), (const char *)nla_data(attr));
}

static unsigned get_u32(const struct nlattr *attr)
{
	return attr ? nla_get_u32((struct nlattr *)attr) : 0;
}

static int read_link(const struct nlmsghdr *h, void *data)
{
	struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1] = {0};
	const struct ifinfomsg *ifi = nlmsg_data(h);
	struct links *links = data;
	struct link *l;

	if (h->nlmsg_type != RTM_NEWLINK ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof *ifi, tb, IFLA_MAX, NULL) < 0)
		return 0;
	if (tb[IFLA_LINKINFO])
		nla_parse_nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL);
	l = array_push(links->items, links->n);
	l->index = ifi->ifi_index;
	l->flags = ifi->ifi_flags;
	l->type = ifi->ifi_type;
	l->mtu = get_u32(tb[IFLA_MTU]);
	l->group = get_u32(tb[IFLA_GROUP]);
	l->tx_queue_len = get_u32(tb[IFLA_TXQLEN]);
	l->master = (int)get_u32(tb[IFLA_MASTER]);
	l->lower = (int)get_u32(tb[IFLA_LINK]);
	l->elsewhere = tb[IFLA_LINK_NETNSID] != NULL;
	copy_text(l->name, sizeof l->name, tb[IFLA_IFNAME]);
	copy_text(l->alias, sizeof l->alias, tb[IFLA_IFALIAS]);
	copy_text(l->kind, sizeof l->kind, info[IFLA_INFO_KIND]);
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == sizeof l->address)
		memcpy(l->address, nla_data(tb[IFLA_ADDRESS]), sizeof l->address);
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct link *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

int link_list(struct netlink *nl, struct links *ret, struct err *e)
{
	int r;

	do {
		const struct ifinfomsg ifi = {0};

		links_done(ret);
		r = netlink_ask(nl, netlink_request(RTM_GETLINK, NLM_F_DUMP, &ifi, sizeof ifi),
				"list network devices", read_link, ret, e);
	} while (r == -EAGAIN);
	if (r == 0 && ret->n)
		qsort(ret->items, ret->n, sizeof *ret->items, by_index);
	return r;
}

void links_done(struct links *l)
{
	free(l->items);
	*l = (struct links){0};
}

const struct link *link_by_index(const struct links *l, int index)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].index == index)
			return &l->items[i];
	return NULL;
}

const struct link *link_by_name(const struct links *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (streq(l->items[i].name, name))
			return &l->items[i];
	return NULL;
}

bool link_is_ethernet(const struct link *l)
{
	return l->type == ARPHRD_ETHER;
}

static void put_end(struct nl_msg *msg, const struct link_pair *p, int end)
{
	nla_put_string(msg, IFLA_IFNAME, p->name[end]);
	nla_put(msg, IFLA_ADDRESS, sizeof p->address, p->address);
	nla_put_u32(msg, IFLA_MTU, p->mtu);
	nla_put_u32(msg, IFLA_GROUP, p->group);
	/* One queue: what it carries is serialised by its qdisc anyhow. */
	nla_put_u32(msg, IFLA_NUM_TX_QUEUES, 1);
	nla_put_u32(msg, IFLA_NUM_RX_QUEUES, 1);
}

struct nl_msg *link_msg_add_pair(const struct link_pair *p)
{
	const struct ifinfomsg first = {.ifi_index = p->index[0]}, second = {.ifi_index = p->index[1]};
	struct nl_msg *msg =
		netlink_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &first, sizeof first);
	struct nlattr *info, *data, *peer;

	put_end(msg, p, 0);
	info = nla_nest_start(msg, IFLA_LINKINFO);
	nla_put_string(msg, IFLA_INFO_KIND, "veth");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	peer = nla_nest_start(msg, VETH_INFO_PEER);
	nlmsg_append(msg, (void *)&second, sizeof second, NLMSG_ALIGNTO);
	put_end(msg, p, 1);
	nla_nest_end(msg, peer);
	nla_nest_end(msg, data);
	nla_nest_end(msg, info);
	return msg;
}

struct nl_msg *link_msg_no_ipv6(int index)
{
	const struct ifinfomsg ifi = {.ifi_index = index};
	struct nl_msg *msg = netlink_request(RTM_NEWLINK, 0, &ifi, sizeof ifi);
	struct nlattr *spec = nla_nest_start(msg, IFLA_AF_SPEC), *inet6;

	inet6 = nla_nest_start(msg, AF_INET6);
	nla_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	nla_nest_end(msg, inet6);
	nla_nest_end(msg, spec);
	return msg;
}

struct nl_msg *link_msg_up(int index)
{
	const struct ifinfomsg ifi = {
		.ifi_index = index,
		.ifi_flags = IFF_UP | IFF_NOARP,
		.ifi_change = IFF_UP | IFF_NOARP,
	};

	return netlink_request(RTM_NEWLINK, 0, &ifi, sizeof ifi);
}

struct nl_msg *link_msg_set_alias(int index, const char *alias)
{
	const struct ifinfomsg ifi = {.ifi_index = index};
	struct nl_msg *msg = netlink_request(RTM_SETLINK, 0, &ifi, sizeof ifi);

	nla_put(msg, IFLA_IFALIAS, (int)strlen(alias), alias);
	return msg;
}

struct nl_msg *link_msg_set_queue(int index, unsigned packets)
{
	const struct ifinfomsg ifi = {.ifi_index = index};
	struct nl_msg *msg = netlink_request(RTM_NEWLINK, 0, &ifi, sizeof ifi);

	nla_put_u32(msg, IFLA_TXQLEN, packets);
	return msg;
}

struct nl_msg *link_msg_delete(int index)
{
	const struct ifinfomsg ifi = {.ifi_index = index};

	return netlink_request(RTM_DELLINK, 0, &ifi, sizeof ifi);
}
