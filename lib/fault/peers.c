#include "peers.h"

#include "../base/units.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

static int compare(const void *a, const void *b)
{
	const struct peer *x = a, *y = b;
	int r = memcmp(x->addr, y->addr, sizeof x->addr);

	if (!r)
		r = x->prefix - y->prefix;
	return r ? r : x->port - y->port;
}

void peers_add(struct peers *p, const struct peer *peer)
{
	for (size_t i = 0; i < p->n; i++)
		if (compare(&p->items[i], peer) == 0)
			return;
	*array_push(p->items, p->n) = *peer;
}

void peers_sort(struct peers *p)
{
	if (p->n)
		qsort(p->items, p->n, sizeof *p->items, compare);
}

bool peers_equal(const struct peers *a, const struct peers *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (compare(&a->items[i], &b->items[i]) != 0)
			return false;
	return true;
}

void peers_done(struct peers *p)
{
	free(p->items);
	*p = (struct peers){0};
}

bool peer_covers(const struct peer *wide, const struct peer *narrow)
{
	unsigned bytes = wide->prefix / 8, bits = wide->prefix % 8;
	unsigned char mask = (unsigned char)(0xff00u >> bits);

	if (wide->prefix > narrow->prefix || memcmp(wide->addr, narrow->addr, bytes) != 0)
		return false;
	return !bits || ((wide->addr[bytes] ^ narrow->addr[bytes]) & mask) == 0;
}

/* Host bits are cleared, as in a routing table. */
static void mask_host_bits(struct peer *p)
{
	for (unsigned i = 0; i < 128; i++)
		if (i >= p->prefix)
			p->addr[i / 8] &= (uint8_t)~(0x80u >> i % 8);
}

static int parse_number(const char *s, long max)
{
	char *end;
	long n = strtol(s, &end, 10);

	return isdigit((unsigned char)*s) && !*end && n <= max ? (int)n : -1;
}

int peer_parse_address(const char *text, struct peer *ret, struct err *e)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	autofree char *addr = xstrdup(text);
	char *slash = strchr(addr, '/');
	struct peer p = {0};
	int shift = 0, prefix = 128;

	if (slash)
		*slash++ = '\0';
	if (inet_pton(AF_INET, addr, p.addr + 12) == 1) {
		memcpy(p.addr, mapped, sizeof mapped);
		shift = 96;
	} else if (inet_pton(AF_INET6, addr, p.addr) != 1) {
		return err_set(e, EINVAL, "\"%s\" is not an IP address", text);
	}
	if (slash)
		prefix = shift + parse_number(slash, 128 - shift);
	if (slash && prefix < shift)
		return err_set(e, ERANGE, "\"%s\" has a prefix length outside 0..%d", text,
			       128 - shift);
	p.prefix = (uint8_t)prefix;
	mask_host_bits(&p);
	*ret = p;
	return 0;
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	/* What has digits and dots only was meant as an address. */
	if (!n || n > 253 || strspn(s, "0123456789./:") == n)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("-._", *s))
			return false;
	return true;
}

/* Splits ":port" off text in place; a bare IPv6 address and a URL have none. 0 when there is no
 * port. */
static int split_port(char *text)
{
	char *close = text[0] == '[' ? strchr(text, ']') : NULL;
	char *colon = close ? close + 1 : strchr(text, ':');
	int port;

	if (!close && (!colon || strchr(colon + 1, ':') || strchr(colon, '/')))
		return 0;
	if (close && *colon != ':' && *colon)
		return -1;
	port = *colon ? parse_number(colon + 1, 65535) : 0;
	if (*colon && port <= 0)
		return -1;
	*(close ? close : colon) = '\0';
	if (close)
		memmove(text, text + 1, strlen(text));
	return port;
}

int peer_parse(const char *text, struct peer *ret, char **ret_name, struct err *e)
{
	autofree char *host = xstrdup(text);
	int port = split_port(host), r;

	*ret_name = NULL;
	if (port < 0)
		return err_set(e, EINVAL, "\"%s\" has a port outside 1..65535", text);
	r = peer_parse_address(host, ret, e);
	if (r == 0)
		ret->port = (uint16_t)port;
	if (r == 0 || r == -ERANGE)
		return r;
	if (!is_name(host))
		return err_set(e, EINVAL,
			       "\"%s\" is not an IP address, CIDR or name (want \"10.0.0.1\", "
			       "\"10.0.0.0/8\", \"shop.example\" or one of them and \":port\")",
			       text);
	*ret = (struct peer){.port = (uint16_t)port};
	*ret_name = take(host);
	err_clear(e);
	return 0;
}

const char *peer_text(const struct peer *p, char *buf)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)p->addr) && p->prefix >= 96;
	int bits = v4 ? 32 : 128, prefix = p->prefix - (v4 ? 96 : 0);
	char addr[INET6_ADDRSTRLEN], mask[8] = "", port[8] = "";

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? p->addr + 12 : p->addr, addr, sizeof addr);
	if (prefix < bits)
		snprintf(mask, sizeof mask, "/%d", prefix);
	if (p->port)
		snprintf(port, sizeof port, ":%u", p->port);
	snprintf(buf, PEER_TEXT_MAX, p->port && !v4 ? "[%s%s]%s" : "%s%s%s", addr, mask, port);
	return buf;
}
