/*
 * link - network devices: list them, and messages that add, name and remove them
 *
 * The link_msg_ functions build one request each; send them with netlink_talk or in a batch.
 */
#pragma once

#include "netlink.h"

#include <net/if.h>

enum { LINK_ADDRESS = 6 };

struct link {
	int index;
	char name[IFNAMSIZ];
	char kind[16];   /* "veth", "ifb", "tun"; "" for hardware */
	char alias[128]; /* cut off beyond that */
	unsigned flags, type, mtu, group, tx_queue_len;
	int master;
	int lower;      /* the device it stands on, or a veth's other end (IFLA_LINK); 0: none */
	bool elsewhere; /* that one is in another namespace */
	uint8_t address[LINK_ADDRESS]; /* zero unless it has one of this length */
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

/* A veth pair within one namespace, with indices of the caller's choosing. */
struct link_pair {
	const char *name[2];
	int index[2];
	uint8_t address[LINK_ADDRESS]; /* of both */
	unsigned mtu, group;
};
struct nl_msg *link_msg_add_pair(const struct link_pair *p);
/* No address of its own making; a kernel without IPv6 answers EAFNOSUPPORT. */
struct nl_msg *link_msg_no_ipv6(int index);
struct nl_msg *link_msg_up(int index); /* and without ARP */
struct nl_msg *link_msg_set_alias(int index, const char *alias);
struct nl_msg *link_msg_set_queue(int index, unsigned packets); /* IFLA_TXQLEN */
struct nl_msg *link_msg_delete(int index);
