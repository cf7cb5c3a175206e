/*
 * The socket and its thread. The thread has no P and starts nothing that waits, so that it answers, ends
 * leases and closes connections while every coroutine stands still.
 *
 * The socket's inode gets its mode before the bind: there is no moment in which others could
 * connect. Who connects all the same (somebody changed the mode, a group shares the folder) is asked
 * for by SO_PEERCRED and turned away.
 */
#include "../rt_control.h"

#include "command.h"
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECTIONS = 8, BACKLOG = 8, PROBE_MS = 20 };

struct connection {
	int fd; /* 0: free; never standard input's */
	size_t n;
	char line[CONTROL_LINE_MAX + 1];
};

static struct {
	pthread_t thread;
	_Atomic uint32_t serving;
	int listener, wake;
	struct sockaddr_un address;
	struct stat made; /* the socket's file */
	int64_t probe_ns;
	struct connection connections[CONNECTIONS];
} control;

/* Connections ----------------------------------------------------------------------------------- */

static bool say(int fd, const char *text)
{
	size_t n = strlen(text);

	/* Who does not read its answers is not waited for. */
	return send(fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

static void hang_up(struct connection *c)
{
	job_end_connection((int)(c - control.connections));
	close(c->fd);
	c->fd = 0;
}

static bool may_command(int fd)
{
	struct ucred peer = {.pid = 0};
	socklen_t n = sizeof peer;
	char text[160];

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	snprintf(text, sizeof text, "error refused: uid %u is neither root nor the service's user (%u)\n",
		 peer.uid, geteuid());
	say(fd, text);
	dprintf(STDERR_FILENO, "control: refused a connection of uid %u, process %d: neither root nor %u\n",
		peer.uid, peer.pid, geteuid());
	return false;
}

static struct connection *free_connection(void)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (!control.connections[i].fd)
			return &control.connections[i];
	return NULL;
}

static void welcome(void)
{
	int fd = accept4(control.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct connection *c = free_connection();
	char greeting[64];

	if (fd < 0)
		return;
	snprintf(greeting, sizeof greeting, "rt-control %d pid=%d\n", CONTROL_VERSION, getpid());
	if (!may_command(fd)) {
		close(fd);
	} else if (!c) {
		say(fd, "error too many connections\n");
		close(fd);
	} else {
		c->fd = fd;
		c->n = 0;
		if (!say(fd, greeting))
			hang_up(c);
	}
}

/* Answers every whole line; false when the connection is to be closed. */
static bool answer_lines(struct connection *c)
{
	char answer[CONTROL_ANSWER_MAX], *end;

	while ((end = memchr(c->line, '\n', c->n))) {
		size_t used = (size_t)(end - c->line) + 1;

		*end = '\0';
		command_answer((int)(c - control.connections), c->line, rt_now(), answer);
		if (!say(c->fd, answer))
			return false;
		memmove(c->line, c->line + used, c->n - used);
		c->n -= used;
	}
	if (c->n < CONTROL_LINE_MAX)
		return true;
	say(c->fd, "error the line is too long\n");
	return false;
}

static void listen_to(struct connection *c)
{
	ssize_t n = recv(c->fd, c->line + c->n, CONTROL_LINE_MAX - c->n, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		c->n += (size_t)n;
	if (n <= 0 || !answer_lines(c))
		hang_up(c);
}

/* The thread ------------------------------------------------------------------------------------- */

static int wait_ms(int64_t now, int64_t next)
{
	return next == RT_FOREVER ? -1 : (int)((next - now) / RT_MSEC) + 1;
}

static void *serve(void *arg)
{
	struct pollfd p[2 + CONNECTIONS] = {{.fd = control.wake, .events = POLLIN},
					    {.fd = control.listener, .events = POLLIN}};

	while (!p[0].revents) {
		int64_t now = rt_now();

		for (size_t i = 0; i < CONNECTIONS; i++)
			p[2 + i] = (struct pollfd){.events = POLLIN,
						   .fd = control.connections[i].fd
								 ? control.connections[i].fd : -1};
		if (poll(p, 2 + CONNECTIONS, wait_ms(now, job_expire(now))) < 0)
			continue;
		for (size_t i = 0; i < CONNECTIONS; i++)
			if (p[2 + i].revents)
				listen_to(&control.connections[i]);
		if (p[1].revents)
			welcome();
	}
	job_end_all();
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (control.connections[i].fd)
			hang_up(&control.connections[i]);
	return NULL;
}

/* The time to safepoint is known by stopping, and a service without a collector never does. */
static void nothing(void *reached)
{
	*(int64_t *)reached = rt_now();
}

/*
 * At chance distances, from half of probe_ns to half as much again: in step with what it looks for, a
 * probe would meet each stall at the same place of it (xorshift64, Marsaglia 2003).
 */
static void probe(void *arg)
{
	uint64_t random = (uint64_t)rt_now() | 1, apart = (uint64_t)control.probe_ns;

	while (atomic_load(&control.serving)) {
		int64_t asked = rt_now(), reached = asked;

		rt_stop_world("probe", nothing, &reached);
		job_note_ttsp(reached - asked);
		command_note_probe();
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		rt_sleep_until(reached + (int64_t)(apart / 2 + random % apart));
	}
}

/* The socket -------------------------------------------------------------------------------------- */

/* 0 when what lies there is the socket of a process that has gone, which is removed. */
static int take_over(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(control.address.sun_path, &st) < 0)
		r = errno == ENOENT ? 0 : -errno;
	else if (!S_ISSOCK(st.st_mode))
		r = -EEXIST;
	else if (connect(fd, (void *)&control.address, sizeof control.address) == 0 ||
		 errno != ECONNREFUSED)
		r = -EADDRINUSE;
	else
		r = unlink(control.address.sun_path) < 0 && errno != ENOENT ? -errno : 0;
	close(fd);
	return r;
}

static int bind_path(int fd)
{
	int r;

	if (fchmod(fd, 0600) < 0)
		return -errno;
	if (bind(fd, (void *)&control.address, sizeof control.address) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	r = take_over();
	return r == 0 && bind(fd, (void *)&control.address, sizeof control.address) < 0 ? -errno : r;
}

static int open_socket(const char *path)
{
	int fd, r;

	if (!path || strlen(path) >= sizeof control.address.sun_path)
		return -ENAMETOOLONG;
	memset(&control.address, 0, sizeof control.address);
	control.address.sun_family = AF_UNIX;
	strcpy(control.address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = bind_path(fd);
	if (r == 0 && (listen(fd, BACKLOG) < 0 || lstat(path, &control.made) < 0))
		r = -errno;
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

static void remove_socket(void)
{
	struct stat st;

	/* Another process may have a socket there by now. */
	if (lstat(control.address.sun_path, &st) == 0 && st.st_dev == control.made.st_dev &&
	    st.st_ino == control.made.st_ino)
		unlink(control.address.sun_path);
	close(control.listener);
	close(control.wake);
}

static int start_thread(void)
{
	sigset_t all, old;
	int r;

	control.wake = eventfd(0, EFD_CLOEXEC);
	if (control.wake < 0)
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&control.thread, NULL, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		close(control.wake);
	return -r;
}

static void *start(void *path)
{
	int r;

	control.listener = open_socket(path);
	if (control.listener < 0)
		return (void *)(intptr_t)control.listener;
	r = start_thread();
	if (r < 0) {
		unlink(path);
		close(control.listener);
	}
	return (void *)(intptr_t)r;
}

static void *stop(void *arg)
{
	(void)!write(control.wake, &(uint64_t){1}, sizeof(uint64_t));
	pthread_join(control.thread, NULL);
	remove_socket();
	return NULL;
}

int rt_control_serve(const struct rt_control_options *o)
{
	int r;

	if (atomic_exchange(&control.serving, 1))
		return -EALREADY;
	control.probe_ns = o->probe_ns ? o->probe_ns : PROBE_MS * RT_MSEC;
	r = (int)(intptr_t)rt_blocking(start, (void *)o->path);
	if (r == 0)
		r = rt_go_attr(probe, NULL, &(struct rt_attr){.name = "rt.safepoint-probe"});
	else
		atomic_store(&control.serving, 0);
	return r;
}

void rt_control_stop(void)
{
	if (!atomic_exchange(&control.serving, 0))
		return;
	rt_blocking(stop, NULL);
}
