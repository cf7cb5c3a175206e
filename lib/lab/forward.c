/*
 * One listening socket here, one connected socket in the switch namespace for each connection, and
 * bytes carried between them in both directions. Each direction ends by itself: a client that has
 * sent everything still gets the rest of the answer.
 */
#include "lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { FLOW_BYTES = 65536 };

struct flow {
	char bytes[FLOW_BYTES];
	size_t start, end;
	bool ended; /* the sender has sent everything */
	bool done;  /* and the receiver knows */
};

struct connection {
	struct lab_forward *forward;
	int fd[2]; /* the client's, the pod's */
	sd_event_source *io[2];
	bool connected;
	bool hung[2]; /* the peer is gone: its event would come for ever */
	struct flow flow[2]; /* flow[i] is read from fd[i] */
	struct connection *next;
};

struct lab_forward {
	sd_event *loop;
	int fd, netns_fd, home_fd;
	struct sockaddr_in to;
	sd_event_source *io;
	struct connection *connections;
};

static void connection_free(struct connection *c)
{
	for (int i = 0; i < 2; i++) {
		sd_event_source_disable_unref(c->io[i]);
		if (c->fd[i] >= 0)
			close(c->fd[i]);
	}
	free(c);
}

static void drop(struct connection *c)
{
	for (struct connection **p = &c->forward->connections; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			break;
		}
	connection_free(c);
}

/* Moves what can be moved now from one side to the other: 1 if there may be more, negative when
 * the connection broke. */
static int move(struct connection *c, int from)
{
	struct flow *f = &c->flow[from];
	ssize_t n;

	if (f->start == f->end && !f->ended) {
		n = recv(c->fd[from], f->bytes, sizeof f->bytes, MSG_DONTWAIT);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		f->ended = n == 0;
		f->start = 0;
		f->end = n;
	}
	while (f->start < f->end) {
		n = send(c->fd[!from], f->bytes + f->start, f->end - f->start,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		f->start += n;
	}
	if (f->ended && !f->done) {
		f->done = true;
		shutdown(c->fd[!from], SHUT_WR);
	}
	return !f->ended;
}

/* A bounded number of times, so that one connection does not starve the others. */
static int move_all(struct connection *c)
{
	for (int from = 0; from < 2; from++)
		for (int i = 0, more = 1; more && i < 16; i++) {
			more = move(c, from);
			if (more < 0)
				return more;
		}
	return 0;
}

static void watch(struct connection *c)
{
	for (int i = 0; i < 2; i++) {
		const struct flow *in = &c->flow[i], *out = &c->flow[!i];
		bool read = c->connected && in->start == in->end && !in->ended;
		bool write = (i == 1 && !c->connected) || (c->connected && out->start < out->end);

		sd_event_source_set_io_events(c->io[i], (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0));
		sd_event_source_set_enabled(c->io[i], c->hung[i] && !read ? SD_EVENT_OFF : SD_EVENT_ON);
	}
}

/* Nothing can be told to this side any more; what it sent before still goes to the other one. */
static void hang_up(struct connection *c, int side)
{
	c->hung[side] = true;
	c->flow[!side].ended = c->flow[!side].done = true;
	c->flow[!side].start = c->flow[!side].end;
}

static bool has_failed(struct connection *c, int side)
{
	int error = 0;
	socklen_t len = sizeof error;

	if (side == 1 && !c->connected) {
		getsockopt(c->fd[1], SOL_SOCKET, SO_ERROR, &error, &len);
		c->connected = !error;
	}
	return error || (c->connected && move_all(c) < 0) ||
	       (c->flow[0].done && c->flow[1].done);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct connection *c = data;
	int side = fd == c->fd[1];

	if (has_failed(c, side)) {
		drop(c);
		return 0;
	}
	if (events & (EPOLLHUP | EPOLLERR))
		hang_up(c, side);
	watch(c);
	return 0;
}

static int socket_in_switch(const struct lab_forward *f)
{
	int fd, error;

	if (setns(f->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	error = errno;
	if (setns(f->home_fd, CLONE_NEWNET) < 0)
		abort(); /* the next listening socket would be made in the lab */
	return fd < 0 ? -error : fd;
}

static int on_connection(sd_event_source *s, int listener, uint32_t events, void *data)
{
	struct lab_forward *f = data;
	struct connection *c = xcalloc(1, sizeof *c);

	c->forward = f;
	c->fd[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	c->fd[1] = c->fd[0] < 0 ? -1 : socket_in_switch(f);
	if (c->fd[1] < 0 ||
	    (connect(c->fd[1], (struct sockaddr *)&f->to, sizeof f->to) < 0 && errno != EINPROGRESS) ||
	    sd_event_add_io(f->loop, &c->io[0], c->fd[0], 0, on_io, c) < 0 ||
	    sd_event_add_io(f->loop, &c->io[1], c->fd[1], EPOLLOUT, on_io, c) < 0) {
		connection_free(c);
		return 0;
	}
	c->next = f->connections;
	f->connections = c;
	return 0;
}

static int listen_here(uint16_t port, uint16_t *ret_port, struct err *e)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof at;
	static const int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return err_errno(e, errno, "listen on 127.0.0.1:%u", port);
	*ret_port = ntohs(at.sin_port);
	return take_fd(fd);
}

int lab_forward_new(struct lab_client *c, struct sd_event *loop, const char *address,
		    uint16_t local_port, uint16_t remote_port, uint16_t *ret_port,
		    struct lab_forward **ret, struct err *e)
{
	autoptr(lab_forward) f = xcalloc(1, sizeof *f);
	struct kvs hosts = {0};
	int r;

	*f = (struct lab_forward){.loop = loop, .fd = -1, .netns_fd = -1, .home_fd = -1};
	f->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(remote_port)};
	if (inet_pton(AF_INET, address, &f->to.sin_addr) != 1)
		return err_set(e, EINVAL, "%s is no IPv4 address", address);
	r = lab_client_switch(c, &f->netns_fd, &hosts, e);
	kvs_done(&hosts);
	if (r < 0)
		return r;
	f->home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	r = f->fd = listen_here(local_port, ret_port, e);
	if (r < 0)
		return r;
	r = sd_event_add_io(loop, &f->io, f->fd, EPOLLIN, on_connection, f);
	if (r < 0)
		return err_errno(e, -r, "watch 127.0.0.1:%u", *ret_port);
	*ret = take(f);
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void lab_forward_free(struct lab_forward *f)
{
	if (!f)
		return;
	while (f->connections)
		drop(f->connections);
	sd_event_source_disable_unref(f->io);
	close_fd(f->fd);
	close_fd(f->netns_fd);
	close_fd(f->home_fd);
	free(f);
}
