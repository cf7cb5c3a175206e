/*
 * delay_samples - measured delays from a file, as values and how often each was seen
 *
 * Reads a list of delays, one a line ("12.5ms"; a bare number is milliseconds; "#" comments), an
 * HdrHistogram percentile listing (*.hgrm) or an HdrHistogram log (*.hlog, versions 1 and 2,
 * compressed); all histograms of a log are added up. The form is told from the contents.
 *
 * Units:   values of HdrHistogram files are multiplied by unit_ns
 * Errors:  -EINVAL with the line that could not be read; -EFBIG beyond 64 MiB, before or after its
 *          histograms are decompressed
 * Source:  github.com/HdrHistogram/HdrHistogram, AbstractHistogram.encodeIntoByteBuffer
 */
#pragma once

#include "../base/err.h"
#include "delay_bins.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* *ret must be empty; on an error it holds what was read so far. */
int delay_samples_read(const char *path, int64_t unit_ns, struct delay_bins *ret, struct err *e);
