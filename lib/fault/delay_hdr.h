/*
 * delay_hdr - one HdrHistogram out of a log line
 *
 * Source: github.com/HdrHistogram/HdrHistogram: AbstractHistogram.encodeIntoByteBuffer and
 *         ZigZagEncoding; encodings V1 and V2, compressed, in base64
 */
#pragma once

#include "delay_samples.h"

/* Appends every bucket that has a count, with its middle value in the histogram's own unit. */
int delay_hdr_decode(const char *base64, struct delay_bins *ret, struct err *e);
