/*
 * The loop thread never reads or writes a client's socket. It moves ready connections to a queue
 * and closes those whose time is up by shutdown(), which makes them ready: a worker, the only one
 * that frees connections, then sees the end of the stream. So there is one place of release and no
 * race between a timeout and a request.
 */
#include "server.h"

#include "metrics.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { MAX_CONNECTIONS = 4096, WORKER_STACK = 256 << 10, SWEEP_MS = 100 };

static const int64_t head_timeout_ns = 10 * NSEC_PER_SEC;
static const int64_t idle_timeout_ns = 60 * NSEC_PER_SEC;
static const int64_t write_timeout_ns = 20 * NSEC_PER_SEC;

struct connection {
	struct connection *prev, *next; /* all connections; server lock */
	struct connection *queued;      /* next in the queue; server lock */
	bool busy;                      /* queued or with a worker; server lock */
	bool shut;                      /* told to close by the sweep; server lock */
	int64_t deadline_ns;            /* while not busy; server lock */
	int64_t opened_ns;
	bool served; /* has had an answer */
	int fd;
	bool close_after;
	char in[HTTP_HEAD_MAX];
	size_t in_len;
	char head[512]; /* of the answer under way */
	struct response res;
	size_t head_len, sent, total;
};

struct server {
	int listen_fd, epoll_fd;
	char address[HTTP_HOST_MAX + 8];
	const struct route *routes;
	_Atomic bool draining, stopping;
	pthread_t loop;
	pthread_t *workers;
	unsigned n_workers;
	pthread_mutex_t lock;
	pthread_cond_t work, empty;
	struct connection *connections, *queue, **queue_tail;
	unsigned n_connections;
};

/* Blobs come from mmap and not from malloc, whose free lists would keep the memory: a cache that
 * shrinks under pressure must give it back at once. */
