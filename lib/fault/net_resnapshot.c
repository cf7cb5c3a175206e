/*
 * A target's state after the fault, to be compared with the one before. A device that somebody else
 * took away, or made anew, in mid-fault took along what the fault had put on it: nothing of it can be
 * left there. When one of the fault's own devices is gone, the devices that went are shown as they
 * were, and those that came are not shown, unless they are brunt's. The gap is told by net_check.
 */
#include "../kernel/netdump.h"
#include "net_record.h"

#include <errno.h>
#include <stdio.h>

static bool port_is_gone(const struct net_record *r, const struct links *links)
{
	for (size_t i = 0; i < r->n_ports; i++)
		if (!link_by_index(links, r->ports[i].ifindex))
			return true;
	return false;
}

/* "device 5 eth0 ...": the number and the name, false for another line. */
static bool read_device(const char *line, int *ret_index, char ret_name[IFNAMSIZ])
{
	return sscanf(line, "device %d %15s", ret_index, ret_name) == 2;
}

/* The device that the line is about: its second word, after the number where there is one. */
static void name_in(const char *line, char ret[IFNAMSIZ])
{
	int index;

	if (!read_device(line, &index, ret) && sscanf(line, "%*s %15s", ret) != 1)
		ret[0] = '\0';
}

static bool has_device(const struct strlist *lines, int index, const char *name)
{
	char n[IFNAMSIZ];
	int i;

	for (size_t k = 0; k < lines->n; k++)
		if (read_device(lines->items[k], &i, n) && i == index && streq(n, name))
			return true;
	return false;
}

/* Names of the devices of one list that are not in the other. */
static void list_missing(const struct strlist *of, const struct strlist *in, struct strlist *ret)
{
	char name[IFNAMSIZ];
	int index;

	for (size_t i = 0; i < of->n; i++)
		if (read_device(of->items[i], &index, name) && !has_device(in, index, name))
			strlist_add(ret, name);
}

static bool is_brunts(const struct strlist *lines, const char *name)
{
	char n[IFNAMSIZ];
	int index;

	for (size_t i = 0; i < lines->n; i++)
		if (read_device(lines->items[i], &index, n) && streq(n, name))
			return strstr(lines->items[i], "alias \"" NET_NAME_PREFIX) ||
			       ((unsigned)index & GATE_IFINDEX_MASK) == GATE_IFINDEX_BASE;
	return false;
}

static void split(const char *text, struct strlist *ret)
{
	while (text && *text) {
		size_t len = strcspn(text, "\n");
		autofree char *line = xstrndup(text, len);

		strlist_add(ret, line);
		text += len + (text[len] == '\n');
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void pardon(const struct strlist *was, const struct strlist *now, struct strlist *ret)
{
	struct strlist went = {0}, came = {0};
	char name[IFNAMSIZ];

	list_missing(was, now, &went);
	list_missing(now, was, &came);
	for (size_t i = 0; i < now->n; i++) {
		name_in(now->items[i], name);
		if (!strlist_has(&came, name) || is_brunts(now, name))
			strlist_add(ret, now->items[i]);
	}
	for (size_t i = 0; i < was->n; i++) {
		name_in(was->items[i], name);
		if (strlist_has(&went, name))
			strlist_add(ret, was->items[i]);
	}
	if (ret->n)
		qsort(ret->items, ret->n, sizeof *ret->items, by_text);
	strlist_done(&went);
	strlist_done(&came);
}

void net_pardon_gone(const struct net_record *r, const struct links *links, const char *before,
		     struct str *dump)
{
	struct strlist was = {0}, now = {0}, shown = {0};

	if (!before || !port_is_gone(r, links))
		return;
	split(before, &was);
	split(dump->s, &now);
	pardon(&was, &now, &shown);
	str_reset(dump);
	for (size_t i = 0; i < shown.n; i++)
		str_addf(dump, "%s\n", shown.items[i]);
	strlist_done(&was);
	strlist_done(&now);
	strlist_done(&shown);
}
