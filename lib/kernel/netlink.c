/*
 * libnl's own send and receive machinery serves one message at a time through callbacks, drops the
 * extended-ack text on the floor, and wants a socket that it opened; its message and attribute
 * builders are used, its sockets are not.
 */
#include "netlink.h"

#include "../base/mem.h"
#include "broker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

struct netlink {
	int fd;
	uint32_t seq;
	char *buf; /* NETLINK_MESSAGE_MAX, while an answer is read */
};

/* One buffer waits for the next answer: sockets are many, answers being read are few. */
static _Atomic(char *) spare;

static void borrow_buffer(struct netlink *nl)
{
	nl->buf = atomic_exchange(&spare, NULL);
	if (!nl->buf)
		nl->buf = xmalloc(NETLINK_MESSAGE_MAX);
}

static void return_buffer(struct netlink *nl)
{
	free(atomic_exchange(&spare, take(nl->buf)));
}

static void tune(int fd)
{
	static const int on = 1, size = NETLINK_MESSAGE_MAX;

	/* Each is an improvement that an old kernel or a missing capability may refuse. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* A process's first socket in a namespace has its pid for a port, the others one that the kernel draws. */
static struct {
	pthread_mutex_t lock;
	uint32_t *drawn;
	size_t n;
} ports = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_port(int fd)
{
	struct sockaddr_nl at = {0};
	socklen_t len = sizeof at;

	if (getsockname(fd, (struct sockaddr *)&at, &len) < 0 || at.nl_pid == (uint32_t)getpid())
		return;
	pthread_mutex_lock(&ports.lock);
	*array_push(ports.drawn, ports.n) = at.nl_pid;
	pthread_mutex_unlock(&ports.lock);
}

bool netlink_is_ours(uint32_t port)
{
	bool found = port == (uint32_t)getpid();

	pthread_mutex_lock(&ports.lock);
	for (size_t i = 0; !found && i < ports.n; i++)
		found = ports.drawn[i] == port;
	pthread_mutex_unlock(&ports.lock);
	return found;
}

int netlink_adopt(int socket_fd, struct netlink **ret, struct err *e)
{
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	autofd int fd = socket_fd;

	tune(fd);
	if (bind(fd, (const struct sockaddr *)&any, sizeof any) < 0)
		return err_errno(e, errno, "bind netlink socket");
	note_port(fd);
	*ret = xcalloc(1, sizeof **ret);
	**ret = (struct netlink){.fd = take_fd(fd)};
	return 0;
}

int netlink_open(struct broker *b, int netns_fd, int protocol, struct netlink **ret, struct err *e)
{
	int fd = broker_socket(b, netns_fd, AF_NETLINK, SOCK_RAW, protocol, e);

	return fd < 0 ? fd : netlink_adopt(fd, ret, e);
}

void netlink_close(struct netlink *nl)
{
	if (!nl)
		return;
	close(nl->fd);
	free(nl);
}

int netlink_fd(const struct netlink *nl)
{
	return nl->fd;
}

struct nl_msg *netlink_request(int type, int flags, const void *header, size_t len)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (!msg || !nlmsg_put(msg, 0, 0, type, 0, NLM_F_REQUEST | flags) ||
	    nlmsg_append(msg, (void *)header, len, NLMSG_ALIGNTO) < 0)
		abort();
	return msg;
}

/* The kernel's own sentence in an acknowledgement, NULL when it gave none. */
static const char *ack_text(const struct nlmsghdr *h)
{
	const struct nlmsgerr *ack = NLMSG_DATA(h);
	size_t skip = sizeof *ack;
	struct nlattr *attr;

	if (!(h->nlmsg_flags & NLM_F_ACK_TLVS))
		return NULL;
	if (!(h->nlmsg_flags & NLM_F_CAPPED))
		skip += NLMSG_ALIGN(ack->msg.nlmsg_len) - NLMSG_HDRLEN;
	attr = nla_find((struct nlattr *)((char *)ack + skip),
			(int)(h->nlmsg_len - NLMSG_HDRLEN - skip), NLMSGERR_ATTR_MSG);
	return attr ? nla_data(attr) : NULL;
}

static int ack_err(const struct nlmsghdr *h, const char *what, struct err *e)
{
	const struct nlmsgerr *ack = NLMSG_DATA(h);
	const char *text = ack_text(h);

	if (text)
		return err_errno(e, -ack->error, "%s: %s", what, text);
	return err_errno(e, -ack->error, "%s", what);
}

static int send_all(struct netlink *nl, struct iovec *iov, size_t n, struct err *e)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct msghdr m = {
		.msg_name = &kernel,
		.msg_namelen = sizeof kernel,
		.msg_iov = iov,
		.msg_iovlen = n,
	};

	while (sendmsg(nl->fd, &m, 0) < 0)
		if (errno != EINTR)
			return err_errno(e, errno, "send netlink request");
	return 0;
}

/* Bytes received into nl->buf. */
static int receive(struct netlink *nl, struct err *e)
{
	ssize_t n;

	while ((n = recv(nl->fd, nl->buf, NETLINK_MESSAGE_MAX, MSG_TRUNC)) < 0)
		if (errno != EINTR)
			return err_errno(e, errno, "receive netlink answer");
	if (n > NETLINK_MESSAGE_MAX)
		return err_set(e, EMSGSIZE, "receive netlink answer: %zd bytes are too many", n);
	return (int)n;
}

static struct iovec stamp(struct netlink *nl, struct nl_msg *msg, int flags)
{
	struct nlmsghdr *h = nlmsg_hdr(msg);