struct blob *blob_new(size_t len)
{
	struct blob *b = mmap(NULL, sizeof *b + len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (b == MAP_FAILED)
		return NULL;
	b->refs = 1;
	b->len = len;
	return b;
}

struct blob *blob_ref(struct blob *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void blob_unref(struct blob *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
		munmap(b, sizeof *b + b->len);
}

void response_text(struct response *res, int status, const char *type, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&res->text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	res->status = status;
	res->type = type;
	res->len = n;
}

static void response_done(struct response *res)
{
	free(res->text);
	blob_unref(res->blob);
	*res = (struct response){0};
}

static void connection_free(struct server *s, struct connection *c)
{
	pthread_mutex_lock(&s->lock);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->connections = c->next;
	if (c->next)
		c->next->prev = c->prev;
	s->n_connections--;
	metric_add(METRIC_live_connections, -1);
	if (!s->connections) {
		pthread_cond_broadcast(&s->empty);
		pthread_cond_broadcast(&s->work);
	}
	pthread_mutex_unlock(&s->lock);
	response_done(&c->res);
	close(c->fd);
	free(c);
}

/* Gives the connection back to epoll; it must not be touched afterwards. */
static void rearm(struct server *s, struct connection *c, uint32_t events, int64_t timeout_ns)
{
	struct epoll_event ev = {.events = events | EPOLLONESHOT, .data.ptr = c};
	int fd = c->fd;

	pthread_mutex_lock(&s->lock);
	c->busy = false;
	c->deadline_ns = now_ns() + timeout_ns;
	epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
	pthread_mutex_unlock(&s->lock);
}

static const struct route *find_route(const struct server *s, const char *path)
{
	for (const struct route *r = s->routes; r->path; r++)
		if (!strcmp(r->path, path))
			return r;
	return NULL;
}

static void answer(struct server *s, struct connection *c, const struct http_request *req)
{
	const struct route *route = find_route(s, req->path);
	int64_t start = now_ns();

	if (route)
		route->handle(req, &c->res);
	else
		response_text(&c->res, 404, NULL, "no such path\n");
	if (route)
		metrics_request(route->path, now_ns() - start);
	c->close_after = !req->keep_alive || atomic_load(&s->draining);
}

static void refuse(struct connection *c, int status)
{
	metric_add(METRIC_live_refused_requests, 1);
	response_text(&c->res, status, NULL, "%s\n", http_reason(status));
	c->close_after = true;
}

static void begin_send(struct connection *c, bool head_only)
{
	struct response *res = &c->res;

	c->head_len = http_format_head(c->head, sizeof c->head, res->status ? res->status : 200,
				       res->type ? res->type : "text/plain", res->len,
				       !c->close_after);
	c->sent = 0;
	c->total = c->head_len + (head_only ? 0 : res->len);
}

/* 1 all sent, 0 the socket is full, -1 the client is gone. */
static int send_rest(struct connection *c)
{
	const char *body = c->res.blob ? c->res.blob->data : c->res.text;

	while (c->sent < c->total) {
		size_t at = c->sent < c->head_len ? 0 : c->sent - c->head_len;
		struct iovec parts[2] = {{c->head + c->sent, c->head_len - c->sent},
					 {(char *)body + at, c->total - c->head_len - at}};
		bool past_head = c->sent >= c->head_len;
		struct msghdr m = {.msg_iov = parts + past_head, .msg_iovlen = 2 - past_head};
		ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->sent += n;
	}
	response_done(&c->res);
	c->total = 0;
	c->served = true;
	return 1;
}

/* Serves the next request in the buffer: 1 one was taken, 0 there is none yet. */
static int take_request(struct server *s, struct connection *c)
{
	struct http_request req;
	int n = http_parse_request(c->in, c->in_len, &req);

	if (n == 0)
		return 0;
	if (n < 0) {
		refuse(c, -n);
		begin_send(c, false);
		return 1;
	}
	c->in_len -= n;
	memmove(c->in, c->in + n, c->in_len);
	answer(s, c, &req);
	begin_send(c, req.head);
	return 1;
}

/* A close with unread input would send a reset that can overtake the answer: take what is there
 * after telling the client that no more follows. */
static void close_politely(struct server *s, struct connection *c)
{
	shutdown(c->fd, SHUT_WR);
	while (recv(c->fd, c->in, sizeof c->in, MSG_DONTWAIT) > 0)
		;
	connection_free(s, c);
}

static void serve(struct server *s, struct connection *c)
{
	for (;;) {
		int sent = c->total ? send_rest(c) : 1;
		ssize_t n;

		if (sent == 0)
			return rearm(s, c, EPOLLOUT, write_timeout_ns);
		if (sent < 0)
			return connection_free(s, c);
		if (c->close_after)
			return close_politely(s, c);
		if (take_request(s, c))
			continue;
		n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
		if (n > 0)
			c->in_len += n;
		else if (n < 0 && errno == EAGAIN)
			return rearm(s, c, EPOLLIN | EPOLLRDHUP,
				     c->in_len ? head_timeout_ns : idle_timeout_ns);
		else
			return connection_free(s, c);
	}
}

static void *worker_main(void *data)
{
	struct server *s = data;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct connection *c = s->queue;

		if (c) {
			s->queue = c->queued;
			if (!s->queue)
				s->queue_tail = &s->queue;
			pthread_mutex_unlock(&s->lock);
			serve(s, c);
			pthread_mutex_lock(&s->lock);
		} else if (s->stopping && !s->connections) {
			break;
		} else {
			pthread_cond_wait(&s->work, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void enqueue(struct server *s, struct connection *c)
{
	pthread_mutex_lock(&s->lock);
	c->busy = true;
	c->queued = NULL;
	*s->queue_tail = c;
	s->queue_tail = &c->queued;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

/* False when there are too many. */
static bool link_connection(struct server *s, struct connection *c)
{
	bool room;

	pthread_mutex_lock(&s->lock);
	room = s->n_connections < MAX_CONNECTIONS;
	if (room) {
		c->next = s->connections;
		if (c->next)
			c->next->prev = c;
		s->connections = c;
		s->n_connections++;
		metric_add(METRIC_live_connections, 1);
	}
	pthread_mutex_unlock(&s->lock);
	return room;
}

static void adopt(struct server *s, int fd)
{
	struct connection *c = calloc(1, sizeof *c);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT, .data.ptr = c};

	if (!c)
		abort();
	c->fd = fd;
	c->opened_ns = now_ns();
	c->deadline_ns = c->opened_ns + head_timeout_ns;
	if (!link_connection(s, c)) {
		close(fd);
		free(c);
	} else if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		connection_free(s, c);
	}
}

static void accept_ready(struct server *s)
{
	for (;;) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			/* Out of descriptors: the event would come back at once. */
			if (errno == EMFILE || errno == ENFILE)
				usleep(10000);
			return;
		}
		adopt(s, fd);
	}
}

/* A connection that never had an answer may have its first request on the way: it gets a second. */
static bool may_close(const struct connection *c, bool draining, bool stopping, int64_t now)
{
	bool idle = !c->in_len && !c->total;

	if (stopping || now > c->deadline_ns)
		return true;
	return draining && idle && (c->served || now > c->opened_ns + NSEC_PER_SEC);
}

/* Ends waiting connections whose time is up; all idle ones while draining. */
static void sweep(struct server *s)
{
	bool draining = atomic_load(&s->draining), stopping = atomic_load(&s->stopping);
	int64_t now = now_ns();

	pthread_mutex_lock(&s->lock);
	for (struct connection *c = s->connections; c; c = c->next)
		if (!c->busy && !c->shut && may_close(c, draining, stopping, now)) {
			c->shut = true;
			shutdown(c->fd, SHUT_RDWR);
		}
	pthread_mutex_unlock(&s->lock);
}

static bool has_connections(struct server *s)
{
	bool some;

	pthread_mutex_lock(&s->lock);
	some = s->connections;
	pthread_mutex_unlock(&s->lock);
	return some;
}

/* Takes in what clients have already opened, then refuses more. */
static void stop_listening(struct server *s)
{
	accept_ready(s);
	pthread_mutex_lock(&s->lock);
	close(s->listen_fd);
	s->listen_fd = -1;
	pthread_cond_broadcast(&s->empty);
	pthread_mutex_unlock(&s->lock);
}

static void *loop_main(void *data)
{
	struct server *s = data;
	struct epoll_event evs[64];
	int64_t next_sweep = 0;

	while (!atomic_load(&s->stopping) || has_connections(s)) {
		int n = epoll_wait(s->epoll_fd, evs, ARRAY_SIZE(evs), SWEEP_MS);

		for (int i = 0; i < n; i++) {
			if (evs[i].data.ptr)
				enqueue(s, evs[i].data.ptr);
			else if (s->listen_fd >= 0)
				accept_ready(s);
		}
		if (now_ns() < next_sweep)
			continue;
		if (atomic_load(&s->draining) && s->listen_fd >= 0)
			stop_listening(s);
		sweep(s);
		next_sweep = now_ns() + SWEEP_MS * NSEC_PER_MSEC;
	}
	return NULL;
}

static int listen_at(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), code;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (a->ai_family == AF_INET6) /* "*" is every address of either family */
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 512) == 0)
		return fd;
	code = errno;
	close(fd);
	errno = code;
	return -1;
}

