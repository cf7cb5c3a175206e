/*
 * delay_hdr - one HdrHistogram out of a log line
 *
 * Source: github.com/HdrHistogram/HdrHistogram: AbstractHistogram.encodeIntoByteBuffer and
 *         ZigZagEncoding; encodings V1 and V2, compressed, in base64
 */
#pragma once

#include "delay_samples.h"

/* Adds every bucket that has a count, with its middle value, of which 1 is unit_ns. plain_left is what
 * the file's histograms may still decompress to, in bytes. Errors: -EINVAL; -EFBIG more than that */
int delay_hdr_decode(const char *base64, int64_t unit_ns, struct delay_bins *ret, size_t *plain_left,
		     struct err *e);
