/*
 * pod - a pod as it runs: namespaces, groups, containers that are started again when they end
 *
 * Threads: the loop's thread only, which is the process's only one
 */
#pragma once

#include "groups.h"
#include "lab.h"
#include "log.h"
#include "manifest.h"
#include "pod_ns.h"
#include "wire.h"

struct readiness;
struct sd_event;
struct sd_event_source;

/* What the supervisor lends to its pods. */
struct lab_host {
	struct sd_event *loop;
	struct lab_wire *wire;
	struct lab_group group;
	const char *dir; /* of the lab */
	const char *path, *beside;
	const struct lab_spec *spec;
	bool stopping;
	void (*changed)(void *data);
	void *data;
};

struct pod;

struct pod_container {
	struct pod *pod;
	const struct lab_container *spec;
	struct lab_group group;
	struct lab_log log;
	int output[2]; /* a pipe for all of the container's lives */
	struct lab_process process; /* pid 0: not running */
	unsigned long long start_ticks;
	unsigned starts;
	int64_t started_ns, ready_ns, backoff_ns;
	uint64_t oom_kills;
	bool finished; /* will not be started again */
	bool failed;   /* as it ended last */
	char why[192];
	struct readiness *probe;
	struct sd_event_source *on_output, *on_exit, *on_restart;
};

struct pod {
	struct lab_host *host;
	const struct lab_pod *spec;
	size_t port;
	struct lab_group group, init_group;
	struct lab_pod_ns ns;
	struct sd_event_source *on_init_exit, *on_grace;
	struct pod_container *containers;
	size_t n_containers;
};

/* Makes groups, logs and namespaces and starts the containers. */
int pod_start(struct pod *p, struct lab_host *host, const struct lab_pod *spec, size_t port,
	      struct err *e);
/* SIGTERM, after the grace period SIGKILL; at once when now is set. */
void pod_stop(struct pod *p, bool now);
/* Nothing of it runs any more. */
bool pod_is_down(const struct pod *p);
void pod_state(const struct pod *p, struct lab_pod_state *ret);
void pod_done(struct pod *p);

/* For container.c: */
/* The namespaces are made anew if the pod's init died. */
int pod_ensure_ns(struct pod *p, struct err *e);
void pod_container_ended(struct pod *p);
/* For pod.c: */
int container_open(struct pod_container *c, struct pod *p, const struct lab_container *spec,
		   struct err *e);
int container_start(struct pod_container *c, struct err *e);
void container_signal(struct pod_container *c, int sig);
void container_state(const struct pod_container *c, struct lab_container_state *ret);
void container_done(struct pod_container *c);
/* As $(NAME)-expanded NAME=value lines, for a process that joins it. */
void container_environ(const struct pod_container *c, struct strlist *ret);
