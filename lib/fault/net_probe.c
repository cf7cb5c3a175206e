#include "net_probe.h"

#include "../base/clock.h"
#include "../kernel/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

enum { RING = 512, ECHO_BYTES = 56, TCP_OPEN = 8 };

struct echo {
	int64_t sent_ns; /* 0: free. ICMP: CLOCK_REALTIME, as the receive time is */
	bool answered;
	bool settled; /* sent after net_probe_settle */
};

struct destination {
	struct peer peer;
	int fd; /* ICMP: -1 until the first probe */
	uint16_t id, next;
	struct echo ring[RING];
	int tcp[TCP_OPEN]; /* handshakes under way; -1: free */
	struct net_probe_result result;
	bool dead; /* dropped by settle, or no socket */
};

struct net_probe {
	struct broker *broker;
	int netns_fd;
	bool settled;
	struct destination *destinations[NET_PROBE_DESTINATIONS];
	size_t n;
	struct net_probe_result baseline;
};

struct net_probe *net_probe_new(struct broker *b, int netns_fd)
{
	struct net_probe *p = xcalloc(1, sizeof *p);

	p->broker = b;
	p->netns_fd = netns_fd;
	return p;
}

static void free_destination(struct destination *d)
{
	if (d->fd >= 0)
		close(d->fd);
	for (size_t i = 0; i < TCP_OPEN; i++)
		if (d->tcp[i] >= 0)
			close(d->tcp[i]);
	free(d->result.rtt_ns);
	free(d);
}

void net_probe_free(struct net_probe *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n; i++)
		free_destination(p->destinations[i]);
	free(p->baseline.rtt_ns);
	free(p);
}

void net_probe_add(struct net_probe *p, const struct peer *destination)
{
	struct destination *d;

	for (size_t i = 0; i < p->n; i++)
		if (memcmp(&p->destinations[i]->peer, destination, sizeof *destination) == 0)
			return;
	if (p->n == NET_PROBE_DESTINATIONS)
		return;
	d = p->destinations[p->n++] = xcalloc(1, sizeof *d);
	d->peer = *destination;
	d->fd = -1;
	d->id = (uint16_t)((uintptr_t)d >> 4 ^ (unsigned)getpid());
	for (size_t i = 0; i < TCP_OPEN; i++)
		d->tcp[i] = -1;
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

static void add_rtt(struct destination *d, int64_t rtt_ns)
{
	d->result.answered++;
	if (d->result.n_rtt < NET_PROBE_SAMPLES)
		*array_push(d->result.rtt_ns, d->result.n_rtt) = rtt_ns;
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

static void send_icmp(struct net_probe *p, struct destination *d)
{
	uint8_t packet[ECHO_BYTES] = {is_v4(&d->peer) ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
	uint16_t be_id = htons(d->id), be_seq = htons(d->next), sum;
	struct echo *e = &d->ring[d->next % RING];

	if (!open_icmp(p, d))
		return;
	memcpy(packet + 4, &be_id, 2);
	memcpy(packet + 6, &be_seq, 2);
	if (is_v4(&d->peer)) {
		sum = checksum(packet, sizeof packet);
		memcpy(packet + 2, &sum, 2);
	}
	*e = (struct echo){.sent_ns = clock_wall_ns(), .settled = p->settled};
	d->next++;
	d->result.sent++;
	if (send(d->fd, packet, sizeof packet, MSG_NOSIGNAL) < 0)
		e->sent_ns = 0;
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
	struct echo *e = &d->ring[seq % RING];

	if (icmp[0] != (is_v4(&d->peer) ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) || id != d->id ||
	    !e->sent_ns || e->settled != p->settled)
		return;
	if (e->answered)
		d->result.duplicates++;
	else
		add_rtt(d, MAX_OF(at_ns - e->sent_ns, (int64_t)0));
	e->answered = true;
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
static void send_tcp(struct net_probe *p, struct destination *d)
{
	struct sockaddr_storage to;
	socklen_t len = address_of(&d->peer, &to);

	for (size_t i = 0; i < TCP_OPEN; i++) {
		if (d->tcp[i] >= 0)
			continue;
		d->tcp[i] = broker_socket(p->broker, p->netns_fd, to.ss_family,
					  SOCK_STREAM | SOCK_NONBLOCK, 0, NULL);
		if (d->tcp[i] < 0)
			return;
		d->result.sent++;
		connect(d->tcp[i], (struct sockaddr *)&to, len);
		return;
	}
}

static void read_tcp(struct destination *d)
{
	for (size_t i = 0; i < TCP_OPEN; i++) {
		struct pollfd pf = {.fd = d->tcp[i], .events = POLLOUT};
		struct tcp_info info = {0};
		socklen_t len = sizeof info;
		static const struct linger reset = {.l_onoff = 1};

		if (d->tcp[i] < 0 || poll(&pf, 1, 0) != 1)
			continue;
		if (getsockopt(d->tcp[i], IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
		    info.tcpi_state == TCP_ESTABLISHED)
			add_rtt(d, (int64_t)info.tcpi_rtt * NSEC_PER_USEC);
		setsockopt(d->tcp[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(d->tcp[i]);
		d->tcp[i] = -1;
	}
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

static struct destination *best(const struct net_probe *p)
{
	struct destination *d = NULL;

	for (size_t i = 0; i < p->n; i++)
		if (!d || p->destinations[i]->result.answered > d->result.answered)
			d = p->destinations[i];
	return d;
}

bool net_probe_answered(const struct net_probe *p)
{
	const struct destination *d = best(p);

	return d && d->result.answered;
}

int64_t net_probe_base_rtt(struct net_probe *p)
{
	struct destination *d = best(p);

	return d ? net_probe_quantile(d->result.rtt_ns, d->result.n_rtt, 0.5) : 0;
}

bool net_probe_settle(struct net_probe *p)
{
	struct destination *keep = best(p);

	if (!keep || !keep->result.answered)
		return false;
	for (size_t i = 0; i < p->n; i++)
		p->destinations[i]->dead = p->destinations[i] != keep;
	p->baseline = keep->result;
	keep->result = (struct net_probe_result){0};
	p->settled = true;
	return true;
}

const struct net_probe_result *net_probe_baseline(const struct net_probe *p)
{
	return p->settled ? &p->baseline : NULL;
}

static const struct destination *kept(const struct net_probe *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (!p->destinations[i]->dead)
			return p->destinations[i];
	return NULL;
}

struct net_probe_result net_probe_now(const struct net_probe *p, int64_t patience_ns)
{
	const struct destination *d = p->settled ? kept(p) : NULL;
	struct net_probe_result r = d ? d->result : (struct net_probe_result){0};
	int64_t now = clock_wall_ns();

	for (size_t i = 0; d && i < RING; i++)
		if (d->ring[i].sent_ns && d->ring[i].settled && !d->ring[i].answered &&
		    now - d->ring[i].sent_ns < patience_ns)
			r.sent--;
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
