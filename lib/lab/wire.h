/*
 * wire - the lab's network: a bridge in the switch namespace, one veth pair to each pod
 *
 * The calling process is in the switch namespace. A pair is made with its peer already in the
 * pod's namespace, so nothing ever appears in the root namespace.
 *
 * Threads: enters pods' namespaces for moments; the process must have one thread only
 */
#pragma once

#include "../base/err.h"

#include "manifest.h"

#define LAB_BRIDGE "lab0"

struct lab_wire;

/* Brings up the bridge in the calling process's network namespace. */
int lab_wire_open(struct lab_wire **ret, struct err *e);
void lab_wire_close(struct lab_wire *w);
DEFINE_AUTOPTR(lab_wire, lab_wire_close);

/* Gives the pod eth0 with its addresses; port is the pod's number. */
int lab_wire_plug(struct lab_wire *w, size_t port, int netns_fd, const struct lab_pod *p,
		  struct err *e);
/* Deletes the pair; a namespace that somebody still holds then answers no more. */
void lab_wire_unplug(struct lab_wire *w, size_t port);

/* The kernel has IPv6, so pods have an address of it. */
bool lab_wire_has_ipv6(const struct lab_wire *w);
/* The switch namespace. */
int lab_wire_netns(const struct lab_wire *w);

/* Deletes the bridge and all pairs of a lab in the calling process's network namespace. */
int lab_wire_clear(struct err *e);
