#include "guard_wire.h"

#include "base/own.h"

#include <errno.h>
#include <sys/socket.h>

union control {
	char buf[CMSG_SPACE(GUARD_BATCH * sizeof(int))];
	struct cmsghdr align;
};

int guard_wire_send(int fd, const struct guard_msg *m, const int *fds, size_t n_fds)
{
	size_t len = offsetof(struct guard_msg, ids) + m->n_ids * sizeof m->ids[0];
	struct iovec iov = {.iov_base = (void *)m, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control c = {0};

	if (n_fds) {
		msg.msg_control = c.buf;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(n_fds * sizeof *fds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n_fds * sizeof *fds);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int guard_wire_recv(int fd, struct guard_msg *m, int *ret_fds, size_t *ret_n_fds)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof *m};
	union control c = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = c.buf,
		.msg_controllen = sizeof c.buf,
	};
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	*ret_n_fds = 0;
	if (n <= 0)
		return n == 0 || errno == ECONNRESET ? 0 : -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		*ret_n_fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret_fds, CMSG_DATA(h), *ret_n_fds * sizeof(int));
	}
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    (size_t)n < offsetof(struct guard_msg, ids) || m->n_ids > GUARD_BATCH)
		return -EBADMSG;
	return 1;
}
