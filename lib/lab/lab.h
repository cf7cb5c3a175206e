/*
 * lab - Kubernetes manifests as processes on this machine
 *
 * A supervisor process of its own runs each lab: pods with namespaces, control groups, addresses
 * and names of their own, on a bridge in a switch namespace. It answers on a socket in the lab's
 * folder, STATE_DIR/lab/NAME. Whatever is killed, nothing that was made for pods stays: pods die
 * with the supervisor by the kernel's hand, a sweeper process removes groups and files, and when
 * that was killed too the next lab_sweep() does.
 *
 * Units:   CLOCK_MONOTONIC nanoseconds
 * Owns:    a lab handle owns its connection; a lab without a name dies with it
 * Threads: the loop's thread only
 * Errors:  -ENOENT: no such lab or pod; -EEXIST: the lab is up already
 */
#pragma once

#include "../base/diag.h"
#include "../base/event.h"
#include "../base/mem.h"
#include "../kernel/netns.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sd_event;

/* The roles (cmd/brunt/roles.def) of the supervisor and of the process that sweeps after it. */
#define LAB_ROLE "__lab"
#define LAB_SWEEPER_ROLE "__lab-sweeper"
int lab_supervisor_main(int argc, char **argv);
int lab_sweeper_main(int argc, char **argv);

/* What a supervisor says of its pods. --------------------------------------------------------- */

struct lab_container_state {
	char *name;
	pid_t pid; /* as brunt sees it; 0: not running */
	unsigned long long start_ticks; /* of /proc/PID/stat, to tell a reused pid */
	unsigned restarts;
	int64_t started_ns, ready_ns; /* 0: not running, not ready */
	char *state; /* waiting, running, terminated */
	char *why;   /* "exit code 1", "OOMKilled", "connect: Connection refused", ... or "" */
};

struct lab_pod_state {
	char *ns, *name;
	char *phase; /* Pending, Running, Succeeded, Failed */
	bool ready;
	struct kvs labels, annotations;
	struct strlist addresses;
	struct netns_id netns_id; /* zero: none now */
	struct lab_container_state *containers;
	size_t n_containers;
};

struct lab_state {
	char *name;
	bool stopping;
	struct lab_pod_state *pods;
	size_t n_pods;
};

void lab_state_done(struct lab_state *s);
char *lab_state_json(const struct lab_state *s); /* the caller frees */
#define autolabstate __attribute__((cleanup(lab_state_done))) struct lab_state
bool lab_state_is_ready(const struct lab_state *s);
/* What keeps the lab from being ready, one line: "room-1: app: connect: Connection refused". */
char *lab_state_obstacle(const struct lab_state *s);
/* "room-0" or "default/room-0". -ENOENT, -EINVAL when the name alone is not unique. */
int lab_state_find(const struct lab_state *s, const char *pod, const struct lab_pod_state **ret,
		   struct err *e);

/* Bringing up a lab: nothing blocks the loop. -------------------------------------------------- */

struct lab;

struct lab_options {
	const char *state_dir;
	const char *name; /* NULL: a name of its own, and the lab dies with this process */
	bool owned;       /* a lab with a name that dies with this process all the same */
	const char *const *manifests; /* files, folders, "-" */
	size_t n_manifests;
	int64_t timeout_ns;              /* until every pod is ready; 0: 60 s */
	const struct listener *listener; /* EVENT_LAB as pods change; may be NULL */
	struct diags *diags; /* all that is wrong with the manifests; NULL: the first in e */
};

/*
 * Starts the supervisor and returns. changed is called from the loop: with -EINPROGRESS when
 * something is new; once with 0 when every pod is ready, or with an error when that was not
 * reached (the pods may still be there: lab_stop); later with an error if the supervisor dies.
 */
int lab_start(const struct lab_options *o, struct sd_event *loop,
	      void (*changed)(void *data, struct lab *lab, int r, const struct err *e), void *data,
	      struct lab **ret, struct err *e);
const char *lab_name(const struct lab *lab);
const char *lab_dir(const struct lab *lab); /* for struct source_config */
const struct lab_state *lab_last_state(const struct lab *lab);
/* Asks the lab to go down; stopped is called when nothing of it is left. Containers get their
 * grace period unless now is set; a second call with now set shortens the first. */
void lab_stop(struct lab *lab, bool now, void (*stopped)(void *data, struct lab *lab), void *data);
/* Lets go: a lab with a name of the user's goes on, a lab of its own dies. */
void lab_free(struct lab *lab);
DEFINE_AUTOPTR(lab, lab_free);

/* Asking a lab that is up; each call may wait some seconds for the answer. --------------------- */

struct lab_client;

int lab_connect(const char *dir, struct lab_client **ret, struct err *e);
void lab_disconnect(struct lab_client *c);
DEFINE_AUTOPTR(lab_client, lab_disconnect);

int lab_client_list(struct lab_client *c, struct lab_state *ret, struct err *e);
/* Takes it down and waits until nothing is left. */
int lab_client_down(struct lab_client *c, bool now, struct err *e);
/* The switch namespace, and names to addresses as seen from there. */
int lab_client_switch(struct lab_client *c, int *ret_netns_fd, struct kvs *ret_hosts,
		      struct err *e);
/* A pod's network namespace; identity as in struct lab_pod_state. */
int lab_client_netns(struct lab_client *c, const char *ns, const char *pod, int *ret_fd,
		     struct err *e);
/* From here on lab_client_next() yields every change; the first one is there at once. */
int lab_client_subscribe(struct lab_client *c, struct err *e);
/* Never waits. 1: *ret is the newest state; 0: nothing new; -EPIPE: the supervisor is gone. */
int lab_client_next(struct lab_client *c, struct lab_state *ret, struct err *e);
int lab_client_fd(const struct lab_client *c);

/* Runs argv in the pod, in the environment and the control groups of the container (NULL: the
 * first), on this process's standard streams; *ret_status as from waitpid(). */
int lab_client_exec(struct lab_client *c, const char *ns, const char *pod, const char *container,
		    char **argv, int *ret_status, struct err *e);

/* Forwards connections to 127.0.0.1:local_port in this process's network namespace to a port of
 * the pod, on the loop, until lab_forward_free. local_port 0: any; *ret_port is the one taken. */
struct lab_forward;
int lab_forward_new(struct lab_client *c, struct sd_event *loop, const char *address,
		    uint16_t local_port, uint16_t remote_port, uint16_t *ret_port,
		    struct lab_forward **ret, struct err *e);
void lab_forward_free(struct lab_forward *f);
DEFINE_AUTOPTR(lab_forward, lab_forward_free);

/* Labs and their folders. ---------------------------------------------------------------------- */

char *lab_dir_of(const char *state_dir, const char *name);
/* Names of the labs that are up, sorted. */
int lab_names(const char *state_dir, struct strlist *ret);
/* Removes what labs left whose supervisor and sweeper were both killed; the number of them. */
int lab_sweep(const char *state_dir, struct err *e);
/* The log files of a container, oldest first; there may be one, two or none. */
void lab_log_files(const char *dir, const char *ns, const char *pod, const char *container,
		   struct strlist *ret);
