#include "net_probe.h"

#include "../base/clock.h"
#include "../kernel/broker.h"
#include "bpf/gate_map.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

enum { RING = 512, ECHO_BYTES = 56, TCP_OPEN = 8 };

/* A probe and its control, sent one after the other. */
struct echo {
	int64_t sent_ns[NET_PROBE_KINDS]; /* 0: not sent. CLOCK_REALTIME, as the receive time is */
	int64_t rtt_ns[NET_PROBE_KINDS];
	bool answered[NET_PROBE_KINDS];
	bool settled; /* sent after net_probe_settle */
};

struct handshake {
	int fd[NET_PROBE_KINDS]; /* -1: none, or done */
	int64_t rtt_ns[NET_PROBE_KINDS]; /* 0: not known */
};

struct destination {
	struct peer peer;
	int fd; /* ICMP: -1 until the first probe */
	uint16_t id[NET_PROBE_KINDS], next;
	struct echo ring[RING];
	struct handshake tcp[TCP_OPEN];
	int port_fd; /* TCP: holds the controls' local port; -1 until the first probe */
	uint16_t port;
	struct net_probe_result result;
	uint64_t out, in; /* packets that the fault's gate may have met */
	bool dead; /* dropped by settle, or no socket */
};

struct net_probe {
	struct broker *broker;
	int netns_fd;
	bool settled;
	struct destination *destinations[NET_PROBE_DESTINATIONS];
	size_t n;
};

struct net_probe *net_probe_new(struct broker *b, int netns_fd)
{
	struct net_probe *p = xcalloc(1, sizeof *p);

	p->broker = b;
	p->netns_fd = netns_fd;
	return p;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void free_destination(struct destination *d)
{
	close_fd(&d->fd);
	close_fd(&d->port_fd);
	for (size_t i = 0; i < TCP_OPEN; i++)
		for (int k = 0; k < NET_PROBE_KINDS; k++)
			close_fd(&d->tcp[i].fd[k]);
	free(d->result.added_ns);
	free(d);
}

void net_probe_free(struct net_probe *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		free_destination(p->destinations[i]);
	free(p);
}

void net_probe_add(struct net_probe *p, const struct peer *destination)
{
	struct destination *d;
	uint32_t ids;

	for (size_t i = 0; i < p->n; i++)
		if (memcmp(&p->destinations[i]->peer, destination, sizeof *destination) == 0)
			return;
	if (p->n == NET_PROBE_DESTINATIONS)
		return;
	d = p->destinations[p->n++] = xcalloc(1, sizeof *d);
	d->peer = *destination;
	d->fd = d->port_fd = -1;
	/* Random: the controls' must be nobody else's, and 0 would be no flow. */
	(void)!getrandom(&ids, sizeof ids, 0);
	d->id[NET_PROBE_CONTROL] = (uint16_t)(ids | 1);
	d->id[NET_PROBE_FELT] = (uint16_t)(ids >> 16 & ~1u);
	for (size_t i = 0; i < TCP_OPEN; i++)
		d->tcp[i] = (struct handshake){.fd = {-1, -1}};
}

static bool is_v4(const struct peer *p)
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)p->addr);
}

static socklen_t address_of(const struct peer *p, struct sockaddr_storage *ret)
{
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof *ret);
	if (is_v4(p)) {
		four->sin_family = AF_INET;
		four->sin_port = htons(p->port);
		memcpy(&four->sin_addr, p->addr + 12, 4);
		return sizeof *four;
	}
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(p->port);
	memcpy(&six->sin6_addr, p->addr, 16);
	return sizeof *six;
}

static void add_pair(struct destination *d, const int64_t rtt_ns[NET_PROBE_KINDS])
{
	if (d->result.n_added < NET_PROBE_SAMPLES)
		*array_push(d->result.added_ns, d->result.n_added) =
			rtt_ns[NET_PROBE_FELT] - rtt_ns[NET_PROBE_CONTROL];
}

