#include "tc.h"

#include "../base/mem.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_mirred.h>
#include <stdio.h>

static void copy_text(char *to, size_t len, const struct nlattr *attr)
{
	if (attr)
		snprintf(to, len, "%.*s", nla_len(attr), (const char *)nla_data(attr));
}

struct qdisc_walk {
	struct tc_qdiscs *list;
	int ifindex;
};

static int read_qdisc(const struct nlmsghdr *h, void *data)
{
	const struct tcmsg *t = nlmsg_data(h);
	struct qdisc_walk *w = data;
	struct nlattr *tb[TCA_MAX + 1];
	struct tc_qdisc *q;

	if (h->nlmsg_type != RTM_NEWQDISC ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof *t, tb, TCA_MAX, NULL) < 0)
		return 0;
	if (w->ifindex && t->tcm_ifindex != w->ifindex)
		return 0;
	q = array_push(w->list->items, w->list->n);
	q->ifindex = t->tcm_ifindex;
	q->handle = t->tcm_handle;
	q->parent = t->tcm_parent;
	copy_text(q->kind, sizeof q->kind, tb[TCA_KIND]);
	if (tb[TCA_STATS] && nla_len(tb[TCA_STATS]) >= (int)sizeof(struct tc_stats)) {
		struct tc_stats s; /* attributes are aligned to 4 bytes only */

		memcpy(&s, nla_data(tb[TCA_STATS]), sizeof s);
		q->drops = s.drops;
		q->overlimits = s.overlimits;
		q->backlog_packets = s.qlen;
		q->bytes = s.bytes;
		q->backlog_bytes = s.backlog;
	}
	return 0;
}

int tc_qdiscs_list(struct netlink *nl, int ifindex, struct tc_qdiscs *ret, struct err *e)
{
	const struct tcmsg t = {.tcm_ifindex = ifindex};
	struct qdisc_walk w = {.list = ret, .ifindex = ifindex};
	int r;

	do {
		tc_qdiscs_done(ret);
		r = netlink_ask(nl, netlink_request(RTM_GETQDISC, NLM_F_DUMP, &t, sizeof t),
				"list qdiscs", read_qdisc, &w, e);
	} while (r == -EAGAIN);
	return r;
}

void tc_qdiscs_done(struct tc_qdiscs *l)
{
	free(l->items);
	*l = (struct tc_qdiscs){0};
}

const struct tc_qdisc *tc_qdisc_find(const struct tc_qdiscs *l, int ifindex, const char *kind)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].ifindex == ifindex && streq(l->items[i].kind, kind))
			return &l->items[i];
	return NULL;
}

static void read_bpf(struct tc_filter *f, struct nlattr *options)
{
	struct nlattr *tb[TCA_BPF_MAX + 1];

	if (!options || nla_parse_nested(tb, TCA_BPF_MAX, options, NULL) < 0)
		return;
	copy_text(f->name, sizeof f->name, tb[TCA_BPF_NAME]);
	if (tb[TCA_BPF_TAG])
		memcpy(f->tag, nla_data(tb[TCA_BPF_TAG]), sizeof f->tag);
	if (tb[TCA_BPF_ID])
		f->prog_id = nla_get_u32(tb[TCA_BPF_ID]);
}

static int read_filter(const struct nlmsghdr *h, void *data)
{
	const struct tcmsg *t = nlmsg_data(h);
	struct tc_filters *list = data;
	struct nlattr *tb[TCA_MAX + 1];
	struct tc_filter *f;

	if (h->nlmsg_type != RTM_NEWTFILTER ||
	    nlmsg_parse((struct nlmsghdr *)h, sizeof *t, tb, TCA_MAX, NULL) < 0)
		return 0;
	if (!t->tcm_handle)
		return 0;
	f = array_push(list->items, list->n);
	f->parent = t->tcm_parent;
	f->handle = t->tcm_handle;
	f->pref = TC_H_MAJ(t->tcm_info) >> 16;
	f->chain = tb[TCA_CHAIN] ? nla_get_u32(tb[TCA_CHAIN]) : 0;
	copy_text(f->kind, sizeof f->kind, tb[TCA_KIND]);
	if (streq(f->kind, "bpf"))
		read_bpf(f, tb[TCA_OPTIONS]);
	return 0;
}

int tc_filters_list(struct netlink *nl, int ifindex, uint32_t parent, struct tc_filters *ret,
		    struct err *e)
{
	const struct tcmsg t = {.tcm_ifindex = ifindex, .tcm_parent = parent};
	int r;

	do {
		tc_filters_done(ret);
		r = netlink_ask(nl, netlink_request(RTM_GETTFILTER, NLM_F_DUMP, &t, sizeof t),
				"list filters", read_filter, ret, e);
	} while (r == -EAGAIN);
	return r;
}

void tc_filters_done(struct tc_filters *l)
{
	free(l->items);
	*l = (struct tc_filters){0};
}

static struct nl_msg *request(int type, int flags, const struct tcmsg *t, const char *kind)
{
	struct nl_msg *msg = netlink_request(type, flags, t, sizeof *t);

