/*
 * clock - monotonic time for everything that is measured or waited for, wall time for records
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int64_t clock_now_ns(void);  /* CLOCK_MONOTONIC */
int64_t clock_wall_ns(void); /* CLOCK_REALTIME */

enum { CLOCK_TEXT_MAX = 40 };
/* RFC 3339 in UTC with milliseconds, "2026-11-23T09:01:02.345Z"; returns buf. */
const char *clock_rfc3339(int64_t wall_ns, char *buf);

/* The kernel's boot id (36 characters and a NUL), to tell records of an earlier boot. */
enum { CLOCK_BOOT_ID_MAX = 37 };
int clock_boot_id(char *buf);
