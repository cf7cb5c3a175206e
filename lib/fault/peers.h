/*
 * peers - the other ends that a network fault is limited to
 *
 * Written as Chaos Mesh's externalTargets: "10.1.2.3", "10.0.0.0/8", "shop.example", each with an
 * optional ":port"; IPv6 with a port in brackets, "[2001:db8::1]:443". IPv4 addresses are kept as
 * ::ffff:a.b.c.d, so that one table serves both.
 *
 * Units:   prefixes are bits of the 128-bit address; port 0 is every port
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct peer {
	uint8_t addr[16];
	uint8_t prefix;
	uint16_t port;
};

struct peers {
	struct peer *items;
	size_t n;
};

/* Adds unless it is there already. */
void peers_add(struct peers *p, const struct peer *peer);
void peers_sort(struct peers *p);
bool peers_equal(const struct peers *a, const struct peers *b);
void peers_done(struct peers *p);
#define autopeers __attribute__((cleanup(peers_done))) struct peers

/* One external target: an address or CIDR into *ret, with *ret_name NULL; or a name, which the
 * caller resolves (and frees), with ret->port set. */
int peer_parse(const char *text, struct peer *ret, char **ret_name, struct err *e);

/* A textual address without port ("10.0.0.1", "2001:db8::1", also with /prefix). */
int peer_parse_address(const char *text, struct peer *ret, struct err *e);

/* "10.0.0.0/8", "10.0.0.1:80", "[2001:db8::1]:443". */
enum { PEER_TEXT_MAX = 64 };
const char *peer_text(const struct peer *p, char *buf);

/* True when the prefix of wide holds the whole of narrow. */
bool peer_covers(const struct peer *wide, const struct peer *narrow);
