/*
 * return_path - how a packet comes back from a delay device
 *
 * What arrives at a delay device is marked with the fault's token and sent to the device it was
 * taken from, to its egress or its ingress; only redirected packets enter. So the target's own
 * qdisc and every filter behind the gate still see the packet, and the gates know how far it is.
 *
 * Owns:    two programs, shared by all of a fault's devices
 */
#pragma once

#include "../kernel/netlink.h"

#include <stdbool.h>
#include <stdint.h>

struct return_path;

int return_path_load(uint16_t token, struct return_path **ret, struct err *e);
void return_path_free(struct return_path *r);
DEFINE_AUTOPTR(return_path, return_path_free);

struct return_device {
	int ifindex; /* of the delay device */
	const char *name;
	int to_ifindex;
	bool to_ingress;
};

/* Adds the requests: clsact and both filters. */
void return_path_attach(const struct return_path *r, const struct return_device *d,
			struct netlink_batch *b);
