/*
 * netns - identity and handles of network namespaces
 *
 * The kernel gives the inode number of a namespace that died to the next one that is made; the
 * cookie is given once a boot. Without a cookie (Linux before 5.14) the number has to do.
 */
#pragma once

#include "../base/err.h"

#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>

int netns_open_pid(pid_t pid, struct err *e);          /* fd of /proc/PID/ns/net */
int netns_open_path(const char *path, struct err *e);  /* fd of a bind mount */

struct netns_id {
	uint64_t dev, ino; /* of the nsfs file; 0: no namespace */
	uint64_t cookie;   /* 0: not known */
};

/* Device and inode of an open nsfs file; the cookie is left 0. */
int netns_identity(int fd, struct netns_id *ret, struct err *e);
/* The cookie of the namespace that a socket was made in; 0 where the kernel does not tell. */
uint64_t netns_cookie(int socket_fd);
/* A cookie that one of them lacks is no difference. */
bool netns_same(struct netns_id a, struct netns_id b);
/* True for brunt's own and PID 1's network namespace. */
bool netns_is_host(struct netns_id id);
/* Finds a namespace by device and inode among /run/netns and every process; fd, or -ENOENT if it is
 * gone. Whether it is still the same one only a socket in it can tell. */
int netns_find(struct netns_id id, struct err *e);
/* The same among namespaces that nobody lives in but somebody holds open, as a lab holds those of
 * pods that wait for their restart. Reads every process's descriptors: tens of milliseconds. */
int netns_find_held(struct netns_id id);
