/*
 * revert, from records alone: in the owner, in the guard and in `recover`.
 *
 * The gate goes first, by one store through the id of any of its attached filters. Then each
 * namespace is put back: filters, delay devices, and clsact when the fault made it and nobody else
 * uses it. Taking a device away waits for the kernel's grace periods (some 16 ms each), outside of
 * its locks, so namespaces are done side by side by a few threads.
 *
 * What is not ours any more, by name and program tag, stays and is reported.
 */
#include "../base/clock.h"
#include "../kernel/broker.h"
#include "../kernel/netdump.h"
#include "net_record.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MAX_THREADS = 16 };

/* What a delay device still holds is delivered first, if all is through in this time. */
static const int64_t drain_ns = NSEC_PER_SEC;

/* One record being reverted. */
struct job {
	struct net_record record;
	struct netlink *nl; /* NULL: nothing to do, result says why */
	bool keep_gate; /* the fault goes on elsewhere */
	int64_t drain_until_ns;
	struct undo_result *result;
};

struct jobs {
	struct job *items;
	size_t n;
	atomic_size_t next;
};

static void fail(struct undo_result *r, enum undo_outcome outcome, const char *text)
{
	/* The worst outcome stays; among equals the first. */
	if (r->text[0] && r->outcome >= outcome)
		return;
	r->outcome = outcome;
	snprintf(r->text, sizeof r->text, "%s", text);
}

static void fail_foreign(struct undo_result *r, const char *fmt, ...) format_like(2, 3);

static void fail_foreign(struct undo_result *r, const char *fmt, ...)
{
	char text[sizeof r->text];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fail(r, UNDO_FOREIGN, text);
}

/* The namespace with a record's number: the live handle, or what is found on the machine. */
static int open_netns(const struct undo *u, int *ret_owned, struct err *e)
{
	struct netns_id id;

	*ret_owned = -1;
	if (u->earlier_boot)
		return err_set(e, ENOENT, "the machine has been rebooted since");
	if (u->netns_fd >= 0 && netns_identity(u->netns_fd, &id, NULL) == 0 &&
	    netns_same(id, u->netns_id))
		return u->netns_fd;
	*ret_owned = netns_find(u->netns_id, e);
	return *ret_owned;
}

/* A stranger may have been given the number of a target that died: its cookie tells. */
static int open_namespace(const struct undo *u, struct broker *broker, struct netlink **ret,
			  struct err *e)
{
	autofd int owned = -1;
	autoptr(netlink) nl = NULL;
	struct netns_id found = u->netns_id;
	int fd = open_netns(u, &owned, e);

	if (fd < 0)
		return fd;
	if (netlink_open(broker, fd, NETLINK_ROUTE, &nl, e) < 0)
		return -e->code;
	found.cookie = netns_cookie(netlink_fd(nl));
	if (!netns_same(found, u->netns_id))
		return err_set(e, ENOENT, "network namespace %llu is gone; another one has its number",
			       (unsigned long long)found.ino);
	*ret = take(nl);
	return 0;
}

static const struct tc_filter *find_filter(const struct tc_filters *l,
					   const struct net_record_filter *want)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].pref == want->pref && l->items[i].handle == want->handle)
			return &l->items[i];
	return NULL;
}

static bool is_ours(const struct tc_filter *f, const struct net_record_filter *want,
		    const char *name)
{
	return streq(f->name, name) && memcmp(f->tag, want->tag, sizeof f->tag) == 0;
}

static void close_gate(uint32_t prog_id)
{
	/* All filters of a fault share one gate: once is enough, twice does no harm. */
	static _Atomic uint32_t last_closed;

	if (atomic_exchange(&last_closed, prog_id) != prog_id)
		gate_close_by_id(prog_id, NULL);
}

static int undo_filters(const struct job *job, const struct net_record_port *p, bool ingress,
			struct netlink_batch *b, struct err *e)
{
	autofilters found = {0};
	int r = tc_filters_list(job->nl, p->ifindex, TC_PARENT(ingress), &found, e);

	/* No such device, or no qdisc that holds filters there: then no filter of ours either. */
	if (r == -ENODEV || r == -EINVAL || r == -ENOENT)
		return 0;
	for (size_t i = 0; r == 0 && i < p->n_filters; i++) {
		const struct net_record_filter *want = &p->filters[i];
		const struct tc_filter *f = want->ingress == ingress ? find_filter(&found, want)
								     : NULL;

		if (!f)
			continue;
		if (!is_ours(f, want, job->record.name)) {
			fail_foreign(job->result,
				     "%s: the filter at pref %d handle %#x is no longer brunt's",
				     p->name, want->pref, want->handle);
			continue;
		}
		if (!job->keep_gate)
			close_gate(f->prog_id);
		netlink_batch_add(b,
				  tc_msg_delete_bpf(p->ifindex, ingress, (uint16_t)want->pref,
						    want->handle),
				  ENOENT, "%s: delete filter", p->name);
	}
	return r;
}

