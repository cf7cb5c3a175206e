/*
 * http_server - a server in a thread of the test, that answers as the test says
 *
 * One connection after the other is accepted; each is served by a thread of its own until it closes.
 * The answer is chosen by the path: /ok, /status/CODE, /silent (never), /close (without an answer);
 * anything else gets `page` as its body, unless `silent_byte` says so. While `stalled_until_ns` lies
 * ahead, all answers wait.
 */
#pragma once

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"

struct http_server {
	int fd, port;
	pthread_t thread;
	atomic_int connections, requests, alive;
	atomic_int by_last_byte[256]; /* connections by the last byte of the address they came to */
	_Atomic int64_t stalled_until_ns;
	atomic_int silent_byte; /* who came to such an address gets no answer; 0: nobody */
	pthread_mutex_t lock; /* guards page and last */
	char page[4096];
	char last[4096]; /* the latest request, as it came */
};

struct http_peer {
	struct http_server *server;
	int fd;
};

static inline void http_server_page(struct http_server *s, const char *page)
{
	pthread_mutex_lock(&s->lock);
	snprintf(s->page, sizeof s->page, "%s", page);
	pthread_mutex_unlock(&s->lock);
}

/* The last byte of the address that the connection came to. */
static inline int http_server_last_byte(int fd)
{
	struct sockaddr_in local = {0};
	socklen_t len = sizeof local;

	getsockname(fd, (struct sockaddr *)&local, &len);
	return ntohl(local.sin_addr.s_addr) & 255;
}

static inline void http_server_answer(struct http_server *s, int fd, const char *request)
{
	char path[128] = "", body[4096], text[8192];
	int status = 200, n;

	sscanf(request, "%*s %127s", path);
	pthread_mutex_lock(&s->lock);
	snprintf(s->last, sizeof s->last, "%s", request);
	snprintf(body, sizeof body, "%s", s->page);
	pthread_mutex_unlock(&s->lock);
	while (clock_now_ns() < atomic_load(&s->stalled_until_ns))
		usleep(1000);
	if (strcmp(path, "/silent") == 0 ||
	    http_server_last_byte(fd) == atomic_load(&s->silent_byte))
		return;
	if (strcmp(path, "/close") == 0) {
		shutdown(fd, SHUT_RDWR);
		return;
	}
	sscanf(path, "/status/%d", &status);
	n = snprintf(text, sizeof text, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status,
		     strlen(body), body);
	if (write(fd, text, n) < 0)
		shutdown(fd, SHUT_RDWR);
}

static inline void *http_server_serve(void *data)
{
	struct http_peer peer = *(struct http_peer *)data;
	char buf[4096];
	ssize_t n, len = 0;

	free(data);
	while ((n = read(peer.fd, buf + len, sizeof buf - 1 - len)) > 0) {
		char *end;

		len += n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (!end || (strstr(buf, "Content-Length: 5") && strlen(end) < 9))
			continue;
		atomic_fetch_add(&peer.server->requests, 1);
		http_server_answer(peer.server, peer.fd, buf);
		len = 0;
	}
	close(peer.fd);
	atomic_fetch_sub(&peer.server->alive, 1);
	return NULL;
}

static inline void *http_server_accept(void *data)
{
	struct http_server *s = data;

	for (;;) {
		struct http_peer *peer;
		pthread_t t;
		int fd = accept(s->fd, NULL, NULL);

		if (fd < 0)
			return NULL;
		atomic_fetch_add(&s->by_last_byte[http_server_last_byte(fd)], 1);
		atomic_fetch_add(&s->connections, 1);
		atomic_fetch_add(&s->alive, 1);
		peer = malloc(sizeof *peer);
		*peer = (struct http_peer){s, fd};
		if (pthread_create(&t, NULL, http_server_serve, peer) == 0)
			pthread_detach(t);
	}
}

/* On a socket that was made elsewhere, in another network namespace for one; it is taken over. */
static inline void http_server_start_on(struct http_server *s, int fd)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	socklen_t len = sizeof a;
	int r;

	memset(s, 0, sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	s->fd = fd;
	r = bind(s->fd, (struct sockaddr *)&a, sizeof a);
	assert(r == 0);
	r = listen(s->fd, 1024);
	assert(r == 0);
	getsockname(s->fd, (struct sockaddr *)&a, &len);
	s->port = ntohs(a.sin_port);
	r = pthread_create(&s->thread, NULL, http_server_accept, s);
	assert(r == 0);
	(void)r;
}

static inline void http_server_start(struct http_server *s)
{
	http_server_start_on(s, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/* To be called when the clients have closed their connections. */
static inline void http_server_stop(struct http_server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	while (atomic_load(&s->alive))
		usleep(1000);
}
