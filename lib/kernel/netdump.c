/*
 * The kernel's answers are rendered without knowing most of their meaning: options are compared as
 * bytes. Known places of counters and times are cut out first:
 *
 *   - attributes of filters that hold counts (u32's and matchall's PCNT),
 *   - statistics, age and hardware counts of actions; struct tcf_t, the ages, is the only action
 *     option of 32 bytes,
 *   - htb's count of direct packets inside its global options.
 */
#include "netdump.h"

#include "link.h"
#include "tc.h"

#include <errno.h>
#include <linux/pkt_cls.h>
#include <stdio.h>

/* Which attribute of a filter's options holds actions, and which a count; 0: none. */
static const struct {
	const char *kind;
	int actions, count;
} filter_kinds[] = {
	{"basic", TCA_BASIC_ACT, TCA_BASIC_PCNT},
	{"bpf", TCA_BPF_ACT, 0},
	{"cgroup", TCA_CGROUP_ACT, 0},
	{"flow", TCA_FLOW_ACT, 0},
	{"flower", TCA_FLOWER_ACT, 0},
	{"fw", TCA_FW_ACT, 0},
	{"matchall", TCA_MATCHALL_ACT, TCA_MATCHALL_PCNT},
	{"route", TCA_ROUTE4_ACT, 0},
	{"u32", TCA_U32_ACT, TCA_U32_PCNT},
};

enum { ACTION_TIMES_BYTES = 32, SHOWN_BYTES = 40 };

static void add_bytes(struct str *s, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < len && len <= SHOWN_BYTES; i++)
		str_addf(s, "%02x", p[i]);
	if (len <= SHOWN_BYTES)
		return;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ULL;
	str_addf(s, "%zu bytes %016llx", len, (unsigned long long)hash);
}

static void add_attr(struct str *s, struct nlattr *a)
{
	str_addf(s, " %d:", nla_type(a));
	add_bytes(s, nla_data(a), (size_t)nla_len(a));
}

static void add_action(struct str *s, struct nlattr *action)
{
	struct nlattr *a, *o;
	int rem, orem;

	str_add(s, " action");
	nla_for_each_nested(a, action, rem) {
		if (nla_type(a) == TCA_ACT_KIND)
			str_addf(s, " %s", (const char *)nla_data(a));
		else if (nla_type(a) == TCA_ACT_INDEX)
			str_addf(s, " index %u", nla_get_u32(a));
		else if (nla_type(a) == TCA_ACT_OPTIONS)
			nla_for_each_nested(o, a, orem)
				if (nla_len(o) != ACTION_TIMES_BYTES)
					add_attr(s, o);
	}
}

static void add_filter_options(struct str *s, const char *kind, struct nlattr *options)
{
	int actions = 0, count = 0, rem, arem;
	struct nlattr *a, *action;

	for (size_t i = 0; i < ARRAY_SIZE(filter_kinds); i++)
		if (streq(filter_kinds[i].kind, kind)) {
			actions = filter_kinds[i].actions;
			count = filter_kinds[i].count;
		}
	nla_for_each_nested(a, options, rem) {
		if (actions && nla_type(a) == actions)
			nla_for_each_nested(action, a, arem)
				add_action(s, action);
		else if (!count || nla_type(a) != count)
			add_attr(s, a);
	}
}

/* htb's global options with the count of direct packets, their fifth word, cut off. */
static void add_qdisc_options(struct str *s, const char *kind, struct nlattr *options)
{
	struct nlattr *a;
	int rem;

	if (!streq(kind, "htb")) {
		str_add(s, " ");
		add_bytes(s, nla_data(options), (size_t)nla_len(options));
		return;
	}
	nla_for_each_nested(a, options, rem) {
		str_addf(s, " %d:", nla_type(a));
		add_bytes(s, nla_data(a),
			  nla_type(a) == TCA_HTB_INIT ? 16 : (size_t)nla_len(a));
	}
}

struct dumping {
	struct strlist *lines;
	const struct links *links;
	int ifindex; /* 0: all */
};

/* qdisc, class, chain, filter: all are struct tcmsg with TCA_ attributes. */
static int add_tc(const struct nlmsghdr *h, void *data)
{
	const struct tcmsg *t = nlmsg_data(h);
	struct nlattr *tb[TCA_MAX + 1];
	struct dumping *d = data;
	autostr s = {0};
	const struct link *l = link_by_index(d->links, t->tcm_ifindex);
	const char *kind;

	if (nlmsg_parse((struct nlmsghdr *)h, sizeof *t, tb, TCA_MAX, NULL) < 0)
		return 0;
	if (d->ifindex && t->tcm_ifindex != d->ifindex)
		return 0;
	kind = tb[TCA_KIND] ? nla_data(tb[TCA_KIND]) : "";
	str_addf(&s, "%s %s %s parent %x handle %x",
		 h->nlmsg_type == RTM_NEWQDISC    ? "qdisc"
		 : h->nlmsg_type == RTM_NEWTCLASS ? "class"
		 : h->nlmsg_type == RTM_NEWCHAIN  ? "chain"
						  : "filter",
		 l ? l->name : "?", kind, t->tcm_parent, t->tcm_handle);
	if (h->nlmsg_type == RTM_NEWTFILTER)
		str_addf(&s, " pref %u protocol %04x", t->tcm_info >> 16,
			 ntohs(t->tcm_info & 0xffff));
	else if (h->nlmsg_type == RTM_NEWTCLASS)
		str_addf(&s, " info %x", t->tcm_info);
	if (tb[TCA_CHAIN])
		str_addf(&s, " chain %u", nla_get_u32(tb[TCA_CHAIN]));
	if (tb[TCA_OPTIONS] && h->nlmsg_type == RTM_NEWTFILTER)
		add_filter_options(&s, kind, tb[TCA_OPTIONS]);
	else if (tb[TCA_OPTIONS])
		add_qdisc_options(&s, kind, tb[TCA_OPTIONS]);
	strlist_add(d->lines, s.s);
	return 0;
}