	if (kind)
		nla_put_string(msg, TCA_KIND, kind);
	return msg;
}

struct nl_msg *tc_msg_add_clsact(int ifindex)
{
	const struct tcmsg t = {.tcm_ifindex = ifindex,
				.tcm_parent = TC_H_CLSACT,
				.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0)};

	return request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, &t, "clsact");
}

struct nl_msg *tc_msg_delete_clsact(int ifindex)
{
	return tc_msg_delete_qdisc(ifindex, TC_H_CLSACT, TC_H_MAKE(TC_H_CLSACT, 0));
}

struct nl_msg *tc_msg_delete_qdisc(int ifindex, uint32_t parent, uint32_t handle)
{
	const struct tcmsg t = {
		.tcm_ifindex = ifindex, .tcm_parent = parent, .tcm_handle = handle};

	return request(RTM_DELQDISC, 0, &t, NULL);
}

static struct tcmsg filter_header(int ifindex, bool ingress, uint16_t pref, uint32_t handle)
{
	return (struct tcmsg){
		.tcm_ifindex = ifindex,
		.tcm_parent = TC_PARENT(ingress),
		.tcm_handle = handle,
		.tcm_info = TC_H_MAKE((uint32_t)pref << 16, htons(ETH_P_ALL)),
	};
}

static void put_mirred(struct nl_msg *msg, int ifindex, bool ingress)
{
	const struct tc_mirred parms = {
		.action = TC_ACT_STOLEN,
		.eaction = ingress ? TCA_INGRESS_REDIR : TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)ifindex,
	};
	struct nlattr *actions = nla_nest_start(msg, TCA_BPF_ACT);
	struct nlattr *first = nla_nest_start(msg, 1);
	struct nlattr *options;

	nla_put_string(msg, TCA_ACT_KIND, "mirred");
	options = nla_nest_start(msg, TCA_ACT_OPTIONS);
	nla_put(msg, TCA_MIRRED_PARMS, sizeof parms, &parms);
	nla_nest_end(msg, options);
	nla_nest_end(msg, first);
	nla_nest_end(msg, actions);
}

struct nl_msg *tc_msg_add_bpf(const struct tc_bpf *f)
{
	const struct tcmsg t = filter_header(f->ifindex, f->ingress, f->pref, f->handle);
	struct nl_msg *msg = request(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &t, "bpf");
	struct nlattr *options = nla_nest_start(msg, TCA_OPTIONS);

	nla_put_u32(msg, TCA_BPF_CLASSID, f->class_id);
	nla_put_u32(msg, TCA_BPF_FD, (uint32_t)f->prog_fd);
	nla_put_string(msg, TCA_BPF_NAME, f->name);
	if (f->redirect_ifindex)
		put_mirred(msg, f->redirect_ifindex, f->redirect_ingress);
	else
		nla_put_u32(msg, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	nla_nest_end(msg, options);
	return msg;
}

struct nl_msg *tc_msg_delete_bpf(int ifindex, bool ingress, uint16_t pref, uint32_t handle)
{
	const struct tcmsg t = filter_header(ifindex, ingress, pref, handle);

	return request(RTM_DELTFILTER, 0, &t, "bpf");
}

static struct tc_ratespec ratespec(uint64_t Bps)
{
	return (struct tc_ratespec){
		.rate = Bps > UINT32_MAX ? UINT32_MAX : (uint32_t)Bps,
		.linklayer = TC_LINKLAYER_ETHERNET,
	};
}

struct nl_msg *tc_msg_tbf(int ifindex, uint32_t parent, uint32_t handle, int flags,
			  const struct tc_tbf *tbf)
{
	const struct tcmsg t = {
		.tcm_ifindex = ifindex, .tcm_parent = parent, .tcm_handle = handle};
	struct tc_tbf_qopt opt = {.rate = ratespec(tbf->rate_Bps), .limit = tbf->limit_bytes};
	struct nl_msg *msg = request(RTM_NEWQDISC, flags, &t, "tbf");
	struct nlattr *options = nla_nest_start(msg, TCA_OPTIONS);

	if (tbf->peak_Bps) {
		opt.peakrate = ratespec(tbf->peak_Bps);
		opt.mtu = tbf->peak_burst_bytes;
	}
	nla_put(msg, TCA_TBF_PARMS, sizeof opt, &opt);
	nla_put_u32(msg, TCA_TBF_BURST, tbf->burst_bytes);
	if (tbf->rate_Bps > UINT32_MAX)
		nla_put_u64(msg, TCA_TBF_RATE64, tbf->rate_Bps);
	if (tbf->peak_Bps) {
		nla_put_u32(msg, TCA_TBF_PBURST, tbf->peak_burst_bytes);
		if (tbf->peak_Bps > UINT32_MAX)
			nla_put_u64(msg, TCA_TBF_PRATE64, tbf->peak_Bps);
	}
	nla_nest_end(msg, options);
	return msg;
}
