/*
 * One pass over the lines of the file; what a line is follows from its looks. An HdrHistogram log
 * line ends in a histogram of its own (delay_hdr.c); a percentile listing starts with the words
 * "Value Percentile" and counts cumulatively; everything else is a delay.
 */
#include "delay_samples.h"

#include "../base/mem.h"
#include "../base/units.h"
#include "delay_hdr.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const off_t MAX_BYTES = 64 << 20;
static const size_t MAX_PLAIN = 64 << 20;
static const double MAX_COUNT = 1e18;

struct reading {
	struct delay_bins *bins;
	int64_t unit_ns;
	int listing;   /* after the head of a percentile listing */
	double counted; /* its running total */
	size_t plain_left; /* of what may still be decompressed */
};


static int read_listing_row(struct reading *rd, const char *line, struct err *e)
{
	double value, percentile, total;

	if (sscanf(line, "%lf %lf %lf", &value, &percentile, &total) != 3)
		return err_set(e, EINVAL, "want value, percentile and total count");
	if (!(total >= rd->counted && total < MAX_COUNT))
		return err_set(e, EINVAL, "the total count falls, or is none");
	if (total == rd->counted)
		return 0;
	if (delay_bins_add(rd->bins, value * (double)rd->unit_ns, (uint64_t)(total - rd->counted), e) < 0)
		return -EINVAL;
	rd->counted = total;
	return 0;
}

static int read_delay(struct reading *rd, const char *line, struct err *e)
{
	int64_t ns;
	char *end;
	double ms = strtod(line, &end);

	if (end != line && *end == '\0')
		return delay_bins_add(rd->bins, ms * NSEC_PER_MSEC, 1, e);
	if (units_parse_duration(line, &ns, e) < 0)
		return -EINVAL;
	return delay_bins_add(rd->bins, (double)ns, 1, e);
}

static char *trim(char *line)
{
	size_t n;

	while (isspace((unsigned char)*line))
		line++;
	n = strlen(line);
	while (n > 0 && isspace((unsigned char)line[n - 1]))
		line[--n] = '\0';
	return line;
}

static int read_line(struct reading *rd, char *line, struct err *e)
{
	const char *histogram;

	line = trim(line);
	if (*line == '\0' || *line == '#' || *line == '"')
		return 0;
	if (strncmp(line, "Value", 5) == 0 && strstr(line, "Percentile")) {
		rd->listing = 1;
		return 0;
	}
	histogram = strstr(line, "HIST");
	if (histogram)
		return delay_hdr_decode(histogram, rd->unit_ns, rd->bins, &rd->plain_left, e);
	return rd->listing ? read_listing_row(rd, line, e) : read_delay(rd, line, e);
}

static int read_lines(FILE *f, struct reading *rd, struct err *e)
{
	autofree char *line = NULL;
	size_t size = 0;
	int number = 0;

	while (getline(&line, &size, f) >= 0) {
		number++;
		if (read_line(rd, line, e) < 0)
			return err_wrap(e, "line %d", number);
	}
	return ferror(f) ? err_errno(e, errno, "read") : 0;
}

int delay_samples_read(const char *path, int64_t unit_ns, struct delay_bins *ret, struct err *e)
{
	struct reading rd = {.bins = ret, .unit_ns = unit_ns, .plain_left = MAX_PLAIN};
	struct stat st;
	FILE *f;
	int r;

	/* Asked before it is opened: a FIFO would block until somebody writes, a device never ends. */
	if (stat(path, &st) < 0)
		return err_errno(e, errno, "open");
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "not a regular file");
	if (st.st_size > MAX_BYTES)
		return err_set(e, EFBIG, "larger than 64 MiB");
	f = fopen(path, "re");
	if (!f)
		return err_errno(e, errno, "open");
	r = read_lines(f, &rd, e);
	fclose(f);
	return r;
}
