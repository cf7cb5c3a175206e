/*
 * base64 of: cookie, length, deflate stream of (40 byte head, counts). A count stands at its
 * bucket's index: V1 writes words of fixed size, V2 zigzag LEB128 where a negative number is a run
 * of empty buckets.
 */
#include "delay_hdr.h"

#include "../base/mem.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

enum {
	COOKIE_V1 = 0x1c849301, COOKIE_V1_COMPRESSED = 0x1c849302,
	COOKIE_V2 = 0x1c849303, COOKIE_V2_COMPRESSED = 0x1c849304,
	COOKIE_SIZE_BITS = 0xf0,
	HEAD_BYTES = 40,
	BUCKETS_MAX = 1 << 20,
	PAYLOAD_MAX = BUCKETS_MAX * 9,
};

struct bytes {
	const uint8_t *at, *end;
};

struct shape {
	int half_magnitude; /* log2 of half the sub-buckets of a bucket */
	int unit_magnitude; /* log2 of the lowest discernible value */
	int64_t unit_ns;    /* what a value of 1 means */
};

static int bad(struct err *e, const char *why)
{
	return err_set(e, EINVAL, "not an HdrHistogram: %s", why);
}

/* Reads n bytes, big endian; false at the end. */
static bool take_int(struct bytes *b, int n, uint64_t *ret)
{
	if (b->end - b->at < n)
		return false;
	for (*ret = 0; n > 0; n--)
		*ret = *ret << 8 | *b->at++;
	return true;
}

static bool take_zigzag(struct bytes *b, int64_t *ret)
{
	uint64_t v = 0, byte;

	for (int shift = 0; shift < 64; shift += 7) {
		if (!take_int(b, 1, &byte))
			return false;
		/* The ninth byte has no continuation bit. */
		v |= (shift == 56 ? byte : byte & 0x7f) << shift;
		if (shift == 56 || !(byte & 0x80))
			break;
	}
	*ret = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
	return true;
}

static int64_t middle_of(uint64_t index, const struct shape *s)
{
	int64_t half = 1ll << s->half_magnitude;
	int bucket = (int)(index >> s->half_magnitude) - 1;
	int64_t sub = (int64_t)(index & (half - 1)) + half;
	int shift;

	if (bucket < 0) {
		sub -= half;
		bucket = 0;
	}
	shift = bucket + s->unit_magnitude;
	if (shift > 40)
		return -1;
	return (sub << shift) + ((1ll << shift) >> 1);
}

static int add(struct delay_bins *bins, uint64_t index, uint64_t count, const struct shape *s,
	       struct err *e)
{
	int64_t value = index < BUCKETS_MAX ? middle_of(index, s) : -1;

	if (value < 0)
		return bad(e, "a value is out of range");
	return count ? delay_bins_add(bins, (double)value * (double)s->unit_ns, count, e) : 0;
}

static int read_v1(struct bytes *b, int word, const struct shape *s, struct delay_bins *bins,
		   struct err *e)
{
	uint64_t count;

	if (word != 2 && word != 4 && word != 8)
		return bad(e, "unknown word size");
	for (uint64_t i = 0; take_int(b, word, &count); i++)
		if (add(bins, i, count, s, e) < 0)
			return -EINVAL;
	return 0;
}

static int read_v2(struct bytes *b, const struct shape *s, struct delay_bins *bins, struct err *e)
{
	uint64_t index = 0;
	int64_t v;

	while (take_zigzag(b, &v)) {
		if (v < -BUCKETS_MAX)
			return bad(e, "a run is too long");
		if (v < 0) {
			index += (uint64_t)-v;
			continue;
		}
		if (add(bins, index++, (uint64_t)v, s, e) < 0)
			return -EINVAL;
	}
	return 0;
}

static int read_shape(uint64_t digits, uint64_t lowest, struct shape *ret, struct err *e)
{
	uint64_t single = 2; /* values that must be told apart one by one */

	if (digits > 5 || lowest == 0)
		return bad(e, "impossible precision");
	while (digits-- > 0)
		single *= 10;
	ret->half_magnitude = 63 - __builtin_clzll(2 * single - 1) - 1;
	ret->unit_magnitude = 63 - __builtin_clzll(lowest);
	if (ret->half_magnitude < 0)
		ret->half_magnitude = 0;
	return 0;
}

static int read_payload(struct bytes b, int64_t unit_ns, struct delay_bins *bins, struct err *e)
{
	uint64_t cookie, length, offset, digits, lowest, highest, ratio;
	struct shape s = {.unit_ns = unit_ns};

	if (!take_int(&b, 4, &cookie) || !take_int(&b, 4, &length) || !take_int(&b, 4, &offset) ||
	    !take_int(&b, 4, &digits) || !take_int(&b, 8, &lowest) || !take_int(&b, 8, &highest) ||
	    !take_int(&b, 8, &ratio))
		return bad(e, "it is cut short");
	if (offset != 0)
		return bad(e, "shifted histograms are not read");
	if (read_shape(digits, lowest, &s, e) < 0)
		return -EINVAL;
	if (length < (uint64_t)(b.end - b.at))
		b.end = b.at + length;
	if ((cookie & ~(uint64_t)COOKIE_SIZE_BITS) == COOKIE_V2)
		return read_v2(&b, &s, bins, e);
	if ((cookie & ~(uint64_t)COOKIE_SIZE_BITS) == COOKIE_V1)
		return read_v1(&b, (int)(cookie & COOKIE_SIZE_BITS) >> 4, &s, bins, e);
	return bad(e, "unknown encoding");
}

static int base64_digit(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* Into out, which has room for three quarters of the text; the number of bytes. */
static size_t decode_base64(const char *text, uint8_t *out)
{
	uint32_t bits = 0;
	size_t n = 0;
	int have = 0, d;

	for (; (d = base64_digit(*text)) >= 0; text++) {
		bits = bits << 6 | (uint32_t)d;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
		}
	}
	return n;
}

int delay_hdr_decode(const char *base64, int64_t unit_ns, struct delay_bins *ret, size_t *plain_left,
		     struct err *e)
{
	autofree uint8_t *packed = xmalloc(strlen(base64) + 1);
	autofree uint8_t *plain = xmalloc(HEAD_BYTES + PAYLOAD_MAX);
	struct bytes b = {packed, packed + decode_base64(base64, packed)};
	unsigned long size = HEAD_BYTES + PAYLOAD_MAX;
	uint64_t cookie, length;

	if (!take_int(&b, 4, &cookie) || !take_int(&b, 4, &length))
		return bad(e, "it is cut short");
	cookie &= ~(uint64_t)COOKIE_SIZE_BITS;
	if (cookie != COOKIE_V1_COMPRESSED && cookie != COOKIE_V2_COMPRESSED)
		return bad(e, "unknown encoding");
	if (uncompress(plain, &size, b.at, (unsigned long)(b.end - b.at)) != Z_OK)
		return bad(e, "it does not decompress");
	if (size > *plain_left)
		return err_set(e, EFBIG, "the file's histograms decompress to more than 64 MiB");
	*plain_left -= size;
	return read_payload((struct bytes){plain, plain + size}, unit_ns, ret, e);
}
