/*
 * log - what a container writes, kept in a file of bounded size and one older generation
 */
#pragma once

#include "../base/err.h"

#include <stdint.h>

enum { LAB_LOG_BYTES = 4 << 20 };

struct lab_log {
	char *path; /* the older generation is path + ".1" */
	int fd;
	uint64_t size, limit;
};

/* Makes the folders above as well. limit 0: LAB_LOG_BYTES. */
int lab_log_open(const char *path, uint64_t limit, struct lab_log *ret, struct err *e);
/* What cannot be written (full disk) is lost; the container goes on. */
void lab_log_write(struct lab_log *l, const char *data, size_t n);
void lab_log_close(struct lab_log *l);
