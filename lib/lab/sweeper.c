/*
 * Started by the supervisor inside the switch namespace, it waits for the supervisor's end and
 * then does what a clean end does: deletes the links, so that namespaces somebody still holds a
 * handle of answer no more, kills what is left in the lab's groups, removes groups and files.
 */
#include "home.h"
#include "lab.h"
#include "wire.h"

#include "../kernel/pidfd.h"
#include "../kernel/role.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

/* What the supervisor hands over: itself, the lab's folder and groups, the switch namespace. */
enum { SUPERVISOR_FD = ROLE_FD_FIRST, DIR_FD, GROUPS_FD, SWITCH_FD };

enum { LOCK_TRIES = 500, LOCK_PAUSE_MS = 10 };

static bool is_in_switch(void)
{
	struct stat mine, there;

	return stat("/proc/self/ns/net", &mine) == 0 && fstat(SWITCH_FD, &there) == 0 &&
	       mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

static bool path_of(int fd, char *buf, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, buf, size - 1);
	buf[MAX_OF(n, 0)] = '\0';
	return n > 0;
}

/* A pod's process that was just being started may hold the lock for its last moments. */
static void sweep(const char *dir)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!lab_home_is_live(dir) && lab_home_sweep(dir, NULL) >= 0)
			return;
		nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_MS * NSEC_PER_MSEC}, NULL);
	}
}

int lab_sweeper_main(int argc, char **argv)
{
	char dir[PATH_MAX];

	prctl(PR_SET_NAME, "brunt-lab-sweep");
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (!path_of(DIR_FD, dir, sizeof dir))
		return 2;
	pidfd_wait(SUPERVISOR_FD, -1);
	if (is_in_switch())
		lab_wire_clear(NULL);
	lab_home_sweep_groups(GROUPS_FD, NULL); /* the folder and its record may be deleted */
	sweep(dir);
	return 0;
}
