/*
 * broker - the small process that enters namespaces and hands back file descriptors
 *
 * setns needs CAP_SYS_ADMIN and changes a whole thread; the broker does it in a process of its
 * own, re-executed from /proc/self/exe, and answers over a socketpair with SCM_RIGHTS. The rest of
 * brunt runs without that capability. One request at a time, synchronous: an answer takes some
 * 20 us, and one that has died or does not answer within 3 s is killed and replaced. The broker exits
 * when its socket closes and is killed when the thread that started it ends.
 *
 * Threads: a broker handle may be used from one thread at a time
 * Errors:  the kernel's errno of the failing call, with the namespace in the text
 */
#pragma once

#include "../base/err.h"
#include "netns.h"

#include <stdbool.h>
#include <stdint.h>

struct broker;

/* The role (cmd/brunt/roles.def) that the broker process is re-executed in. */
#define BROKER_ROLE "__broker"
int broker_main(int argc, char **argv);

int broker_start(struct broker **ret, struct err *e);
void broker_stop(struct broker *b);
DEFINE_AUTOPTR(broker, broker_stop);
/* A second process in waiting, for a caller that will not be allowed to start one. */
int broker_keep_spare(struct broker *b, struct err *e);

/* Completes the identity of the namespace behind the fd by its cookie. */
int broker_netns_cookie(struct broker *b, int netns_fd, struct netns_id *id, struct err *e);

/* A socket made inside the network namespace; netns_fd -1 means brunt's own. */
int broker_socket(struct broker *b, int netns_fd, int domain, int type, int protocol,
		  struct err *e);

/* A TAP device with IFF_VNET_HDR made inside the namespace; the fd reads and writes its frames. */
int broker_tap(struct broker *b, int netns_fd, const char *name, struct err *e);
/* The same for a device without Ethernet header: a TUN with IFF_VNET_HDR. */
int broker_tun(struct broker *b, int netns_fd, const char *name, struct err *e);

/* Opens a file as seen from the namespace ("/proc/net/...", "/proc/sys/net/...") with flags. */
int broker_open(struct broker *b, int netns_fd, const char *path, int flags, struct err *e);

/* A new, empty network namespace that lives as long as the fd: to try what the kernel can do. */
int broker_scratch(struct broker *b, struct err *e);

/* The id of the first TCX program at a device's ingress or egress; 0: none, or no TCX here. */
int broker_first_tcx(struct broker *b, int netns_fd, int ifindex, bool ingress, struct err *e);