/* A device between its making and its naming has no alias yet; its own name is proof enough. */
static bool device_is_ours(const struct link *l, const char *name)
{
	return streq(l->kind, "veth") && (streq(l->alias, name) || !l->alias[0]) &&
	       ((unsigned)l->index & GATE_IFINDEX_MASK) == GATE_IFINDEX_BASE;
}

static bool holds_packets(const struct job *job, int ifindex)
{
	autoqdiscs q = {0};

	if (tc_qdiscs_list(job->nl, ifindex, &q, NULL) < 0)
		return false;
	for (size_t i = 0; i < q.n; i++)
		if (q.items[i].backlog_packets)
			return true;
	return false;
}

/* Nothing enters the device any more; deleting it now would turn a delay into a loss. */
static void drain(const struct job *job, const struct net_record_port *p,
		  const struct links *links)
{
	for (size_t i = 0; i < p->n_devices; i++) {
		const struct link *l = link_by_name(links, p->devices[i].name);

		while (l && !p->devices[i].tap && device_is_ours(l, job->record.name) &&
		       holds_packets(job, l->index) && clock_now_ns() < job->drain_until_ns)
			poll(NULL, 0, 2);
	}
}

static int undo_devices(const struct job *job, const struct net_record_port *p,
			const struct links *links, struct netlink_batch *b, struct err *e)
{
	for (size_t i = 0; i < p->n_devices; i++) {
		const struct link *l = link_by_name(links, p->devices[i].name);
		int r;

		if (!l)
			continue;
		if (p->devices[i].tap) {
			r = delay_tap_remove(job->nl, l->name, job->record.name, e);
			if (r < 0 && r != -EEXIST)
				return r;
			if (r == 0)
				continue;
		} else if (device_is_ours(l, job->record.name)) {
			netlink_batch_add(b, link_msg_delete(l->index), ENODEV, "delete device %s",
					  l->name);
			continue;
		}
		fail_foreign(job->result, "device %s is no longer brunt's", l->name);
	}
	return 0;
}

/* Filters at both hooks that are not this run's. *ret_ours counts those that are. */
static int count_filters(const struct job *job, int ifindex, size_t *ret_foreign,
			 size_t *ret_ours, struct err *e)
{
	const char *colon = strrchr(job->record.name, ':');
	size_t run = colon ? (size_t)(colon - job->record.name) + 1 : 0;

	*ret_foreign = *ret_ours = 0;
	for (int ingress = 0; ingress < 2; ingress++) {
		autofilters found = {0};

		if (tc_filters_list(job->nl, ifindex, TC_PARENT(ingress), &found, e) < 0)
			return -e->code;
		for (size_t i = 0; i < found.n; i++)
			if (strncmp(found.items[i].name, job->record.name, run) == 0)
				++*ret_ours;
			else
				++*ret_foreign;
	}
	return 0;
}

static int has_clsact(const struct job *job, const struct net_record_port *p, struct err *e)
{
	autoqdiscs qdiscs = {0};

	if (tc_qdiscs_list(job->nl, p->ifindex, &qdiscs, e) < 0)
		return -e->code;
	return tc_qdisc_find(&qdiscs, p->ifindex, "clsact") != NULL;
}

/*
 * The kernel takes a queue length of 0 at a device without a queue for a mistake, and makes it 1000
 * when a qdisc is added: every veth of a bridge CNI is such a device.
 */
static int undo_queue(const struct job *job, const struct net_record_port *p, struct err *e)
{
	enum { KERNELS_DEFAULT = 1000 };
	autolinks links = {0};
	const struct link *l;

	if (!p->no_queue)
		return 0;
	if (link_list(job->nl, &links, e) < 0)
		return -e->code;
	l = link_by_index(&links, p->ifindex);
	if (!l || l->tx_queue_len != KERNELS_DEFAULT)
		return 0;
	return netlink_talk(job->nl, link_msg_set_queue(p->ifindex, 0), "set the queue length", e);
}

