/*
 * The addresses that limit a fault: those of `target`'s chosen targets, as their source lists them
 * and as their namespaces have them now, and externalTargets.
 */
#include "net.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <stdio.h>

static const int64_t first_lookup_ns = 5 * NSEC_PER_SEC;

struct address_walk {
	struct peers *ret;
	const struct links *links;
	const char *device; /* NULL: every one but loopback */
};

static int add_address(const struct nlmsghdr *h, void *data)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const struct ifaddrmsg *ifa = nlmsg_data(h);
	struct address_walk *w = data;
	struct nlattr *tb[IFA_MAX + 1], *addr;
	const struct link *l = link_by_index(w->links, (int)ifa->ifa_index);
	struct peer p = {.prefix = 128};

	if (!l || l->flags & IFF_LOOPBACK || (w->device && !streq(l->name, w->device)) ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof *ifa, tb, IFA_MAX, NULL) < 0)
		return 0;
	addr = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	if (addr && nla_len(addr) == 4) {
		memcpy(p.addr, mapped, sizeof mapped);
		memcpy(p.addr + 12, nla_data(addr), 4);
	} else if (addr && nla_len(addr) == 16) {
		memcpy(p.addr, nla_data(addr), 16);
	} else {
		return 0;
	}
	peers_add(w->ret, &p);
	return 0;
}

static int from_namespace(const struct fault *f, const struct target *t, struct peers *ret,
			  struct err *e)
{
	const struct ifaddrmsg ifa = {0};
	autoptr(netlink) nl = NULL;
	autolinks links = {0};
	struct address_walk w = {
		.ret = ret, .links = &links, .device = net_params_of(f)->target_device};
	int r;

	if (netlink_open(f->env->broker, t->netns_fd, NETLINK_ROUTE, &nl, e) < 0 ||
	    link_list(nl, &links, e) < 0)
		return -e->code;
	do
		r = netlink_ask(nl, netlink_request(RTM_GETADDR, NLM_F_DUMP, &ifa, sizeof ifa),
				"list addresses", add_address, &w, e);
	while (r == -EAGAIN);
	return r;
}

static int from_target(const struct fault *f, const struct target *t, struct peers *ret,
		       struct err *e)
{
	size_t before = ret->n;

	for (size_t i = 0; i < t->addresses.n && !net_params_of(f)->target_device; i++) {
		struct peer p;

		if (peer_parse_address(t->addresses.items[i], &p, e) < 0)
			return err_wrap(e, "%s/%s", t->ns, t->name);
		peers_add(ret, &p);
	}
	if (t->netns_fd >= 0 && from_namespace(f, t, ret, e) < 0)
		return err_wrap(e, "%s/%s", t->ns, t->name);
	if (ret->n == before && net_params_of(f)->target_device)
		return err_set(e, ENODEV, "%s/%s has no address on device \"%s\"", t->ns, t->name,
			       net_params_of(f)->target_device);
	return 0;
}

static int from_external(const struct fault *f, struct peers *ret, struct err *e)
{
	const struct strlist *list = &net_params_of(f)->external_targets;
	const struct net_state *st = net_state_of(f);
	const char *unknown;

	for (size_t i = 0; i < list->n; i++) {
		autofree char *name = NULL;
		struct peer p;

		if (peer_parse(list->items[i], &p, &name, e) < 0)
			return -e->code;
		if (!name)
			peers_add(ret, &p);
	}
	if (!st->names)
		return 0;
	if (!names_wait(st->names, first_lookup_ns))
		return err_set(e, ETIMEDOUT, "externalTargets: names are still being looked up");
	if (!names_get(st->names, ret, &unknown))
		return err_set(e, ENOENT, "externalTargets: \"%s\" has no address", unknown);
	return 0;
}

int net_resolve_peers(const struct fault *f, struct peers *ret, struct err *e)
{
	for (size_t i = 0; i < f->peers.n; i++)
		if (from_target(f, f->peers.items[i], ret, e) < 0)
			return -e->code;
	if (from_external(f, ret, e) < 0)
		return -e->code;
	peers_sort(ret);
	return 0;
}
