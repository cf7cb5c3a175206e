/*
 * The init is the pod: when somebody kills it, every process of the pod is gone, and the
 * containers' ordinary restart makes namespaces, links and addresses anew.
 */
#include "pod.h"

#include "../base/clock.h"
#include "../kernel/pidfd.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

static int on_init_exit(sd_event_source *s, const siginfo_t *si, void *data)
{
	struct pod *p = data;

	p->on_init_exit = sd_event_source_disable_unref(p->on_init_exit);
	if (!p->host->stopping) /* else all go at once */
		lab_wire_unplug(p->host->wire, p->port);
	lab_pod_ns_done(&p->ns);
	p->host->changed(p->host->data);
	return 0;
}

static int make_ns(struct pod *p, struct err *e)
{
	autofree char *hosts = xasprintf("%s/hosts/%s", p->host->dir, p->spec->ns);
	int r = lab_pod_ns_make(p->spec->name, hosts, &p->ns, e);

	if (r < 0)
		return r;
	r = sd_event_add_child_pidfd(p->host->loop, &p->on_init_exit, p->ns.pidfd, WEXITED,
				     on_init_exit, p);
	if (r < 0)
		return err_errno(e, -r, "watch the pod's init");
	r = lab_group_attach(&p->init_group, p->ns.init, e);
	if (r == 0)
		r = lab_wire_plug(p->host->wire, p->port, p->ns.netns_fd, p->spec, e);
	return r;
}

int pod_ensure_ns(struct pod *p, struct err *e)
{
	int r;

	if (p->ns.init)
		return 0;
	r = make_ns(p, e);
	if (r < 0 && p->ns.pidfd >= 0)
		pidfd_signal(p->ns.pidfd, SIGKILL, NULL);
	return r;
}

int pod_start(struct pod *p, struct lab_host *host, const struct lab_pod *spec, size_t port,
	      struct err *e)
{
	autofree char *folder = xasprintf("%s.%s", spec->ns, spec->name);
	int r;

	*p = (struct pod){.host = host, .spec = spec, .port = port,
			  .ns = {.pidfd = -1, .netns_fd = -1}};
	r = lab_group_make(&host->group, folder, &p->group, e);
	if (r < 0)
		return r;
	lab_group_hand_on(&p->group);
	r = lab_group_make(&p->group, "_init", &p->init_group, e);
	p->containers = xcalloc(spec->n_containers, sizeof *p->containers);
	for (size_t i = 0; r == 0 && i < spec->n_containers; i++, p->n_containers++)
		r = container_open(&p->containers[i], p, &spec->containers[i], e);
	for (size_t i = 0; r == 0 && i < p->n_containers; i++)
		r = container_start(&p->containers[i], e);
	return r;
}

static bool containers_ended(const struct pod *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		if (p->containers[i].process.pid)
			return false;
	return true;
}

void pod_container_ended(struct pod *p)
{
	if (p->host->stopping && containers_ended(p) && p->ns.pidfd >= 0)
		pidfd_signal(p->ns.pidfd, SIGKILL, NULL);
}

static int on_grace(sd_event_source *s, uint64_t usec, void *data)
{
	struct pod *p = data;

	if (p->ns.pidfd >= 0)
		pidfd_signal(p->ns.pidfd, SIGKILL, NULL);
	return 0;
}

void pod_stop(struct pod *p, bool now)
{
	uint64_t at_us = (clock_now_ns() + p->spec->grace_ns) / 1000;

	for (size_t i = 0; i < p->n_containers; i++)
		container_signal(&p->containers[i], SIGTERM);
	p->on_grace = sd_event_source_disable_unref(p->on_grace);
	if (now || containers_ended(p))
		on_grace(NULL, 0, p);
	else if (sd_event_add_time(p->host->loop, &p->on_grace, CLOCK_MONOTONIC, at_us, 1000,
				   on_grace, p) < 0)
		abort();
}

bool pod_is_down(const struct pod *p)
{
	return !p->ns.init && containers_ended(p);
}

static const char *phase_of(const struct pod *p)
{
	size_t started = 0, finished = 0, failed = 0;

	for (size_t i = 0; i < p->n_containers; i++) {
		started += p->containers[i].starts > 0;
		finished += p->containers[i].finished;
		failed += p->containers[i].finished && p->containers[i].failed;
	}
	if (started < p->n_containers)
		return "Pending";
	if (finished < p->n_containers)
		return "Running";
	return failed ? "Failed" : "Succeeded";
}

void pod_state(const struct pod *p, struct lab_pod_state *ret)
{
	*ret = (struct lab_pod_state){
		.ns = xstrdup(p->spec->ns),
		.name = xstrdup(p->spec->name),
		.phase = xstrdup(phase_of(p)),
		.ready = true,
		.netns_id = p->ns.netns_id,
	};
	kvs_copy(&ret->labels, p->spec->labels);
	kvs_copy(&ret->annotations, p->spec->annotations);
	strlist_add(&ret->addresses, p->spec->address4);
	if (lab_wire_has_ipv6(p->host->wire))
		strlist_add(&ret->addresses, p->spec->address6);
	for (size_t i = 0; i < p->n_containers; i++) {
		container_state(&p->containers[i], array_push(ret->containers, ret->n_containers));
		ret->ready = ret->ready && p->containers[i].ready_ns;
	}
}

void pod_done(struct pod *p)
{
	for (size_t i = 0; i < p->n_containers; i++)
		container_done(&p->containers[i]);
	free(p->containers);
	p->on_init_exit = sd_event_source_disable_unref(p->on_init_exit);
	p->on_grace = sd_event_source_disable_unref(p->on_grace);
	lab_pod_ns_done(&p->ns);
	lab_group_done(&p->group);
	lab_group_done(&p->init_group);
}