/* ICMP */
static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static bool open_icmp(struct net_probe *p, struct destination *d)
{
	static const int on = 1;
	bool v4 = is_v4(&d->peer);
	struct sockaddr_storage to;
	socklen_t len = address_of(&d->peer, &to);

	if (d->fd >= 0)
		return true;
	d->fd = broker_socket(p->broker, p->netns_fd, v4 ? AF_INET : AF_INET6,
			      SOCK_RAW | SOCK_NONBLOCK, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, NULL);
	if (d->fd < 0 || setsockopt(d->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0) {
		d->dead = true;
		return false;
	}
	/* Raw port numbers are protocols: 0 keeps ours. connect() also filters the answers. */
	connect(d->fd, (struct sockaddr *)&to, len);
	return true;
}

static void send_echo(struct destination *d, struct echo *e, int kind)
{
	uint8_t packet[ECHO_BYTES] = {is_v4(&d->peer) ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
	uint16_t be_id = htons(d->id[kind]), be_seq = htons(d->next), sum;

	memcpy(packet + 4, &be_id, 2);
	memcpy(packet + 6, &be_seq, 2);
	if (is_v4(&d->peer)) {
		sum = checksum(packet, sizeof packet);
		memcpy(packet + 2, &sum, 2);
	}
	e->sent_ns[kind] = clock_wall_ns();
	d->result.count[kind].sent++;
	if (send(d->fd, packet, sizeof packet, MSG_NOSIGNAL) < 0)
		e->sent_ns[kind] = 0;
	else if (kind == NET_PROBE_FELT || !e->settled)
		d->out++;
}

static void send_icmp(struct net_probe *p, struct destination *d)
{
	struct echo *e = &d->ring[d->next % RING];
	int first = d->next % NET_PROBE_KINDS;

	if (!open_icmp(p, d))
		return;
	*e = (struct echo){.settled = p->settled};
	/* In turns, lest one always waits behind the other. */
	send_echo(d, e, first);
	send_echo(d, e, !first);
	d->next++;
}

static int64_t receive_time(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec ts;

			memcpy(&ts, CMSG_DATA(c), sizeof ts);
			return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
		}
	return clock_wall_ns();
}

static void take_echo(const struct net_probe *p, struct destination *d, const uint8_t *icmp,
		      int64_t at_ns)
{
	uint16_t id = (uint16_t)(icmp[4] << 8 | icmp[5]), seq = (uint16_t)(icmp[6] << 8 | icmp[7]);
	int kind = id == d->id[NET_PROBE_CONTROL] ? NET_PROBE_CONTROL : NET_PROBE_FELT;
	struct echo *e = &d->ring[seq % RING];

	if (icmp[0] != (is_v4(&d->peer) ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) ||
	    id != d->id[kind] || !e->sent_ns[kind])
		return;
	d->in += kind == NET_PROBE_FELT || !e->settled;
	if (e->settled != p->settled)
		return;
	if (e->answered[kind]) {
		d->result.count[kind].duplicates++;
		return;
	}
	e->answered[kind] = true;
	e->rtt_ns[kind] = MAX_OF(at_ns - e->sent_ns[kind], (int64_t)0);
	d->result.count[kind].answered++;
	if (e->answered[!kind])
		add_pair(d, e->rtt_ns);
}

static void read_icmp(const struct net_probe *p, struct destination *d)
{
	uint8_t buf[512];
	char control[256];

	for (;;) {
		struct iovec iov = {buf, sizeof buf};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				   .msg_controllen = sizeof control};
		ssize_t n = recvmsg(d->fd, &m, MSG_DONTWAIT);
		size_t skip = is_v4(&d->peer) && n > 0 ? (size_t)(buf[0] & 15) * 4 : 0;

		if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENETDOWN)
			continue;
		if (n < 0)
			return;
		if ((size_t)n >= skip + 8)
			take_echo(p, d, buf + skip, receive_time(&m));
	}
}

/* TCP */
static int tcp_socket(const struct net_probe *p, const struct destination *d)
{
	return broker_socket(p->broker, p->netns_fd, is_v4(&d->peer) ? AF_INET : AF_INET6,
			     SOCK_STREAM | SOCK_NONBLOCK, 0, NULL);
}

