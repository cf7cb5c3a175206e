/*
 * What was changed and changed back between two looks: the kernel tells each change of a namespace's
 * links, qdiscs and filters to who listens, with the netlink port of whoever made it. brunt's own ports
 * are known (another fault of the run adds filters beside this one's).
 */
#include "net.h"

#include "../kernel/broker.h"
#include "net_record.h"

#include <errno.h>
#include <linux/pkt_sched.h>
#include <netlink/attr.h>
#include <stdio.h>
#include <sys/socket.h>

enum { LINES_MAX = 8, BUFFER = 1 << 20 };

struct net_notices {
	int fd;
};

int net_notices_begin(const struct fault *f, struct net_site *site, struct err *e)
{
	const struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_TC};
	static const int size = BUFFER;
	autofd int fd = broker_socket(f->env->broker, site->target->netns_fd, AF_NETLINK, SOCK_RAW,
				      NETLINK_ROUTE, e);

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	if (bind(fd, (const struct sockaddr *)&all, sizeof all) < 0)
		return err_errno(e, errno, "listen to the kernel's notices");
	net_notices_free(site->notices);
	site->notices = xcalloc(1, sizeof *site->notices);
	site->notices->fd = take_fd(fd);
	return 0;
}

void net_notices_free(struct net_notices *n)
{
	if (n)
		close(n->fd);
	free(n);
}

/* ", by process 4711 (tc)": who has a netlink socket without saying otherwise has his pid for a port. */
static void add_maker(const struct nlmsghdr *h, struct str *ret)
{
	autofree char *path = xasprintf("/proc/%u/comm", h->nlmsg_pid), *name = NULL;
	size_t size = 0;
	FILE *f = h->nlmsg_pid ? fopen(path, "re") : NULL;

	if (f && getline(&name, &size, f) > 0)
		str_addf(ret, ", by process %u (%.*s)", h->nlmsg_pid, (int)strcspn(name, "\n"), name);
	else if (h->nlmsg_pid)
		str_addf(ret, ", by netlink port %u", h->nlmsg_pid);
	if (f)
		fclose(f);
	str_add(ret, "\n");
}

static const char *of_device(const struct net_site *site, int ifindex, bool *ret_port)
{
	net_foreach_port(site, port) {
		*ret_port = true;
		if (port->ifindex == ifindex)
			return port->name;
		*ret_port = false;
		for (int d = NET_OUT; d < NET_DIRECTIONS; d++)
			if (*port->device[d].name && port->device[d].ifindex == ifindex)
				return port->device[d].name;
	}
	return NULL;
}

static bool hear_link(const struct net_site *site, const struct nlmsghdr *h, struct str *ret)
{
	const struct ifinfomsg *i = NLMSG_DATA(h);
	bool port;
	const char *name = of_device(site, i->ifi_index, &port);

	if (!name || (h->nlmsg_type == RTM_NEWLINK && i->ifi_flags & IFF_UP))
		return false;
	str_addf(ret, "device %s was %s meanwhile", name,
		 h->nlmsg_type == RTM_DELLINK ? "removed" : "set down");
	return true;
}

/* The last of the gate's filters at a hook; 0: it has none there. */
static int last_pref(const struct fault *f, const struct net_site *site, int ifindex, bool ingress,
		     int pref, bool *ret_gates)
{
	autorecord r = {0};
	int last = 0;

	*ret_gates = false;
	net_record_of(f, site, &r);
	for (size_t i = 0; i < r.n_ports; i++)
		for (size_t k = 0; r.ports[i].ifindex == ifindex && k < r.ports[i].n_filters; k++) {
			const struct net_record_filter *own = &r.ports[i].filters[k];

			if (own->ingress != ingress)
				continue;
			last = MAX_OF(last, own->pref);
			*ret_gates |= own->pref == pref;
		}
	return last;
}

static bool hear_filter(const struct fault *f, const struct net_site *site, const struct nlmsghdr *h,
			const char *name, bool port, struct str *ret)
{
	const struct tcmsg *t = NLMSG_DATA(h);
	const char *what = h->nlmsg_type == RTM_DELTFILTER ? "removed" : "added";
	bool ingress = t->tcm_parent == TC_PARENT(true), gates;
	int pref = (int)(TC_H_MAJ(t->tcm_info) >> 16);

	if (!port) {
		str_addf(ret, "a filter of %s was %s meanwhile", name, what);
		return true;
	}
	if (pref > last_pref(f, site, t->tcm_ifindex, ingress, pref, &gates))
		return false;
	if (gates)
		str_addf(ret, "the gate's filter at %s of %s (pref %d) was %s meanwhile",
			 net_hook_names[ingress], name, pref, what);
	else
		str_addf(ret, "a filter before the gate at %s of %s (pref %d) was %s meanwhile",
			 net_hook_names[ingress], name, pref, what);
	return true;
}

static bool hear_tc(const struct fault *f, const struct net_site *site, const struct nlmsghdr *h,
		    struct str *ret)
{
	const struct tcmsg *t = NLMSG_DATA(h);
	const struct nlattr *kind = nlmsg_find_attr((struct nlmsghdr *)h, sizeof *t, TCA_KIND);
	bool port;
	const char *name = of_device(site, t->tcm_ifindex, &port);

	if (!name)
		return false;
	if (h->nlmsg_type == RTM_NEWTFILTER || h->nlmsg_type == RTM_DELTFILTER)
		return hear_filter(f, site, h, name, port, ret);
	str_addf(ret, "qdisc %s of %s was %s meanwhile", kind ? nla_get_string((struct nlattr *)kind) : "?",
		 name, h->nlmsg_type == RTM_DELQDISC ? "removed" : "added or changed");
	return true;
}

static bool hear(const struct fault *f, const struct net_site *site, const struct nlmsghdr *h,
		 struct str *ret)
{
	if (netlink_is_ours(h->nlmsg_pid))
		return false;
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return hear_link(site, h, ret);
	case RTM_NEWQDISC:
	case RTM_DELQDISC:
	case RTM_NEWTFILTER:
	case RTM_DELTFILTER:
		return hear_tc(f, site, h, ret);
	default:
		return false;
	}
}

void net_notices_read(const struct fault *f, const struct net_site *site, struct str *ret)
{
	static _Alignas(struct nlmsghdr) char buf[64 << 10];
	int lines = 0;
	ssize_t n;

	if (!site->notices)
		return;
	for (;;) {
		n = recv(site->notices->fd, buf, sizeof buf, MSG_DONTWAIT);
		if (n < 0 && errno == ENOBUFS && lines++ < LINES_MAX)
			str_add(ret, "more was changed than can be told\n");
		if (n < 0 && (errno == ENOBUFS || errno == EINTR))
			continue;
		if (n <= 0)
			return;
		for (struct nlmsghdr *h = (struct nlmsghdr *)buf; nlmsg_ok(h, (int)n);) {
			int left = (int)n;

			if (lines < LINES_MAX && hear(f, site, h, ret)) {
				add_maker(h, ret);
				lines++;
			}
			h = nlmsg_next(h, &left);
			n = left;
		}
	}
}
