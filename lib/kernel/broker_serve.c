/*
 * The broker's side: enter, act, return, answer. It holds nothing between two requests but a
 * handle of the namespace it was born in. A failure to return there ends the process: a broker in
 * the wrong namespace would answer wrongly from then on.
 */
#include "broker_wire.h"

#include "broker.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Newer than Debian 12's headers: linux/bpf.h of 6.6. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47 };

static int make_tun(const struct broker_request *q)
{
	struct ifreq ifr = {.ifr_flags = (short)(q->a | IFF_NO_PI | IFF_VNET_HDR)};
	autofd int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, q->text, strnlen(q->text, IFNAMSIZ - 1));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	return take_fd(fd);
}

/* The id of the first program there, 0 without one. */
static int first_tcx(const struct broker_request *q, int *ret)
{
	__u32 ids[64] = {0};
	struct {
		__u32 target_ifindex, attach_type, query_flags, attach_flags;
		__u64 prog_ids;
		__u32 prog_cnt, pad;
		__u64 prog_attach_flags, link_ids, link_attach_flags, revision;
	} attr = {
		.target_ifindex = (__u32)q->a,
		.attach_type = q->b ? TCX_INGRESS : TCX_EGRESS,
		.prog_ids = (uintptr_t)ids,
		.prog_cnt = 64,
	};

	*ret = 0;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof attr) == 0)
		*ret = attr.prog_cnt ? (int)ids[0] : 0;
	else if (errno != EINVAL && errno != E2BIG && errno != ENOENT)
		return -errno;
	return 0;
}

static int make_netns(int home)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	if (setns(home, CLONE_NEWNET) < 0)
		_exit(1);
	return fd;
}

static int or_errno(int fd)
{
	return fd < 0 ? -errno : fd;
}

/* The fd that answers the request, or a negative errno. */
static int make_fd(const struct broker_request *q, int home)
{
	switch (q->op) {
	case BROKER_SOCKET:
		return or_errno(socket(q->a, q->b | SOCK_CLOEXEC, q->c));
	case BROKER_OPEN:
		return or_errno(open(q->text, q->a | O_CLOEXEC));
	case BROKER_TAP:
		return make_tun(q);
	case BROKER_SCRATCH:
		return make_netns(home);
	default:
		return -EINVAL;
	}
}

/* Fills the reply; the fd that goes with it, or -1. */
static int act(const struct broker_request *q, int home, struct broker_reply *r)
{
	int n = q->op == BROKER_TCX ? first_tcx(q, &r->value) : make_fd(q, home);

	if (n < 0) {
		r->error = -n;
		r->step = BROKER_STEP_ACT;
	}
	return n < 0 || q->op == BROKER_TCX ? -1 : n;
}

static int answer(int sock, int home, const struct broker_request *q, int netns)
{
	struct broker_reply r = {0};
	autofd int fd = -1;

	if (netns >= 0 && setns(netns, CLONE_NEWNET) < 0) {
		r.error = errno;
		r.step = BROKER_STEP_ENTER;
	} else {
		fd = act(q, home, &r);
		if (netns >= 0 && setns(home, CLONE_NEWNET) < 0)
			_exit(1);
	}
	return broker_wire_send(sock, &r, sizeof r, fd);
}

int broker_serve(int sock)
{
	autofd int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	if (home < 0)
		return -errno;
	for (;;) {
		struct broker_request q;
		autofd int netns = -1;
		int n = broker_wire_recv(sock, &q, sizeof q, &netns);

		if (n <= 0)
			return n;
		if (n != sizeof q)
			return -EPROTO;
		q.text[sizeof q.text - 1] = '\0';
		n = answer(sock, home, &q, netns);
		if (n < 0)
			return n;
	}
}

int broker_main(int argc, char **argv)
{
	/* The owner recovers after Ctrl-C and needs the broker for it. */
	static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGQUIT};

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	if (sandbox_enter(SANDBOX_BROKER, NULL) < 0)
		return 1;
	return broker_serve(BROKER_FD) < 0;
}
