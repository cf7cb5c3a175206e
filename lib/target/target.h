/*
 * target - something a fault can be put on, and the sources that list them
 *
 * A source is one file in this folder and one row in sources.def. It yields targets in the shape
 * of Kubernetes pods: namespace, name, labels, annotations, phase, containers{pid, cgroup}, and a
 * network namespace.
 *
 * Owns:    targets are reference-counted; a list holds a reference on each of its items.
 *          netns_fd is owned by the target and is closed the moment the source sees it die
 *          (a held netns fd keeps a dead pod's veth answering).
 * Threads: the loop's thread only
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"
#include "../kernel/netns.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct container {
	char *name;
	pid_t pid;        /* 0: not running */
	int pidfd;        /* owned; -1 when not running */
	unsigned restarts;
	int64_t started_ns; /* CLOCK_MONOTONIC of the last start; 0 unknown */
	int64_t ready_ns;   /* of the last change to ready; 0: not ready since its start */
};

struct target {
	unsigned refs;
	char *ns, *name;
	struct kvs labels, annotations;
	char *phase; /* Pending, Running, Succeeded, Failed */
	char *node;
	bool ready;
	struct strlist addresses; /* textual IPv4 and IPv6 */
	struct container *containers;
	size_t n_containers;
	int netns_fd;       /* -1: none of its own */
	struct netns_id netns_id; /* zero when none; the engine adds the cookie */
	bool no_namespace;  /* its source knows none: it is in every one */
	bool host_network;  /* shares brunt's own or PID 1's network namespace */
};

struct target *target_new(const char *ns, const char *name);
struct target *target_ref(struct target *t);
void target_unref(struct target *t);
DEFINE_AUTOPTR(target, target_unref);
/* "namespace/name"; the caller frees. */
char *target_id(const struct target *t);

/* Has no process, or it has ended, whether or not its source knows that yet. */
bool container_has_ended(const struct container *c);

/* For sources: */
struct container *target_add_container(struct target *t, const char *name);
void container_stopped(struct container *c); /* no pid, no pidfd, not ready */
void target_set_phase(struct target *t, const char *phase);
void target_gone(struct target *t); /* phase "", every handle closed */

struct target_list {
	struct target **items;
	size_t n;
};
void target_list_add(struct target_list *l, struct target *t); /* takes a new reference */
void target_list_copy(struct target_list *dst, const struct target_list *src);
struct target *target_list_find(const struct target_list *l, const char *ns, const char *name);
/* For sources: known becomes a copy of now; targets that are no longer listed are gone. */
void target_list_replace(struct target_list *known, const struct target_list *now);
void target_list_done(struct target_list *l);
#define autotargets __attribute__((cleanup(target_list_done))) struct target_list

/*
 * Where probers, scrapers and load open their sockets, and how names resolve there. For the lab
 * it is the lab's switch namespace; for netns it is brunt's own.
 */
struct vantage {
	int netns_fd;     /* borrowed from the source; -1: brunt's own */
	struct kvs hosts; /* name -> address, comma-separated when there are several; the
			   * receiver's, released by kvs_done */
};

struct target_source {
	const struct target_source_type *type;
	void *impl;
};

struct source_config {
	const char *lab_dir;   /* source lab: the running lab's state directory */
	const char *netns_dir; /* source netns: default /run/netns */
	bool allow_host_network;
};

struct target_source_type {
	const char *name;
	const char *doc;
	int (*open)(struct target_source *s, const struct source_config *c, struct err *e);
	/* All targets now. Targets that were listed before are the same objects, brought up to
	 * date; ones that are gone have phase "" and a closed netns_fd. */
	int (*list)(struct target_source *s, struct target_list *ret, struct err *e);
	int (*vantage)(struct target_source *s, struct vantage *ret, struct err *e);
	void (*close)(struct target_source *s);
};

/* NULL when there is no such row. */
const struct target_source_type *target_source_find(const char *name);
/* Names of all rows, NULL-terminated. */
const char *const *target_source_names(void);
int target_source_open(const char *name, const struct source_config *c, struct target_source **ret,
		       struct err *e);
int target_source_list(struct target_source *s, struct target_list *ret, struct err *e);
int target_source_vantage(struct target_source *s, struct vantage *ret, struct err *e);
void target_source_close(struct target_source *s);
DEFINE_AUTOPTR(target_source, target_source_close);

/* A source beside the table's, for tests of the stages. */
extern const struct target_source_type *target_source_for_tests;