	h->nlmsg_seq = ++nl->seq;
	h->nlmsg_flags |= flags;
	return (struct iovec){.iov_base = h, .iov_len = NLMSG_ALIGN(h->nlmsg_len)};
}

struct asking {
	const char *what;
	int (*fn)(const struct nlmsghdr *msg, void *data);
	void *data;
	bool interrupted, multi;
	int result;
};

/* One message of an answer; 1 when it was the last. */
static int visit(const struct nlmsghdr *h, struct asking *a, struct err *e)
{
	int r;

	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	if (h->nlmsg_type == NLMSG_DONE)
		return 1;
	if (h->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *ack = NLMSG_DATA(h);

		return ack->error ? ack_err(h, a->what, e) : 1;
	}
	a->multi = a->multi || (h->nlmsg_flags & NLM_F_MULTI);
	r = a->result < 0 ? 0 : a->fn(h, a->data);
	if (r < 0)
		a->result = r;
	return 0;
}

/* A whole datagram; 1 when the answer is complete. */
static int visit_all(struct netlink *nl, int len, struct asking *a, struct err *e)
{
	for (struct nlmsghdr *h = (struct nlmsghdr *)nl->buf; NLMSG_OK(h, (unsigned)len);
	     h = NLMSG_NEXT(h, len)) {
		int r;

		if (h->nlmsg_seq != nl->seq)
			continue;
		r = visit(h, a, e);
		if (r)
			return r;
	}
	return 0;
}

int netlink_ask(struct netlink *nl, struct nl_msg *msg, const char *what,
	   int (*fn)(const struct nlmsghdr *msg, void *data), void *data, struct err *e)
{
	struct asking a = {.what = what, .fn = fn, .data = data};
	bool dump = nlmsg_hdr(msg)->nlmsg_flags & NLM_F_DUMP;
	struct iovec iov = stamp(nl, msg, dump ? 0 : NLM_F_ACK);
	int r = send_all(nl, &iov, 1, e);

	nlmsg_free(msg);
	borrow_buffer(nl);
	while (r == 0) {
		r = receive(nl, e);
		if (r >= 0)
			r = visit_all(nl, r, &a, e);
	}
	return_buffer(nl);
	if (r < 0)
		return r;
	if (a.result < 0)
		return a.result;
	if (a.interrupted)
		return err_errno(e, EAGAIN, "%s: changed while being read", what);
	return 0;
}

int netlink_talk(struct netlink *nl, struct nl_msg *msg, const char *what, struct err *e)
{
	autobatch b = {0};

	netlink_batch_add(&b, msg, 0, "%s", what);
	return netlink_batch_run(nl, &b, e);
}

void netlink_batch_add(struct netlink_batch *b, struct nl_msg *msg, int pardon, const char *fmt, ...)
{
	struct netlink_batch_item *item = array_push(b->items, b->n);
	va_list ap;

	item->msg = msg;
	item->pardon = pardon;
	va_start(ap, fmt);
	vsnprintf(item->what, sizeof item->what, fmt, ap);
	va_end(ap);
}

void netlink_batch_done(struct netlink_batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		nlmsg_free(b->items[i].msg);
	free(b->items);
	*b = (struct netlink_batch){0};
}

/* Takes one acknowledgement; the first real failure goes into e. */
static int acknowledge(struct netlink_batch *b, const struct nlmsghdr *h, struct err *first)
{
	const struct nlmsgerr *ack = NLMSG_DATA(h);

	if (h->nlmsg_type != NLMSG_ERROR)
		return 0;
	for (size_t i = 0; i < b->n; i++) {
		struct netlink_batch_item *item = &b->items[i];

		if (item->seq != h->nlmsg_seq)
			continue;
		item->error = -ack->error;
		if (item->error && item->error != item->pardon && !first->code)
			ack_err(h, item->what, first);
		return 1;
	}
	return 0;
}

static int run_part(struct netlink *nl, struct netlink_batch *b, size_t from, size_t to, struct err *first,
		    struct err *e)
{
	autofree struct iovec *iov = xcalloc(to - from, sizeof *iov);
	size_t waiting = to - from;
	int r;

	for (size_t i = from; i < to; i++) {
		iov[i - from] = stamp(nl, b->items[i].msg, NLM_F_ACK);
		b->items[i].seq = nl->seq;
	}
	borrow_buffer(nl);
	r = send_all(nl, iov, to - from, e);
	while (r >= 0 && waiting > 0) {
		int len = r = receive(nl, e);

		for (struct nlmsghdr *h = (struct nlmsghdr *)nl->buf;
		     r >= 0 && NLMSG_OK(h, (unsigned)len); h = NLMSG_NEXT(h, len))
			waiting -= (size_t)acknowledge(b, h, first);
	}
	return_buffer(nl);
	return r < 0 ? r : 0;
}

/* So many that their acknowledgements fit into the receive buffer. */
static size_t part_end(const struct netlink_batch *b, size_t from)
{
	enum { PART_BYTES = 64 << 10, PART_ITEMS = 64 };
	size_t bytes = 0, i = from;

	while (i < b->n && i - from < PART_ITEMS) {
		bytes += nlmsg_hdr(b->items[i].msg)->nlmsg_len;
		if (bytes > PART_BYTES && i > from)
			break;
		i++;
	}
	return i;
}

int netlink_batch_run(struct netlink *nl, struct netlink_batch *b, struct err *e)
{
	struct err first = {0};

	for (size_t from = 0, to; from < b->n; from = to) {
		int r;

		to = part_end(b, from);
		r = run_part(nl, b, from, to, &first, e);
		if (r < 0)
			return r;
	}
	if (!first.code)
		return 0;
	if (e)
		*e = first;
	return -first.code;
}
