/*
 * A network namespace is known by the device and inode of its nsfs file: the number alone is
 * reused, but not while somebody lives in it or holds it.
 */
#include "netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

int netns_open_path(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(e, errno, "open network namespace %s", path);
	return fd;
}

int netns_open_pid(pid_t pid, struct err *e)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
	return netns_open_path(path, e);
}

int netns_identity(int fd, uint64_t *ret_dev, uint64_t *ret_ino, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "stat network namespace");
	*ret_dev = st.st_dev;
	*ret_ino = st.st_ino;
	return 0;
}

static bool path_is(const char *path, uint64_t dev, uint64_t ino)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

bool netns_is_host(uint64_t dev, uint64_t ino)
{
	return path_is("/proc/self/ns/net", dev, ino) || path_is("/proc/1/ns/net", dev, ino);
}

/* Opens path if it is the namespace looked for; it may change hands between two looks. */
static int open_if(const char *path, uint64_t dev, uint64_t ino)
{
	autofd int fd = -1;
	uint64_t got_dev, got_ino;

	if (!path_is(path, dev, ino))
		return -ENOENT;
	fd = netns_open_path(path, NULL);
	if (fd < 0 || netns_identity(fd, &got_dev, &got_ino, NULL) < 0)
		return -ENOENT;
	return got_dev == dev && got_ino == ino ? take_fd(fd) : -ENOENT;
}

static int find_in(const char *dir, const char *suffix, uint64_t dev, uint64_t ino)
{
	DIR *d = opendir(dir);
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	for (struct dirent *de; fd < 0 && (de = readdir(d));) {
		char path[512];

		snprintf(path, sizeof path, "%s/%s%s", dir, de->d_name, suffix);
		fd = open_if(path, dev, ino);
	}
	closedir(d);
	return fd;
}

int netns_find(uint64_t dev, uint64_t ino, struct err *e)
{
	int fd = find_in("/run/netns", "", dev, ino);

	if (fd < 0)
		fd = find_in("/proc", "/ns/net", dev, ino);
	if (fd < 0)
		return err_set(e, ENOENT, "network namespace %llu is gone",
			       (unsigned long long)ino);
	return fd;
}
