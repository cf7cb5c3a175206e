/*
 * sys - system calls that return negative errnos and go on after EINTR
 *
 * errno's address is a thread's: each of these is a function of its own, so that no compiler keeps
 * the address across a park of its caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct iovec;
struct sockaddr;

enum sys_op { SYS_READ, SYS_WRITE, SYS_RECV, SYS_SEND, SYS_WRITEV, SYS_SENDV };

/* One try of an operation. arg is the buffer, n its size; for the V kinds an iovec and its count. */
ssize_t sys_io(enum sys_op op, int fd, void *arg, size_t n);
/* The new descriptor, non-blocking if so asked, or a negative errno. */
int sys_accept(int fd, struct sockaddr *addr, unsigned *addr_bytes, bool nonblock);
/* Waits in the kernel. 0 when ready, -ETIMEDOUT */
int sys_poll(int fd, bool writable, int64_t deadline);
