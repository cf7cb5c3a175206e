/*
 * netlink - requests inside a network namespace, without entering it
 *
 * The socket is made in the namespace by the broker. Messages are built with libnl; sending and
 * receiving is done here so that many requests travel in one system call and each failure carries
 * the kernel's extended-ack text.
 *
 * Owns:    netlink_open's handle owns its socket; messages given to netlink_batch_add are taken
 * Threads: one thread at a time for each handle; handles are independent
 * Errors:  "WHAT: kernel's text: Operation not permitted", WHAT as given by the caller
 */
#pragma once

#include "../base/err.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NETLINK_MESSAGE_MAX = 256 << 10 }; /* bytes, for socket buffers and one message */

struct broker;
struct netlink;

int netlink_open(struct broker *b, int netns_fd, int protocol, struct netlink **ret, struct err *e);
/* On a netlink socket of the caller's own making; it is taken, also on failure. */
int netlink_adopt(int socket_fd, struct netlink **ret, struct err *e);
void netlink_close(struct netlink *nl);
DEFINE_AUTOPTR(netlink, netlink_close);

/* A request with a fixed header (ifinfomsg, tcmsg, ...) copied in. */
struct nl_msg *netlink_request(int type, int flags, const void *header, size_t len);

/* Sends one request, frees it, waits for its acknowledgement. */
int netlink_talk(struct netlink *nl, struct nl_msg *msg, const char *what, struct err *e);

/* Sends one request, frees it and calls fn for every message of the answer (one, or a dump's
 * many). fn's negative result is returned after the whole answer was read. -EAGAIN: a change
 * went on during the dump, what fn saw may be inconsistent; ask again. */
int netlink_ask(struct netlink *nl, struct nl_msg *msg, const char *what,
	   int (*fn)(const struct nlmsghdr *msg, void *data), void *data, struct err *e);

/*
 * Requests that travel together. The kernel carries out each one, also after one that failed;
 * netlink_batch_run reports the first failure that is not in its request's list of pardoned errors.
 */
struct netlink_batch {
	struct netlink_batch_item {
		struct nl_msg *msg;
		char what[96];
		int pardon; /* errno that counts as done; 0: none */
		int error;  /* positive errno after netlink_batch_run */
		uint32_t seq;
	} *items;
	size_t n;
};

void netlink_batch_add(struct netlink_batch *b, struct nl_msg *msg, int pardon, const char *fmt, ...)
	format_like(4, 5);
int netlink_batch_run(struct netlink *nl, struct netlink_batch *b, struct err *e);
void netlink_batch_done(struct netlink_batch *b);
#define autobatch __attribute__((cleanup(netlink_batch_done))) struct netlink_batch

/* Whether a handle of this process has, or had, this port: notices of changes name their maker's. */
bool netlink_is_ours(uint32_t port);
int netlink_fd(const struct netlink *nl);
