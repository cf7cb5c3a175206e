/*
 * One try is a connection of its own: connect, for httpGet a request with "Connection: close", and
 * the first bytes of the answer, which carry the status. All of it under one timer that serves as
 * the start of the next try as well.
 */
#include "readiness.h"

#include "../base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

enum { FIRST_PERIOD_MS = 100, STATUS_BYTES = 12 }; /* "HTTP/1.1 200" */

struct readiness {
	sd_event *loop;
	const struct lab_probe *spec;
	char *address;
	void (*changed)(void *data, bool ready);
	void *data;

	sd_event_source *timer, *io;
	int fd;
	bool sent; /* the request is out, the answer is awaited */
	char answer[STATUS_BYTES + 1];
	size_t answer_len;
	int64_t next_ns; /* start of the next try */

	bool ready, once_ready;
	int64_t good, bad; /* in a row */
	char why[96];
};

static void close_try(struct readiness *p)
{
	p->io = sd_event_source_disable_unref(p->io);
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static void arm(struct readiness *p, int64_t at_ns)
{
	sd_event_source_set_time(p->timer, MAX_OF(at_ns, 0) / 1000);
	sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

/* A try has ended; why is NULL when it succeeded. */
static void conclude(struct readiness *p, const char *why)
{
	bool ready, news = !streq(p->why, why ? why : "");

	close_try(p);
	snprintf(p->why, sizeof p->why, "%s", why ? why : "");
	p->good = why ? 0 : p->good + 1;
	p->bad = why ? p->bad + 1 : 0;
	ready = p->ready ? p->bad < p->spec->failure_threshold :
			   p->good >= p->spec->success_threshold;
	if (ready && !p->once_ready) { /* from here on in Kubernetes' own time */
		p->once_ready = true;
		p->next_ns = clock_now_ns() + p->spec->period_s * NSEC_PER_SEC;
	}
	arm(p, p->next_ns);
	if (ready == p->ready && !news)
		return;
	p->ready = ready;
	p->changed(p->data, ready);
}

static void fail_errno(struct readiness *p, const char *what, int error)
{
	char why[96];

	snprintf(why, sizeof why, "%s: %s", what, strerror(error));
	conclude(p, why);
}

static char *request_text(const struct readiness *p)
{
	const struct lab_http_get *h = &p->spec->http;
	struct str b = {0};

	str_addf(&b, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: brunt-lab\r\n"
		     "Connection: close\r\n", h->path, h->host ? h->host : p->address,
		 (int)p->spec->port);
	for (size_t i = 0; i < h->n_headers; i++)
		str_addf(&b, "%s: %s\r\n", h->headers[i].name, h->headers[i].value);
	str_add(&b, "\r\n");
	return str_take(&b);
}

static void on_connected(struct readiness *p)
{
	autofree char *text = NULL;
	int error = 0;
	socklen_t len = sizeof error;

	getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		fail_errno(p, "connect", error);
		return;
	}
	if (p->spec->is_tcp) {
		conclude(p, NULL);
		return;
	}
	text = request_text(p);
	if (send(p->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) {
		fail_errno(p, "send", errno);
		return;
	}
	p->sent = true;
	sd_event_source_set_io_events(p->io, EPOLLIN);
}

static void on_answer(struct readiness *p)
{
	ssize_t n = recv(p->fd, p->answer + p->answer_len, STATUS_BYTES - p->answer_len, 0);
	char why[96];
	int status;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		if (n < 0)
			fail_errno(p, "answer", errno);
		else
			conclude(p, "connection closed without an answer");
		return;
	}
	p->answer_len += n;
	p->answer[p->answer_len] = '\0';
	if (p->answer_len < STATUS_BYTES)
		return;
	if (sscanf(p->answer, "HTTP/1.%*1[01] %3d", &status) != 1) {
		conclude(p, "the answer is not HTTP");
		return;
	}
	snprintf(why, sizeof why, "HTTP status %d", status);
	conclude(p, status >= 200 && status < 400 ? NULL : why);
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct readiness *p = data;

	if (p->sent)
		on_answer(p);
	else
		on_connected(p);
	return 0;
}

static void start_try(struct readiness *p)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(p->spec->port)};
	int64_t now = clock_now_ns();
	int period_ms = p->once_ready ? p->spec->period_s * 1000 : FIRST_PERIOD_MS;

	inet_pton(AF_INET, p->address, &to.sin_addr);
	p->next_ns = now + period_ms * NSEC_PER_MSEC;
	p->sent = false;
	p->answer_len = 0;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0) {
		fail_errno(p, "socket", errno);
		return;
	}
	if (connect(p->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) {
		fail_errno(p, "connect", errno);
		return;
	}
	if (sd_event_add_io(p->loop, &p->io, p->fd, EPOLLOUT, on_io, p) < 0) {
		fail_errno(p, "epoll", ENOMEM);
		return;
	}
	arm(p, now + p->spec->timeout_s * NSEC_PER_SEC);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct readiness *p = data;

	if (p->fd >= 0)
		conclude(p, p->sent ? "no answer in time" : "no connection in time");
	else
		start_try(p);
	return 0;
}

struct readiness *readiness_start(struct sd_event *loop, const struct lab_probe *spec, const char *address,
			  void (*changed)(void *data, bool ready), void *data)
{
	struct readiness *p = xcalloc(1, sizeof *p);
	int64_t first_ns = clock_now_ns() + spec->initial_delay_s * NSEC_PER_SEC;

	*p = (struct readiness){.loop = loop, .spec = spec, .address = xstrdup(address),
			    .changed = changed, .data = data, .fd = -1};
	if (sd_event_add_time(loop, &p->timer, CLOCK_MONOTONIC, first_ns / 1000, 1000, on_timer, p) < 0)
		abort();
	return p;
}

const char *readiness_why(const struct readiness *p)
{
	return p->why;
}

void readiness_stop(struct readiness *p)
{
	if (!p)
		return;
	close_try(p);
	sd_event_source_disable_unref(p->timer);
	free(p->address);
	free(p);
}
