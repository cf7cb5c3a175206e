/*
 * A path in another mount namespace is an invitation to be led elsewhere: RESOLVE_IN_ROOT makes the
 * target's root the end of every "..", absolute link and mount, magic links are refused, and
 * the last part may not be a link. What comes out is held by O_PATH and connected to through
 * /proc/self/fd, so that nothing can be put in its place between check and use.
 *
 * A stranger who owns the folder can still listen there. So the kernel is asked who does.
 */
#include "runtime_control.h"

#include "../base/clock.h"
#include "../base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum { PATIENCE_MS = 2000, ANCESTORS_MAX = 64 };

struct runtime_control {
	int fd;
	pid_t peer;
	int64_t deadline_ns; /* of everything, beside each answer's own time */
	char *path;
	size_t n;
	char buf[RUNTIME_LINE_MAX];
};

/* Whom to believe ------------------------------------------------------------------------------- */

static pid_t parent_of(pid_t pid)
{
	autofree char *path = xasprintf("/proc/%d/stat", pid);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[512];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	const char *name_end;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	name_end = strrchr(text, ')'); /* the name may hold anything */
	return name_end && strlen(name_end) > 4 ? atoi(name_end + 4) : 0;
}

static bool is_below(pid_t pid, pid_t ancestor)
{
	for (int i = 0; i < ANCESTORS_MAX && pid > 1; i++, pid = parent_of(pid))
		if (pid == ancestor)
			return true;
	return false;
}

static bool pid_namespace(const char *pid, struct stat *ret)
{
	autofree char *path = xasprintf("/proc/%s/ns/pid", pid);

	return stat(path, ret) == 0;
}

/* Both in one that is not ours: two processes of one pod. */
static bool share_a_pod(pid_t a, pid_t b)
{
	autofree char *x = xasprintf("%d", a), *y = xasprintf("%d", b);
	struct stat sa, sb, own;

	return pid_namespace(x, &sa) && pid_namespace(y, &sb) && pid_namespace("self", &own) &&
	       sa.st_ino == sb.st_ino && sa.st_ino != own.st_ino;
}

static int check_peer(struct runtime_control *c, pid_t pid, struct err *e)
{
	struct ucred peer = {.pid = 0};
	socklen_t n = sizeof peer;

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return err_errno(e, errno, "%s: who answers", c->path);
	c->peer = peer.pid;
	if (peer.pid > 0 && (is_below(peer.pid, pid) || share_a_pod(peer.pid, pid)))
		return 0;
	return err_set(e, EPERM, "%s: process %d answers there, which is not of the target (process %d)",
		       c->path, peer.pid, pid);
}

/* Connecting ------------------------------------------------------------------------------------ */

static int open_path(pid_t pid, const char *path, struct err *e)
{
	struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	autofree char *root_path = xasprintf("/proc/%d/root", pid);
	autofd int root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;
	struct stat st;

	if (root < 0)
		return err_errno(e, errno == ENOENT ? ESRCH : errno, "files of process %d", pid);
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
	if (fd < 0 && errno == ENOENT) {
		err_set(e, ENOENT, "process %d has no control socket %s", pid, path);
		return err_hint(e, "start the service with one (liveroom serve --control %s), or correct "
				   "control:", path);
	}
	if (fd < 0)
		return err_errno(e, errno, "%s of process %d", path, pid);
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return err_set(e, ENOTSOCK, "%s of process %d is not a socket", path, pid);
	return take_fd(fd);
}

static int connect_to(struct runtime_control *c, int path_fd, struct err *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", path_fd);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return err_errno(e, errno, "socket");
	if (connect(c->fd, (void *)&to, sizeof to) == 0)
		return 0;
	if (errno != ECONNREFUSED)
		return err_errno(e, errno, "connect to %s", c->path);
	err_set(e, ECONNREFUSED, "%s is stale: nobody listens on it", c->path);
	return err_hint(e, "the process that made it has ended: look whether the service runs");
}

static int wait_line(struct runtime_control *c, char ret[RUNTIME_LINE_MAX], struct err *e)
{
	int64_t start = clock_now_ns();
	int64_t deadline = MIN_OF(start + PATIENCE_MS * NSEC_PER_MSEC, c->deadline_ns);

	for (;;) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		int64_t left = (deadline - clock_now_ns()) / NSEC_PER_MSEC;
		int r = runtime_control_next(c, ret);

		if (r > 0)
			return 0;
		if (r < 0)
			return err_set(e, EPIPE, "%s: the service closed the connection", c->path);
		if (left <= 0)
			return err_set(e, ETIMEDOUT, "%s: no answer within %.3g s", c->path,
				       (double)(deadline - start) / NSEC_PER_SEC);
		poll(&p, 1, (int)left);
	}
}

static int read_greeting(struct runtime_control *c, struct err *e)
{
	char line[RUNTIME_LINE_MAX];
	int version, r = wait_line(c, line, e);

	if (r < 0)
		return r;
	if (strncmp(line, "error ", 6) == 0)
		return err_set(e, EACCES, "%s: %s", c->path, line + 6);
	if (sscanf(line, "rt-control %d", &version) != 1)
		return err_set(e, EPROTO, "%s: \"%.60s\" is no greeting of a control socket", c->path,
			       line);
	if (version != RUNTIME_CONTROL_VERSION)
		return err_set(e, EPROTO, "%s speaks version %d of the protocol, this brunt speaks %d",
			       c->path, version, RUNTIME_CONTROL_VERSION);
	return 0;
}

