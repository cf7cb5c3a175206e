/*
 * A network namespace is known by the device and inode of its nsfs file, which are not reused while
 * somebody lives in it or holds it, and by the cookie, which no other namespace of this boot ever
 * has. The cookie can only be read off a socket in the namespace, so looking for one goes by number.
 */
#include "netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

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

int netns_identity(int fd, struct netns_id *ret, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, errno, "stat network namespace");
	*ret = (struct netns_id){.dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

uint64_t netns_cookie(int socket_fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof cookie;

	return getsockopt(socket_fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

bool netns_same(struct netns_id a, struct netns_id b)
{
	return a.dev == b.dev && a.ino == b.ino &&
	       (a.cookie == b.cookie || !a.cookie || !b.cookie);
}

static bool path_is(const char *path, struct netns_id id)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == id.dev && st.st_ino == id.ino;
}

bool netns_is_host(struct netns_id id)
{
	return path_is("/proc/self/ns/net", id) || path_is("/proc/1/ns/net", id);
}

/* Opens path if it is the namespace looked for; it may change hands between two looks. */
static int open_if(const char *path, struct netns_id id)
{
	autofd int fd = -1;
	struct netns_id got;

	if (!path_is(path, id))
		return -ENOENT;
	fd = netns_open_path(path, NULL);
	if (fd < 0 || netns_identity(fd, &got, NULL) < 0)
		return -ENOENT;
	return netns_same(got, id) ? take_fd(fd) : -ENOENT;
}

static int find_in(const char *dir, const char *suffix, struct netns_id id)
{
	DIR *d = opendir(dir);
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	for (struct dirent *de; fd < 0 && (de = readdir(d));) {
		char path[512];

		snprintf(path, sizeof path, "%s/%s%s", dir, de->d_name, suffix);
		fd = open_if(path, id);
	}
	closedir(d);
	return fd;
}

int netns_find(struct netns_id id, struct err *e)
{
	int fd = find_in("/run/netns", "", id);

	if (fd < 0)
		fd = find_in("/proc", "/ns/net", id);
	if (fd < 0)
		return err_set(e, ENOENT, "network namespace %llu is gone",
			       (unsigned long long)id.ino);
	return fd;
}

/* Opened below /proc it is called net:[...]; opened by a name, that name, or "/" when the name has
 * gone. Other files are not looked at: they may lie on a server that does not answer. */
static bool may_be_netns(const char *link)
{
	static const char *const places[] = {"net:[", "/run/", "/var/run/"};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (strncmp(link, places[i], strlen(places[i])) == 0)
			return true;
	return streq(link, "/");
}

static int find_among_fds(const char *dir, struct netns_id id)
{
	DIR *d = opendir(dir);
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	for (struct dirent *de; fd < 0 && (de = readdir(d));) {
		char link[64] = "", path[600];

		if (readlinkat(dirfd(d), de->d_name, link, sizeof link - 1) < 0 ||
		    !may_be_netns(link))
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, de->d_name);
		fd = open_if(path, id);
	}
	closedir(d);
	return fd;
}

int netns_find_held(struct netns_id id)
{
	DIR *d = opendir("/proc");
	int fd = -ENOENT;

	if (!d)
		return -ENOENT;
	for (struct dirent *de; fd < 0 && (de = readdir(d));) {
		char path[300];

		if (de->d_name[0] < '0' || de->d_name[0] > '9')
			continue;
		snprintf(path, sizeof path, "/proc/%s/fd", de->d_name);
		fd = find_among_fds(path, id);
	}
	closedir(d);
	return fd;
}