static int undo_clsact(const struct job *job, const struct net_record_port *p, struct err *e)
{
	autobatch b = {0};
	struct err again = {0};
	size_t foreign, ours;
	int r;

	if (!p->clsact_made)
		return 0;
	r = has_clsact(job, p, e);
	if (r <= 0)
		return r < 0 ? r : undo_queue(job, p, e);
	if (count_filters(job, p->ifindex, &foreign, &ours, e) < 0)
		return -e->code;
	if (foreign)
		fail_foreign(job->result, "%s: qdisc clsact stays: it now holds %zu filter%s that "
			     "%s not brunt's", p->name, foreign, foreign > 1 ? "s" : "",
			     foreign > 1 ? "are" : "is");
	/* With filters of another fault of this run, that fault's record removes it. */
	if (foreign || ours)
		return 0;
	netlink_batch_add(&b, tc_msg_delete_clsact(p->ifindex), ENOENT, "%s: delete qdisc clsact",
			  p->name);
	r = netlink_batch_run(job->nl, &b, e);
	/* Another record of this namespace is undone beside this one and was faster: the kernel says
	 * "Invalid handle" then. */
	if (r == -EINVAL && has_clsact(job, p, &again) == 0)
		r = 0;
	return r < 0 ? r : undo_queue(job, p, e);
}

static int undo_port(const struct job *job, const struct net_record_port *p,
		     const struct links *links, struct err *e)
{
	const struct link *l = link_by_index(links, p->ifindex);
	autobatch filters = {0}, devices = {0};
	int r = 0;

	/* Filters and clsact went with their device if it is gone. */
	if (l) {
		r = undo_filters(job, p, false, &filters, e);
		if (r == 0)
			r = undo_filters(job, p, true, &filters, e);
	}
	/* The closed gates still take the tokens off what comes back, so they go after it. */
	drain(job, p, links);
	if (r == 0)
		r = netlink_batch_run(job->nl, &filters, e);
	if (r == 0)
		r = undo_devices(job, p, links, &devices, e);
	if (r == 0)
		r = netlink_batch_run(job->nl, &devices, e);
	if (r == 0 && l)
		r = undo_clsact(job, p, e);
	return r;
}

static void undo_site(const struct job *job)
{
	autolinks links = {0};
	struct err e = {0};
	int r = link_list(job->nl, &links, &e);

	for (size_t i = 0; r == 0 && i < job->record.n_ports; i++)
		r = undo_port(job, &job->record.ports[i], &links, &e);
	if (r < 0)
		fail(job->result, UNDO_FAILED, e.text);
}

static void *work(void *data)
{
	struct jobs *jobs = data;
	size_t i;

	while ((i = atomic_fetch_add(&jobs->next, 1)) < jobs->n)
		if (jobs->items[i].nl)
			undo_site(&jobs->items[i]);
	return NULL;
}

