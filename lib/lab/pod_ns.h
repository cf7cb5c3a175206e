/*
 * pod_ns - a pod's namespaces and the processes in them
 *
 * An init of our own (pid 1 of the pod) holds the network, mount, UTS, IPC and PID namespaces. It
 * dies with the thread that made it, whatever kills that, and every process of the pod with it.
 *
 * Threads: the process must have one thread only; it is the parent of all processes made here
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"
#include "../kernel/netns.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lab_pod_ns {
	pid_t init; /* 0: none */
	int pidfd, netns_fd;
	struct netns_id netns_id;
};

/* hosts is bind-mounted on /etc/hosts. */
int lab_pod_ns_make(const char *hostname, const char *hosts, struct lab_pod_ns *ret, struct err *e);
/* Kills the pod and gives up the handles; the caller reaps. */
void lab_pod_ns_done(struct lab_pod_ns *ns);

struct lab_command {
	const char *path;
	char **argv, **envp;
	const char *dir;
	int stdin_fd, stdout_fd, stderr_fd;
	bool own_session; /* away from the terminal, whose signals are not for it */
};

/* A process in the pod. It waits before the program starts until lab_pod_ns_go(): the caller puts
 * it into its control groups first. When the program cannot be started, it says why on stderr_fd
 * and exits with 127 (not found) or 126. */
struct lab_process {
	pid_t pid;
	int pidfd, go_fd;
};

int lab_pod_ns_spawn(int init_pidfd, const struct lab_command *c, struct lab_process *ret,
		     struct err *e);
void lab_pod_ns_go(struct lab_process *p);
