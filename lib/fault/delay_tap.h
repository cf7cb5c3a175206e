/*
 * delay_tap - the delay device of one path: a TAP beside the target's device
 *
 * It takes the device's hardware address and MTU, so that a packet written to it is "for this
 * host" exactly when it was on the device; it has no address, no ARP and no IPv6 of its own.
 *
 * Owns: the TAP lives as long as its descriptor; filters go with it
 */
#pragma once

#include "delay_engine.h"
#include "return_path.h"

/* offloads false: frames arrive in MTU size with complete checksums. */
int delay_tap_make(struct broker *b, const struct delay_path *path,
		   const struct return_path *back, bool offloads, int *ret_fd,
		   int *ret_ifindex, struct err *e);