static void work_in_parallel(struct jobs *jobs)
{
	pthread_t threads[MAX_THREADS];
	size_t n = 0, wanted = MIN_OF(jobs->n, (size_t)MAX_THREADS);
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (n + 1 < wanted && pthread_create(&threads[n], NULL, work, jobs) == 0)
		n++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	work(jobs);
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

/* As name_fault and name_devices make them. */
static bool is_device_name(const char *name)
{
	return strncmp(name, "brunt", 5) == 0 && strlen(name) == 13 &&
	       strspn(name + 5, "0123456789abcdef") == 8;
}

static int vet_port(const struct net_record_port *p, struct err *e)
{
	if (p->ifindex <= 0)
		return err_set(e, EINVAL, "\"%s\" is no device", p->name);
	for (size_t i = 0; i < p->n_devices; i++)
		if (!is_device_name(p->devices[i].name))
			return err_set(e, EINVAL, "device \"%s\" is not named as brunt names its own",
				       p->devices[i].name);
	for (size_t i = 0; i < p->n_filters; i++)
		if (p->filters[i].pref < NET_PREF_DROP || !p->filters[i].handle)
			return err_set(e, EINVAL, "pref %d handle %#x is no filter", p->filters[i].pref,
				       p->filters[i].handle);
	return 0;
}

/* Filters and devices are known by the record's name, which says whose they are: brunt's, and of
 * this run where that is known. Whether they still bear it is looked at on the spot. */
int net_vet(const struct undo *u, struct err *e)
{
	json_auto_t *data = undo_json(u);
	char prefix[NET_NAME_MAX];
	autorecord record = {0};

	if (net_record_from_json(data, &record, e) < 0)
		return -e->code;
	snprintf(prefix, sizeof prefix, u->run_id ? NET_NAME_RUN : NET_NAME_PREFIX "%.0s",
		 u->run_id ? u->run_id : "");
	if (strncmp(record.name, prefix, strlen(prefix)) != 0)
		return err_set(e, EINVAL, "its filters are named \"%s\", not \"%s...\"", record.name,
			       prefix);
	for (size_t i = 0; i < record.n_ports; i++)
		if (vet_port(&record.ports[i], e) < 0)
			return -e->code;
	return u->netns_id.ino ? 0 : err_set(e, EINVAL, "it names no network namespace");
}

static void open_job(const struct undo *u, struct broker *broker, struct job *job)
{
	json_auto_t *data = undo_json(u);
	struct err e = {0};
	int r = net_record_from_json(data, &job->record, &e);

	job->drain_until_ns = clock_now_ns() + drain_ns;
	*job->result = (struct undo_result){.outcome = UNDO_REVERTED};
	if (r == 0)
		r = open_namespace(u, broker, &job->nl, &e);
	if (r == -ENOENT)
		fail(job->result, UNDO_GONE, e.text);
	else if (r < 0)
		fail(job->result, UNDO_FAILED, e.text);
}

int net_revert(const struct undo *undo, size_t n, struct broker *broker,
	       struct undo_result *results, struct err *e)
{
	struct jobs jobs = {.items = xcalloc(n, sizeof *jobs.items), .n = n};

	(void)e;
	for (size_t i = 0; i < n; i++) {
		jobs.items[i].result = &results[i];
		open_job(&undo[i], broker, &jobs.items[i]);
	}
	work_in_parallel(&jobs);
	for (size_t i = 0; i < n; i++) {
		netlink_close(jobs.items[i].nl);
		net_record_done(&jobs.items[i].record);
	}
	free(jobs.items);
	return 0;
}

void net_revert_open_gate(const struct undo *undo, struct broker *broker,
			  struct undo_result *result)
{
	struct job job = {.result = result, .keep_gate = true};

	open_job(undo, broker, &job);
	if (job.nl)
		undo_site(&job);
	netlink_close(job.nl);
	net_record_done(&job.record);
}

int net_resnapshot(const struct undo *undo, struct broker *broker, struct str *ret, struct err *e)
{
	json_auto_t *data = undo_json(undo);
	autoptr(netlink) nl = NULL;
	autorecord record = {0};
	autolinks links = {0};
	int r;

	if (open_namespace(undo, broker, &nl, e) < 0)
		return -e->code;
	r = netdump(nl, ret, e);
	/* Of something in the namespace, not of the namespace. */
	if (r == -ENOENT)
		return err_set(e, EAGAIN, "something vanished while it was listed");
	if (r == 0 && net_record_from_json(data, &record, NULL) == 0 &&
	    link_list(nl, &links, NULL) == 0)
		net_pardon_gone(&record, &links, undo->before, ret);
	return r;
}

/* fn for each gate of the record that is still attached, until it answers with other than 0. */
static int each_gate(struct netlink *nl, const struct net_record *r,
		     int (*fn)(uint32_t prog_id, void *arg, struct err *e), void *arg, struct err *e)
{
	int answer = 0;

	for (size_t i = 0; i < r->n_ports; i++)
		for (int ingress = 0; ingress < 2; ingress++) {
			const struct net_record_port *p = &r->ports[i];
			autofilters found = {0};

			if (tc_filters_list(nl, p->ifindex, TC_PARENT(ingress), &found, NULL) < 0)
				continue;
			for (size_t k = 0; answer == 0 && k < p->n_filters; k++) {
				const struct tc_filter *f = find_filter(&found, &p->filters[k]);

				if (f && is_ours(f, &p->filters[k], r->name))
					answer = fn(f->prog_id, arg, e);
			}
		}
	return answer;
}

/* The first gate speaks for all: a fault's programs on a target share their lease. */
static int read_lease(uint32_t prog_id, void *ret_ns, struct err *e)
{
	int r = gate_lease_left_by_id(prog_id, ret_ns, e);

	return r < 0 ? r : 1;
}

/* One that cannot be closed, having just gone, keeps no other open. */
static int close_one(uint32_t prog_id, void *arg, struct err *e)
{
	gate_close_by_id(prog_id, NULL);
	return 0;
}

int net_close_gates(const struct undo *undo, struct broker *broker, struct err *e)
{
	json_auto_t *data = undo_json(undo);
	autoptr(netlink) nl = NULL;
	autorecord r = {0};

	if (net_record_from_json(data, &r, e) < 0 ||
	    open_namespace(undo, broker, &nl, e) < 0)
		return -e->code;
	return each_gate(nl, &r, close_one, NULL, e);
}

int net_lease_left(const struct undo *undo, struct broker *broker, int64_t *ret_ns, struct err *e)
{
	json_auto_t *data = undo_json(undo);
	autoptr(netlink) nl = NULL;
	autorecord r = {0};
	int found;

	*ret_ns = 0;
	if (net_record_from_json(data, &r, e) < 0 ||
	    open_namespace(undo, broker, &nl, e) < 0)
		return -e->code;
	found = each_gate(nl, &r, read_lease, ret_ns, e);
	return MIN_OF(found, 0);
}
