/*
 * netns - identity and handles of network namespaces
 */
#pragma once

#include "../base/err.h"

#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>

int netns_open_pid(pid_t pid, struct err *e);          /* fd of /proc/PID/ns/net */
int netns_open_path(const char *path, struct err *e);  /* fd of a bind mount */
int netns_identity(int fd, uint64_t *ret_dev, uint64_t *ret_ino, struct err *e);
/* True for brunt's own and PID 1's network namespace. */
bool netns_is_host(uint64_t dev, uint64_t ino);
/* Finds a namespace by identity among /run/netns and every process; fd, or -ENOENT if it is gone. */
int netns_find(uint64_t dev, uint64_t ino, struct err *e);