int runtime_control_open(pid_t pid, const char *path, struct runtime_control **ret, struct err *e)
{
	return runtime_control_open_until(pid, path, INT64_MAX, ret, e);
}

int runtime_control_open_until(pid_t pid, const char *path, int64_t deadline_ns,
			       struct runtime_control **ret, struct err *e)
{
	autoptr(runtime_control) c = xcalloc(1, sizeof *c);
	autofd int path_fd = open_path(pid, path, e);
	int r;

	c->fd = -1;
	c->deadline_ns = deadline_ns;
	c->path = xstrdup(path);
	if (path_fd < 0)
		return path_fd;
	r = connect_to(c, path_fd, e);
	if (r == 0)
		r = check_peer(c, pid, e);
	if (r == 0)
		r = read_greeting(c, e);
	if (r == 0)
		*ret = take(c);
	return r;
}

void runtime_control_close(struct runtime_control *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->path);
	free(c);
}

int runtime_control_fd(const struct runtime_control *c)
{
	return c->fd;
}

pid_t runtime_control_peer(const struct runtime_control *c)
{
	return c->peer;
}

/* Lines ------------------------------------------------------------------------------------------ */

int runtime_control_send(struct runtime_control *c, const char *command, struct err *e)
{
	autofree char *line = xasprintf("%s\n", command);

	if (send(c->fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)strlen(line))
		return 0;
	return err_errno(e, errno ? errno : EPIPE, "%s: send", c->path);
}

int runtime_control_next(struct runtime_control *c, char ret[RUNTIME_LINE_MAX])
{
	char *end = memchr(c->buf, '\n', c->n);
	ssize_t n;

	if (!end) {
		if (c->n == sizeof c->buf)
			return -EPIPE;
		n = recv(c->fd, c->buf + c->n, sizeof c->buf - c->n, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n <= 0)
			return -EPIPE;
		c->n += (size_t)n;
		end = memchr(c->buf, '\n', c->n);
		if (!end)
			return 0;
	}
	n = end - c->buf;
	memcpy(ret, c->buf, (size_t)n);
	ret[n] = '\0';
	c->n -= (size_t)n + 1;
	memmove(c->buf, end + 1, c->n);
	return 1;
}

int runtime_control_ask(struct runtime_control *c, const char *command, char ret[RUNTIME_LINE_MAX],
			struct err *e)
{
	char line[RUNTIME_LINE_MAX];
	int r = runtime_control_send(c, command, e);

	if (r == 0)
		r = wait_line(c, line, e);
	if (r < 0)
		return r;
	if (strncmp(line, "ok", 2) != 0)
		return err_set(e, EREMOTEIO, "%s: %s", c->path,
			       strncmp(line, "error ", 6) ? line : line + 6);
	strcpy(ret, line + 2 + (line[2] == ' '));
	return 0;
}

/* The number after " KEY="; deflt: it is not there. */
static int64_t number_of(const char *text, const char *key, int64_t deflt)
{
	const char *at = strstr(text, key);

	return at ? strtoll(at + strlen(key), NULL, 10) : deflt;
}

int runtime_status_parse(const char *text, struct runtime_status *ret, struct err *e)
{
	const char *probes = strstr(text, "probes="), *actions = strstr(text, "actions=");

	*ret = (struct runtime_status){0};
	if (sscanf(text, "procs=%u live=%u parked=%u", &ret->procs, &ret->live, &ret->parked) != 3 ||
	    !probes || !actions)
		return err_set(e, EPROTO, "\"%.80s\" is no status of a control socket", text);
	ret->probes = strtoull(probes + 7, NULL, 10);
	ret->coroutines = number_of(text, " coroutines=", -1);
	ret->cycles = number_of(text, " cycles=", -1);
	ret->allocated = number_of(text, " allocated=", -1);
	ret->percent = number_of(text, " percent=", 0);
	ret->slow_calls = number_of(text, " slow_calls=", -1);
	ret->slow_us = number_of(text, " slow_us=", -1);
	snprintf(ret->actions, sizeof ret->actions, "%s", actions + 8);
	return 0;
}

bool runtime_action_next(const char **at, struct runtime_action *ret)
{
	long long lease_ms, worst_us;
	int n = 0;

	if (sscanf(*at, "%63[^:,]:%127[^:,]:%lld:%lld%n", ret->name, ret->tag, &lease_ms, &worst_us,
		   &n) != 4)
		return false;
	ret->lease_ms = lease_ms;
	ret->worst_us = worst_us;
	*at += n + ((*at)[n] == ',');
	return true;
}

bool runtime_status_find(const struct runtime_status *s, const char *tag, struct runtime_action *ret)
{
	const char *at = s->actions;

	while (runtime_action_next(&at, ret))
		if (streq(ret->tag, tag))
			return true;
	return false;
}
