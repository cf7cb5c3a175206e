/*
 * Source lab: the pods of a running lab, as its supervisor tells of them.
 *
 * Two connections: on one the supervisor pushes every change, so a listing reads what has come in
 * and never waits; on the other the source asks for the network namespace of a pod that is new or
 * was made anew. Processes are opened here by pid and checked by their start time, which tells a
 * process that took over the number of one that died meanwhile.
 */
#include "target.h"

#include "../kernel/netns.h"
#include "../kernel/pidfd.h"
#include "../lab/lab.h"

#include <errno.h>
#include <poll.h>

enum { FIRST_STATE_MS = 10000 };

struct lab_source {
	struct lab_client *pushed, *asked;
	struct target_list known;
	int switch_fd;
	struct kvs hosts;
};

static void lab_source_close(struct target_source *s)
{
	struct lab_source *l = s->impl;

	lab_disconnect(l->pushed);
	lab_disconnect(l->asked);
	target_list_done(&l->known);
	if (l->switch_fd >= 0)
		close(l->switch_fd);
	kvs_done(&l->hosts);
	free(l);
}

static int connect_lab(struct lab_source *l, const char *dir, struct err *e)
{
	struct pollfd first;
	int r = lab_connect(dir, &l->asked, e);

	if (r == 0)
		r = lab_client_switch(l->asked, &l->switch_fd, &l->hosts, e);
	if (r == 0)
		r = lab_connect(dir, &l->pushed, e);
	if (r == 0)
		r = lab_client_subscribe(l->pushed, e);
	if (r < 0)
		return r;
	first = (struct pollfd){.fd = lab_client_fd(l->pushed), .events = POLLIN};
	return poll(&first, 1, FIRST_STATE_MS) > 0 ? 0 : err_set(e, ETIMEDOUT, "the lab is silent");
}

static int lab_source_open(struct target_source *s, const struct source_config *c, struct err *e)
{
	struct lab_source *l;
	int r;

	if (!c->lab_dir) {
		err_set(e, EINVAL, "no lab is given");
		return err_hint(e, "name a running one with --lab, or its manifests under lab:");
	}
	s->impl = l = xcalloc(1, sizeof *l);
	l->switch_fd = -1;
	r = connect_lab(l, c->lab_dir, e);
	if (r < 0)
		lab_source_close(s);
	return r;
}

static void update_process(struct container *c, const struct lab_container_state *now)
{
	unsigned long long ticks = 0;

	container_stopped(c);
	if (!now->pid)
		return;
	c->pidfd = pidfd_open_pid(now->pid, NULL);
	if (c->pidfd < 0 || pidfd_start_time(now->pid, &ticks) < 0 || ticks != now->start_ticks) {
		container_stopped(c);
		return;
	}
	c->pid = now->pid;
}

static void update_container(struct target *t, size_t i, const struct lab_container_state *now)
{
	struct container *c = i < t->n_containers ? &t->containers[i] :
						    target_add_container(t, now->name);

	/* A start is told by its time: a pid may come again. */
	if (c->pid != now->pid || c->started_ns != now->started_ns)
		update_process(c, now);
	c->restarts = now->restarts;
	c->started_ns = now->started_ns;
	c->ready_ns = c->pid ? now->ready_ns : 0;
}

static void update_netns(struct lab_source *l, struct target *t, const struct lab_pod_state *now)
{
	if (t->netns_fd >= 0 && netns_same(t->netns_id, now->netns_id))
		return;
	if (t->netns_fd >= 0)
		close(t->netns_fd);
	t->netns_fd = -1;
	t->netns_id = (struct netns_id){0};
	if (!now->netns_id.ino || lab_client_netns(l->asked, t->ns, t->name, &t->netns_fd, NULL) < 0)
		return;
	netns_identity(t->netns_fd, &t->netns_id, NULL);
}

static void update_target(struct lab_source *l, struct target *t, const struct lab_pod_state *now)
{
	target_set_phase(t, now->phase);
	t->ready = now->ready;
	if (!t->addresses.n)
		strlist_copy(&t->addresses, &now->addresses);
	kvs_copy(&t->labels, &now->labels);
	kvs_copy(&t->annotations, &now->annotations);
	update_netns(l, t, now);
	for (size_t i = 0; i < now->n_containers; i++)
		update_container(t, i, &now->containers[i]);
}

static void take_state(struct lab_source *l, const struct lab_state *state)
{
	autotargets now = {0};

	for (size_t i = 0; !state->stopping && i < state->n_pods; i++) {
		const struct lab_pod_state *p = &state->pods[i];
		struct target *t = target_ref(target_list_find(&l->known, p->ns, p->name));

		if (!t)
			t = target_new(p->ns, p->name);
		update_target(l, t, p);
		target_list_add(&now, t);
		target_unref(t);
	}
	target_list_replace(&l->known, &now);
}

static int lab_source_list(struct target_source *s, struct target_list *ret, struct err *e)
{
	struct lab_source *l = s->impl;
	autolabstate state = {0};
	int r = lab_client_next(l->pushed, &state, e);

	if (r < 0) { /* every pod died with its supervisor */
		autotargets none = {0};

		target_list_replace(&l->known, &none);
		return r;
	}
	if (r > 0)
		take_state(l, &state);
	target_list_copy(ret, &l->known);
	return 0;
}

static int lab_source_vantage(struct target_source *s, struct vantage *ret, struct err *e)
{
	const struct lab_source *l = s->impl;

	*ret = (struct vantage){.netns_fd = l->switch_fd};
	kvs_copy(&ret->hosts, &l->hosts);
	return 0;
}

const struct target_source_type lab_source = {
	.name = "lab",
	.doc = "The pods of a lab on this machine (brunt lab up, or an experiment's own lab).",
	.open = lab_source_open,
	.list = lab_source_list,
	.vantage = lab_source_vantage,
	.close = lab_source_close,
};
