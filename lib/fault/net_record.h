/*
 * net_record - what an undo record of a NetworkChaos says, and its JSON
 *
 * Everything that revert may remove, with the identity by which it is known to be ours: a filter by
 * hook, preference, handle, name and program tag; a device by name and alias. A clsact qdisc is
 * removed when the fault made it and it is empty.
 */
#pragma once

#include "net.h"

struct net_record_filter {
	bool ingress;
	int pref;
	uint32_t handle;
	uint8_t tag[8];
};

struct net_record_port {
	char name[IFNAMSIZ];
	int ifindex;
	bool clsact_made;
	bool no_queue; /* the queue length was 0 before */
	struct net_record_filter filters[NET_DIRECTIONS * GATE_PROGRAMS];
	size_t n_filters;
	struct {
		char name[IFNAMSIZ];
		bool tap; /* else one end of a veth pair */
	} devices[NET_DIRECTIONS];
	size_t n_devices;
};

struct net_record {
	char name[NET_NAME_MAX]; /* of filters, alias of devices */
	struct net_record_port *ports;
	size_t n_ports;
};

void net_record_of(const struct fault *f, const struct net_site *site, struct net_record *ret);
json_t *net_record_to_json(const struct net_record *r);
int net_record_from_json(const json_t *json, struct net_record *ret, struct err *e);
void net_record_done(struct net_record *r);
#define autorecord __attribute__((cleanup(net_record_done))) struct net_record

/* net_resnapshot.c: dump is of the record's target after the fault, before the one of before it. */
void net_pardon_gone(const struct net_record *r, const struct links *links, const char *before,
		     struct str *dump);