/* port 0: any that is free, told in *ret. */
static int bind_port(int fd, const struct destination *d, uint16_t port, uint16_t *ret)
{
	static const int on = 1;
	struct peer any = {.port = port};
	struct sockaddr_storage at;
	struct sockaddr_in *four = (struct sockaddr_in *)&at;
	socklen_t len;

	memcpy(any.addr, d->peer.addr, 12);
	if (!is_v4(&any))
		memset(any.addr, 0, sizeof any.addr);
	len = address_of(&any, &at);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    bind(fd, (struct sockaddr *)&at, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -1;
	*ret = ntohs(four->sin_port); /* at one place in both families */
	return 0;
}

/* The controls' port is held for the life of the probe, so that nothing else is let pass. */
static bool hold_port(const struct net_probe *p, struct destination *d)
{
	if (d->port_fd >= 0)
		return true;
	d->port_fd = tcp_socket(p, d);
	if (d->port_fd >= 0 && bind_port(d->port_fd, d, 0, &d->port) < 0)
		close_fd(&d->port_fd);
	return d->port_fd >= 0;
}

static void open_tcp(const struct net_probe *p, struct destination *d, struct handshake *h,
		     int kind)
{
	struct sockaddr_storage to;
	socklen_t len = address_of(&d->peer, &to);
	uint16_t port;

	h->fd[kind] = tcp_socket(p, d);
	if (h->fd[kind] >= 0 && kind == NET_PROBE_CONTROL &&
	    bind_port(h->fd[kind], d, d->port, &port) < 0)
		close_fd(&h->fd[kind]);
	if (h->fd[kind] < 0)
		return;
	d->result.count[kind].sent++;
	connect(h->fd[kind], (struct sockaddr *)&to, len);
}

static void send_tcp(struct net_probe *p, struct destination *d)
{
	struct handshake *free_slot = NULL;
	bool control_open = false;

	for (size_t i = 0; i < TCP_OPEN; i++) {
		struct handshake *h = &d->tcp[i];

		control_open |= h->fd[NET_PROBE_CONTROL] >= 0;
		if (!free_slot && h->fd[NET_PROBE_FELT] < 0 && h->fd[NET_PROBE_CONTROL] < 0)
			free_slot = h;
	}
	if (!free_slot)
		return;
	*free_slot = (struct handshake){.fd = {-1, -1}};
	/* One control at a time: they share their port. */
	if (!control_open && hold_port(p, d))
		open_tcp(p, d, free_slot, NET_PROBE_CONTROL);
	open_tcp(p, d, free_slot, NET_PROBE_FELT);
}

/* What is lost is sent again; the answer is acknowledged, and reset at the end. */
static void count_packets(struct destination *d, const struct tcp_info *info, bool answered)
{
	d->out += 1 + info->tcpi_total_retrans + (answered ? 2 : 0);
	d->in += answered;
}

static void read_handshake(struct destination *d, struct handshake *h, int kind)
{
	static const struct linger reset = {.l_onoff = 1};
	struct pollfd pf = {.fd = h->fd[kind], .events = POLLOUT};
	struct tcp_info info = {0};
	socklen_t len = sizeof info;

	if (h->fd[kind] < 0 || poll(&pf, 1, 0) != 1)
		return;
	if (getsockopt(h->fd[kind], IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	    info.tcpi_state == TCP_ESTABLISHED) {
		d->result.count[kind].answered++;
		h->rtt_ns[kind] = MAX_OF((int64_t)info.tcpi_rtt * NSEC_PER_USEC, (int64_t)1);
		if (h->rtt_ns[!kind])
			add_pair(d, h->rtt_ns);
	}
	if (kind == NET_PROBE_FELT)
		count_packets(d, &info, info.tcpi_state == TCP_ESTABLISHED);
	setsockopt(h->fd[kind], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close_fd(&h->fd[kind]);
}

static void read_tcp(struct destination *d)
{
	for (size_t i = 0; i < TCP_OPEN; i++)
		for (int kind = 0; kind < NET_PROBE_KINDS; kind++)
			read_handshake(d, &d->tcp[i], kind);
}

void net_probe_send(struct net_probe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct destination *d = p->destinations[i];

		if (d->dead)
			continue;
		if (d->peer.port)
			send_tcp(p, d);
		else
			send_icmp(p, d);
	}
}

void net_probe_read(struct net_probe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct destination *d = p->destinations[i];

		if (d->peer.port)
			read_tcp(d);
		else if (d->fd >= 0)
			read_icmp(p, d);
	}
}

static uint64_t answers(const struct destination *d)
{
	return d->result.count[NET_PROBE_FELT].answered;
}

static struct destination *best(const struct net_probe *p)
{
	struct destination *d = NULL;

	for (size_t i = 0; i < p->n; i++)
		if (!d || answers(p->destinations[i]) > answers(d))
			d = p->destinations[i];
	return d;
}

bool net_probe_answered(const struct net_probe *p)
{
	const struct destination *d = best(p);

	return d && answers(d);
}

bool net_probe_settle(struct net_probe *p)
{
	struct destination *keep = best(p);

	if (!keep || !answers(keep))
		return false;
	for (size_t i = 0; i < p->n; i++)
		p->destinations[i]->dead = p->destinations[i] != keep;
	for (size_t i = 0; i < TCP_OPEN; i++)
		for (int kind = 0; kind < NET_PROBE_KINDS; kind++)
			close_fd(&keep->tcp[i].fd[kind]);
	free(keep->result.added_ns);
	keep->result = (struct net_probe_result){0};
	p->settled = true;
	return true;
}

bool net_probe_is_settled(const struct net_probe *p)
{
	return p->settled;
}

static const struct destination *kept(const struct net_probe *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->destinations[i]->dead)
			return p->destinations[i];
	return NULL;
}

