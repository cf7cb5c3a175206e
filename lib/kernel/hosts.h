/*
 * hosts - a file that the calling process and its children see as /etc/hosts
 *
 * The caller is in a mount namespace of its own, whose changes do not reach the machine's. Safe
 * between fork and exec: system calls only.
 */
#pragma once

int hosts_bind(const char *file); /* 0 or a negative errno */
