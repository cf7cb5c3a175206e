/*
 * A message's length stands before its bytes and is known only after them. pb_begin() leaves room
 * for the longest length and pb_end() closes the gap by moving the message: ours are small, and a
 * second pass that counts first would double the code of each message.
 */
#include "out.h"

#include "../sched/sched.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, VARINT_MAX = 10, GZIP_WINDOW = 15 + 16 };

void out_done(struct out *o)
{
	free(o->data);
	*o = (struct out){0};
}

static void reserve(struct out *o, size_t n)
{
	if (o->n + n <= o->room)
		return;
	o->room = (o->n + n) * 2;
	o->data = realloc(o->data, o->room);
	if (!o->data)
		rt_fatal("out of memory for %zu bytes of a profile", o->room);
}

void out_add(struct out *o, const void *bytes, size_t n)
{
	reserve(o, n);
	if (n > 0)
		memcpy(o->data + o->n, bytes, n);
	o->n += n;
}

void out_text(struct out *o, const char *text)
{
	out_add(o, text, strlen(text));
}

void out_printf(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	reserve(o, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(o->data + o->n, (size_t)n + 1, fmt, ap);
	va_end(ap);
	o->n += (size_t)n;
}

void out_gzip(struct out *o)
{
	struct out packed = {0};
	z_stream z = {.next_in = (Bytef *)o->data, .avail_in = (uInt)o->n};

	if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		rt_fatal("out of memory to compress a profile");
	reserve(&packed, deflateBound(&z, o->n));
	z.next_out = (Bytef *)packed.data;
	z.avail_out = (uInt)packed.room;
	deflate(&z, Z_FINISH);
	packed.n = z.total_out;
	deflateEnd(&z);
	out_done(o);
	*o = packed;
}

static size_t put_varint(uint8_t buf[static VARINT_MAX], uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		buf[n++] = (uint8_t)(v | 0x80);
	buf[n++] = (uint8_t)v;
	return n;
}

static void varint(struct out *o, uint64_t v)
{
	uint8_t buf[VARINT_MAX];

	out_add(o, buf, put_varint(buf, v));
}

void pb_uint(struct out *o, unsigned field, uint64_t value)
{
	varint(o, field << 3 | WIRE_VARINT);
	varint(o, value);
}

void pb_uint_opt(struct out *o, unsigned field, uint64_t value)
{
	if (value)
		pb_uint(o, field, value);
}

void pb_fixed64(struct out *o, unsigned field, uint64_t value)
{
	uint8_t little[8];

	for (int i = 0; i < 8; i++)
		little[i] = (uint8_t)(value >> 8 * i);
	varint(o, field << 3 | WIRE_FIXED64);
	out_add(o, little, sizeof little);
}

void pb_bytes(struct out *o, unsigned field, const void *bytes, size_t n)
{
	varint(o, field << 3 | WIRE_BYTES);
	varint(o, n);
	out_add(o, bytes, n);
}

void pb_string(struct out *o, unsigned field, const char *text)
{
	pb_bytes(o, field, text, strlen(text));
}

void pb_packed(struct out *o, unsigned field, const uint64_t *values, size_t n)
{
	size_t begun = pb_begin(o, field);

	for (size_t i = 0; i < n; i++)
		varint(o, values[i]);
	pb_end(o, begun);
}

size_t pb_begin(struct out *o, unsigned field)
{
	varint(o, field << 3 | WIRE_BYTES);
	reserve(o, VARINT_MAX);
	o->n += VARINT_MAX;
	return o->n;
}

void pb_end(struct out *o, size_t begun)
{
	uint8_t length[VARINT_MAX];
	size_t bytes = o->n - begun;
	size_t n = put_varint(length, bytes);
	char *gap = o->data + begun - VARINT_MAX;

	memcpy(gap, length, n);
	memmove(gap + n, o->data + begun, bytes);
	o->n -= VARINT_MAX - n;
}
