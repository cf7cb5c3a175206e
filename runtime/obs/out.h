/*
 * out - bytes that grow, and protocol buffers written into them
 *
 * Owns:    its bytes, until out_done()
 * Threads: one at a time. Allocates with malloc: on a system stack, never in a stopped world
 * Errors:  out of memory ends the process
 * Source:  the wire format of Protocol Buffers
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct out {
	char *data;
	size_t n, room;
};

void out_done(struct out *o);
void out_add(struct out *o, const void *bytes, size_t n);
void out_text(struct out *o, const char *text);
void out_printf(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* deflate with the header of gzip; replaces the bytes. */
void out_gzip(struct out *o);

/* Fields. Zero is the default of a number and is left out by _opt. */
void pb_uint(struct out *o, unsigned field, uint64_t value);
void pb_uint_opt(struct out *o, unsigned field, uint64_t value);
void pb_fixed64(struct out *o, unsigned field, uint64_t value);
void pb_bytes(struct out *o, unsigned field, const void *bytes, size_t n);
void pb_string(struct out *o, unsigned field, const char *text);
void pb_packed(struct out *o, unsigned field, const uint64_t *values, size_t n);
/* A message in a message: pb_begin() .. fields .. pb_end() with what it returned. */
size_t pb_begin(struct out *o, unsigned field);
void pb_end(struct out *o, size_t begun);
