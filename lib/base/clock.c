#include "clock.h"

#include "own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t clock_now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

const char *clock_rfc3339(int64_t wall_ns, char *buf)
{
	time_t s = wall_ns / NSEC_PER_SEC;
	char date[24];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, CLOCK_TEXT_MAX, "%s.%03dZ", date,
		 (int)(wall_ns % NSEC_PER_SEC / NSEC_PER_MSEC));
	return buf;
}

int clock_boot_id(char *buf)
{
	autofd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, CLOCK_BOOT_ID_MAX - 1);
	if (n != CLOCK_BOOT_ID_MAX - 1)
		return -EIO;
	buf[n] = '\0';
	return 0;
}
