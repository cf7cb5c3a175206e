/* foreign - code as libc is to the runtime: not managed, uses errno, blocks its thread */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets errno and reads it again and again: the same value comes out as from _sum(), if it stays. */
uint64_t foreign_errno(int value, uint64_t turns);
uint64_t foreign_errno_sum(int value, uint64_t turns);

void foreign_getppid(void);

/* One memcpy of so much, 1 GiB unless set otherwise before _begin. */
extern size_t foreign_copy_bytes;
bool foreign_copy_begin(void);
void foreign_copy(void);
void foreign_copy_end(void);

/* A read(2) that the runtime does not know of; a thread writes every 20 ms. */
bool foreign_blocking_begin(void);
void foreign_blocking_read(void);
void foreign_blocking_end(void);