uint64_t net_probe_flow(const struct net_probe *p)
{
	const struct destination *d = p->settled ? kept(p) : NULL;

	if (!d)
		return 0;
	return d->peer.port ? d->port_fd >= 0 ? GATE_EXEMPT(GATE_TCP, d->port) : 0
			    : GATE_EXEMPT(GATE_ICMP, d->id[NET_PROBE_CONTROL]);
}

/* Of a handshake that is not over yet. */
static uint64_t packets_so_far(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof info;

	return fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0
		       ? 1 + info.tcpi_total_retrans
		       : 0;
}

void net_probe_packets(const struct net_probe *p, uint64_t *ret_out, uint64_t *ret_in)
{
	*ret_out = *ret_in = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct destination *d = p->destinations[i];

		*ret_out += d->out;
		*ret_in += d->in;
		for (size_t k = 0; k < TCP_OPEN; k++)
			*ret_out += packets_so_far(d->tcp[k].fd[NET_PROBE_FELT]);
	}
}

void net_probe_forget_packets(struct net_probe *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->destinations[i]->out = p->destinations[i]->in = 0;
}

struct net_probe_result net_probe_now(const struct net_probe *p, int64_t patience_ns)
{
	const struct destination *d = p->settled ? kept(p) : NULL;
	struct net_probe_result r = d ? d->result : (struct net_probe_result){0};
	int64_t now = clock_wall_ns();

	for (size_t i = 0; d && i < RING; i++) {
		const struct echo *e = &d->ring[i];

		for (int kind = 0; kind < NET_PROBE_KINDS; kind++)
			r.count[kind].sent -= e->settled && e->sent_ns[kind] &&
					      !e->answered[kind] &&
					      now - e->sent_ns[kind] < patience_ns;
	}
	return r;
}

bool net_probe_has_destination(const struct net_probe *p)
{
	return p->n > 0;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t net_probe_quantile(int64_t *values, size_t n, double q)
{
	size_t i = (size_t)(q * (double)n);

	if (!n)
		return 0;
	qsort(values, n, sizeof *values, by_value);
	return values[MIN_OF(i, n - 1)];
}
