#include "control.h"

#include "../base/clock.h"
#include "../base/mem.h"
#include "talk.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { COALESCE_US = 1000 };

struct control_client {
	struct control *control;
	int fd;
	sd_event_source *io;
	struct talk_buffer in;
	struct str out;
	bool owner, subscribed;
	bool stale; /* the newest state is still to be sent */
	bool dead;  /* to be freed when nobody works on it */
};

struct control {
	sd_event *loop;
	const struct control_ops *ops;
	void *data;
	int fd;
	sd_event_source *io, *changed;
	struct control_client **clients;
	size_t n_clients;
};

static void client_free(struct control_client *c)
{
	sd_event_source_disable_unref(c->io);
	close(c->fd);
	talk_buffer_done(&c->in);
	str_done(&c->out);
	free(c);
}

static void drop_client(struct control_client *c)
{
	struct control *all = c->control;
	bool owner = c->owner;

	for (size_t i = 0; i < all->n_clients; i++)
		if (all->clients[i] == c) {
			all->clients[i] = all->clients[--all->n_clients];
			break;
		}
	client_free(c);
	if (owner)
		all->ops->owner_gone(all->data);
}

/* Sends what waits; only what nobody can receive any more marks the client dead. */
static void flush(struct control_client *c)
{
	while (c->out.len && !c->dead) {
		int n = talk_send(c->fd, c->out.s, c->out.len, NULL, 0, MSG_DONTWAIT);

		if (n == -EAGAIN)
			break;
		if (n < 0) {
			c->dead = true;
			return;
		}
		c->out.len -= n;
		memmove(c->out.s, c->out.s + n, c->out.len + 1);
	}
	if (c->io)
		sd_event_source_set_io_events(c->io, EPOLLIN | (c->out.len ? EPOLLOUT : 0));
}

static char *line_of(json_t *object)
{
	autofree char *text = json_dumps(object, JSON_COMPACT);

	json_decref(object);
	return xasprintf("%s\n", text ? text : "{}");
}

static void queue(struct control_client *c, json_t *object)
{
	autofree char *line = line_of(object);

	str_add(&c->out, line);
	flush(c);
}

static void send_state(struct control_client *c)
{
	if (c->out.len || !c->stale)
		return;
	c->stale = false;
	queue(c, c->control->ops->state(c->control->data));
}

void control_answer(struct control_client *c, json_t *object, const int *fds, size_t n_fds)
{
	autofree char *line = NULL;
	int n;

	if (!n_fds) {
		queue(c, object);
		return;
	}
	/* Descriptors travel with the first byte of their line: what is queued goes first. */
	line = line_of(object);
	flush(c);
	n = c->out.len ? -EAGAIN : talk_send(c->fd, line, strlen(line), fds, n_fds, MSG_DONTWAIT);
	if (n < 0)
		c->dead = true;
	else
		str_add(&c->out, line + n);
	flush(c);
}

void control_answer_err(struct control_client *c, const struct err *e)
{
	control_answer(c, json_pack("{s:s, s:i}", "error", e->text, "code", e->code), NULL, 0);
}

void control_subscribe(struct control_client *c)
{
	c->subscribed = c->stale = true;
	send_state(c);
}

static void read_requests(struct control_client *c)
{
	json_t *req = NULL;
	int r = talk_read(c->fd, &c->in, MSG_DONTWAIT);

	while (r > 0 && !c->dead && (r = talk_line(&c->in, &req)) > 0) {
		c->control->ops->request(c->control->data, c, req);
		json_decref(req);
	}
	if (r < 0)
		c->dead = true;
}

static int on_client(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct control_client *c = data;

	if (events & EPOLLOUT)
		flush(c);
	if (!c->dead)
		send_state(c);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_requests(c);
	if (c->dead)
		drop_client(c);
	return 0;
}

static struct control_client *add_client(struct control *all, int fd)
{
	struct control_client *c = xcalloc(1, sizeof *c);

	*c = (struct control_client){.control = all, .fd = fd};
	if (sd_event_add_io(all->loop, &c->io, fd, EPOLLIN, on_client, c) < 0) {
		client_free(c);
		return NULL;
	}
	*array_push(all->clients, all->n_clients) = c;
	return c;
}

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static int on_connection(sd_event_source *s, int listener, uint32_t events, void *data)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return 0;
	if (may_ask(fd))
		add_client(data, fd);
	else
		close(fd);
	return 0;
}

static int on_changed(sd_event_source *s, uint64_t usec, void *data)
{
	struct control *all = data;

	/* A client that is found dead here is dropped when its hang-up event comes. */
	for (size_t i = 0; i < all->n_clients; i++)
		if (all->clients[i]->subscribed && !all->clients[i]->dead) {
			all->clients[i]->stale = true;
			send_state(all->clients[i]);
		}
	return 0;
}

int control_open(struct sd_event *loop, const char *dir, const struct control_ops *ops, void *data,
		 struct control **ret, struct err *e)
{
	struct control *c = xcalloc(1, sizeof *c);
	int r;

	*c = (struct control){.loop = loop, .ops = ops, .data = data};
	c->fd = talk_listen(dir, e);
	if (c->fd < 0) {
		r = c->fd;
		free(c);
		return r;
	}
	r = sd_event_add_io(loop, &c->io, c->fd, EPOLLIN, on_connection, c);
	if (r >= 0)
		r = sd_event_add_time(loop, &c->changed, CLOCK_MONOTONIC, 0, 1, on_changed, c);
	if (r < 0) {
		control_close(c);
		return err_errno(e, -r, "watch control socket");
	}
	sd_event_source_set_enabled(c->changed, SD_EVENT_OFF);
	*ret = c;
	return 0;
}

void control_add_owner(struct control *all, int fd)
{
	struct control_client *c = add_client(all, fd);

	if (!c)
		return;
	c->owner = true;
	control_subscribe(c);
}

void control_state_changed(struct control *c)
{
	int enabled;

	if (!c || sd_event_source_get_enabled(c->changed, &enabled) > 0)
		return;
	sd_event_source_set_time(c->changed, clock_now_ns() / 1000 + COALESCE_US);
	sd_event_source_set_enabled(c->changed, SD_EVENT_ONESHOT);
}

void control_close(struct control *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_clients; i++)
		client_free(c->clients[i]);
	free(c->clients);
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->changed);
	close(c->fd);
	free(c);
}
