/*
 * link - network devices: list them, and messages that add, name and remove them
 *
 * The link_msg_ functions build one request each; send them with netlink_talk or in a batch.
 */
#pragma once

#include "netlink.h"

#include <net/if.h>

struct link {
	int index;
	char name[IFNAMSIZ];
	char kind[16];   /* "veth", "ifb", "tun"; "" for hardware */
	char alias[128]; /* cut off beyond that */
	unsigned flags, type, mtu, group, tx_queue_len;
	int master;
};

struct links {
	struct link *items;
	size_t n;
};

int link_list(struct netlink *nl, struct links *ret, struct err *e);
void links_done(struct links *l);
#define autolinks __attribute__((cleanup(links_done))) struct links
const struct link *link_by_index(const struct links *l, int index);
const struct link *link_by_name(const struct links *l, const char *name);

/* True for devices whose frames begin with an Ethernet header. */
bool link_is_ethernet(const struct link *l);

/* An IFB that is up at once, with an index of the caller's choosing. */
struct nl_msg *link_msg_add_ifb(const char *name, int index, unsigned group);
struct nl_msg *link_msg_set_alias(int index, const char *alias);
struct nl_msg *link_msg_delete(int index);