/* The first address that can be bound, for "*" IPv6 before IPv4; -1 with the reason on stderr. */
static int listen_on(const struct http_origin *at)
{
	static const int any[] = {AF_INET6, AF_INET}, given[] = {AF_UNSPEC};
	bool every = strcmp(at->host, "*") == 0;
	const int *families = every ? any : given;
	int fd = -1, code = 0;

	for (size_t i = 0; fd < 0 && i < (every ? 2 : 1); i++) {
		struct addrinfo hints = {.ai_family = families[i], .ai_socktype = SOCK_STREAM,
					 .ai_flags = AI_PASSIVE};
		struct addrinfo *list;
		int r = getaddrinfo(every ? NULL : at->host, at->port, &hints, &list);

		if (r) {
			fprintf(stderr, "liveroom: listen on %s: %s\n", at->host, gai_strerror(r));
			return -1;
		}
		for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
			fd = listen_at(a);
		code = errno;
		freeaddrinfo(list);
	}
	if (fd < 0)
		fprintf(stderr, "liveroom: listen on %s:%s: %s\n", at->host, at->port, strerror(code));
	return fd;
}

static void learn_address(struct server *s)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	char host[64], port[8];

	if (getsockname(s->listen_fd, (struct sockaddr *)&sa, &len) < 0 ||
	    getnameinfo((struct sockaddr *)&sa, len, host, sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(s->address, sizeof s->address, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
		 host, port);
}

static void start_threads(struct server *s)
{
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	pthread_attr_setstacksize(&attr, WORKER_STACK);
	s->workers = calloc(s->n_workers, sizeof *s->workers);
	if (!s->workers)
		abort();
	for (unsigned i = 0; i < s->n_workers; i++)
		r |= pthread_create(&s->workers[i], &attr, worker_main, s);
	r |= pthread_create(&s->loop, &attr, loop_main, s);
	pthread_attr_destroy(&attr);
	if (r)
		abort();
}

struct server *server_start(const char *listen, const struct route *routes, unsigned n_workers)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct http_origin at;
	struct server *s;
	int fd;

	if (!http_parse_origin(listen, &at)) {
		fprintf(stderr, "liveroom: \"%s\" is not HOST:PORT\n", listen);
		return NULL;
	}
	fd = listen_on(&at);
	if (fd < 0)
		return NULL;
	s = calloc(1, sizeof *s);
	if (!s)
		abort();
	*s = (struct server){.listen_fd = fd, .routes = routes, .n_workers = n_workers,
			     .epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	s->queue_tail = &s->queue;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->empty, NULL);
	learn_address(s);
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		abort();
	start_threads(s);
	return s;
}

const char *server_address(const struct server *s)
{
	return s->address;
}

static bool wait_until_empty(struct server *s, int64_t timeout_ns)
{
	struct timespec end;
	bool empty;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += timeout_ns / NSEC_PER_SEC;
	pthread_mutex_lock(&s->lock);
	while (s->connections || s->listen_fd >= 0)
		if (pthread_cond_timedwait(&s->empty, &s->lock, &end))
			break;
	empty = !s->connections;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

bool server_stop(struct server *s, int64_t timeout_ns)
{
	bool drained;

	atomic_store(&s->draining, true);
	drained = wait_until_empty(s, timeout_ns);
	atomic_store(&s->stopping, true);
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->loop, NULL);
	for (unsigned i = 0; i < s->n_workers; i++)
		pthread_join(s->workers[i], NULL);
	close(s->epoll_fd);
	free(s->workers);
	free(s);
	return drained;
}