static int ask(struct netlink *nl, int type, const struct tcmsg *t, struct dumping *d,
	       struct err *e)
{
	return netlink_ask(nl, netlink_request(type, NLM_F_DUMP, t, sizeof *t), "dump state",
			   add_tc, d, e);
}

/* Chains and filters of one place that holds some. */
static int dump_block(struct netlink *nl, int ifindex, uint32_t parent, struct dumping *d,
		      struct err *e)
{
	const struct tcmsg t = {.tcm_ifindex = ifindex, .tcm_parent = parent};
	int r = ask(nl, RTM_GETTFILTER, &t, d, e);

	return r < 0 ? r : ask(nl, RTM_GETCHAIN, &t, d, e);
}

static int dump_qdisc(struct netlink *nl, const struct tc_qdisc *q, struct dumping *d,
		      struct err *e)
{
	const struct tcmsg t = {.tcm_ifindex = q->ifindex};
	int r;

	d->ifindex = q->ifindex;
	if (streq(q->kind, "clsact") || streq(q->kind, "ingress")) {
		r = dump_block(nl, q->ifindex, TC_PARENT_INGRESS, d, e);
		if (r == 0 && streq(q->kind, "clsact"))
			r = dump_block(nl, q->ifindex, TC_PARENT_EGRESS, d, e);
		return r;
	}
	if (!q->handle)
		return 0;
	r = dump_block(nl, q->ifindex, q->handle, d, e);
	if (r == 0 && q->parent == TC_H_ROOT)
		r = ask(nl, RTM_GETTCLASS, &t, d, e);
	return r;
}

static void add_link(struct strlist *lines, const struct link *l)
{
	autofree char *s = xasprintf(
		"device %d %s kind \"%s\" %s type %u mtu %u group %u master %d queue %u alias "
		"\"%s\"",
		l->index, l->name, l->kind, l->flags & IFF_UP ? "up" : "down", l->type, l->mtu,
		l->group, l->master, l->tx_queue_len, l->alias);

	strlist_add(lines, s);
}

int netdump_qdiscs(struct netlink *nl, const struct links *links, struct strlist *ret,
		   struct err *e)
{
	struct dumping d = {.lines = ret, .links = links};
	const struct tcmsg all = {0};
	int r;

	do {
		strlist_done(ret);
		r = ask(nl, RTM_GETQDISC, &all, &d, e);
	} while (r == -EAGAIN);
	return r;
}

void netdump_filters(struct netlink *nl, const struct links *links, int ifindex,
		     struct strlist *ret)
{
	struct dumping d = {.lines = ret, .links = links, .ifindex = ifindex};

	for (int ingress = 0; ingress < 2; ingress++) {
		const struct tcmsg t = {.tcm_ifindex = ifindex, .tcm_parent = TC_PARENT(ingress)};

		ask(nl, RTM_GETTFILTER, &t, &d, NULL);
	}
}

static int dump(struct netlink *nl, struct strlist *lines, struct err *e)
{
	const struct tcmsg all = {0};
	autoqdiscs qdiscs = {0};
	autolinks links = {0};
	struct dumping d = {.lines = lines, .links = &links};
	int r = link_list(nl, &links, e);

	for (size_t i = 0; r == 0 && i < links.n; i++)
		add_link(lines, &links.items[i]);
	if (r == 0)
		r = ask(nl, RTM_GETQDISC, &all, &d, e);
	if (r == 0)
		r = tc_qdiscs_list(nl, 0, &qdiscs, e);
	for (size_t i = 0; r == 0 && i < qdiscs.n; i++)
		r = dump_qdisc(nl, &qdiscs.items[i], &d, e);
	return r;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int netdump(struct netlink *nl, struct str *ret, struct err *e)
{
	struct strlist lines = {0};
	int r;

	do {
		strlist_done(&lines);
		r = dump(nl, &lines, e);
	} while (r == -EAGAIN);
	if (r == 0 && lines.n)
		qsort(lines.items, lines.n, sizeof *lines.items, by_text);
	for (size_t i = 0; r == 0 && i < lines.n; i++)
		str_addf(ret, "%s\n", lines.items[i]);
	strlist_done(&lines);
	return r;
}
