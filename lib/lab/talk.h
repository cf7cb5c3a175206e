/*
 * talk - lines of JSON with descriptors, and sockets in folders of any length
 */
#pragma once

#include "../base/err.h"
#include "../base/mem.h"

#include <jansson.h>

enum { TALK_FDS_MAX = 8, TALK_LINE_MAX = 64 << 20 };

/* A stream socket bound to, or connected with, DIR/control; sun_path's 108 bytes do not matter. */
int talk_listen(const char *dir, struct err *e);
int talk_connect(const char *dir, struct err *e);

/* What came in so far. */
struct talk_buffer {
	struct str bytes;
	int fds[TALK_FDS_MAX];
	size_t n_fds;
};

/* Reads once. 1: something came; 0: nothing there (EAGAIN); -EPIPE: closed; other errors. */
int talk_read(int fd, struct talk_buffer *b, int flags);
/* The next whole line as JSON. 1; 0: no whole line yet; -EPROTO: not JSON. */
int talk_line(struct talk_buffer *b, json_t **ret);
/* The descriptors that came along so far; the caller's from here on. -1 when there is none left. */
int talk_take_fd(struct talk_buffer *b);
void talk_buffer_done(struct talk_buffer *b);

/* Sends as much as goes without waiting; the number of bytes, or negative errno. */
int talk_send(int fd, const char *data, size_t len, const int *fds, size_t n_fds, int flags);
